"""What a run ends with: leaderboard, sample, the registry's state, and where to look."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from assets.cli.leaderboard import leaderboard_table
from assets.mlflow_pages import mlflow_page
from pipeline.accounts.leaderboard import leaderboard
from pipeline.artifacts import ArtifactStore
from pipeline.config import Project
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
            console.print(Text(samples[0]["prompt"], style="underline") + Text(arrow + samples[0]["continuation"]))
    for name in found:
        registered = store.current(REGISTERED, name)
        if registered is not None:
            decision = json.loads(registered.file("decision.json").read_text(encoding="utf-8"))
            console.print(f"\n[bold]{name}[/]: {decision['reason']}", highlight=False)
    for name, evaluation in found.items():
        for note in evaluation.report().notes:
            console.print(Text.assemble((name, "bold"), f", to know: {note}"))
    storage = project.storage_folder
    shown = storage.relative_to(project.folder) if storage.is_relative_to(project.folder) else storage
    file = project.file.resolve()
    named = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    config = "" if named == Path("dagster_project.yaml") else f" --config {named}"
    console.print("\n[bold]Where to look[/]")
    pages = f"  textmill ui{config}   "
    console.print(f"{pages}Dagster at http://127.0.0.1:3000", highlight=False, soft_wrap=True)
    console.print(
        f"{' ' * len(pages)}MLflow at {mlflow_page(_experiment(store, found))}", highlight=False, soft_wrap=True
    )
    if not found:
        hint = f'  textmill sql{config} "from rejects"   what was left out, and why'
        console.print(hint, highlight=False, soft_wrap=True)
    else:
        name, evaluation = next(iter(found.items()))
        folder = shown / evaluation.folder.relative_to(storage)
        console.print(f'  textmill generate{config} {name} "text"', highlight=False)
        console.print(f"  {folder / 'report.html'}", highlight=False, soft_wrap=True)
    console.print(f"  {shown}/   every artifact with its manifest", highlight=False)


def _experiment(store: ArtifactStore, names: Iterable[str]) -> str:
    """The page of the experiment that the models' runs belong to; none where no model is registered."""
    for name in names:
        registered = store.current(REGISTERED, name)
        if registered is not None:
            return f"experiments/{json.loads(registered.file('registration.json').read_text(encoding='utf-8'))['experiment_id']}"
    return ""
