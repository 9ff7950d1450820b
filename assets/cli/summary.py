"""What a run ends with: leaderboard, sample, the registry's state, and where to look."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from assets.cli.leaderboard import leaderboard_table
from assets.cli.printable import plain
from assets.mlflow_pages import mlflow_page
from pipeline.accounts.leaderboard import leaderboard
from pipeline.artifacts import ArtifactStore
from pipeline.config import DEFAULT_CONFIG, Project
from pipeline.plan import EVALUATION, REGISTERED, build_nodes, select


def print_summary(project: Project, console: Console, names: tuple[str, ...]) -> None:
    """Prints what is known of the models a run covered; reads artifacts alone, so it is instant."""
    store = ArtifactStore(project.storage_folder)
    models = [key.name for key in select(build_nodes(project), names) if key.stage == EVALUATION]
    found = {name: evaluation for name in models if (evaluation := store.current(EVALUATION, name)) is not None}
    if found:
        console.print()
        console.print(leaderboard_table(leaderboard(project, store, list(found))))
    for name, evaluation in found.items():
        samples = json.loads(evaluation.file("samples.json").read_text(encoding="utf-8"))
        if samples:
            console.print(
                f"\n[bold]{name} writes[/], after the prompt{' (underlined)' if console.is_terminal else ''}:"
            )
            arrow = "\n→ " if "target" in samples[0] else ""  # of pairs: a text, and what was written for it
            prompt, continuation = plain(samples[0]["prompt"]), plain(samples[0]["continuation"])
            console.print(Text(prompt, style="underline") + Text(arrow + continuation))
    for name in found:
        registered = store.current(REGISTERED, name)
        if registered is not None:
            decision = json.loads(registered.file("decision.json").read_text(encoding="utf-8"))
            console.print(f"\n[bold]{name}[/]: {decision['reason']}", highlight=False)
    for name, evaluation in found.items():
        for note in evaluation.report().notes:
            console.print(Text.assemble((name, "bold"), f", to know: {note}"))
    named = _from_here(project.file)
    config = "" if named == DEFAULT_CONFIG else f" --config {named}"
    console.print("\n[bold]Where to look[/]")
    pages = f"  textmill ui{config}   "
    lines = [
        f"{pages}Dagster at http://127.0.0.1:3000",
        f"{' ' * len(pages)}MLflow at {mlflow_page(_experiment(store, found))}",
    ]
    if not found:
        lines.append(f'  textmill sql{config} "from rejects"   what was left out, and why')
    else:
        name, evaluation = next(iter(found.items()))
        lines.append(f'  textmill generate{config} {name} "text"')
        lines.append(f"  {_from_here(evaluation.file('report.html'))}")
    lines.append(f"  {_from_here(project.storage_folder)}/   every artifact with its manifest")
    for line in lines:  # commands and paths are pasted, so nothing in them is markup and none is broken
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _from_here(path: Path) -> str:
    """The path to paste into a shell here: relative to the current folder where it lies in it."""
    path, here = path.resolve(), Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _experiment(store: ArtifactStore, names: Iterable[str]) -> str:
    """The page of the experiment that the models' runs belong to; none where no model is registered."""
    for name in names:
        registered = store.current(REGISTERED, name)
        if registered is not None:
            return f"experiments/{json.loads(registered.file('registration.json').read_text(encoding='utf-8'))['experiment_id']}"
    return ""
