"""What a run ends with: leaderboard, sample, the registry's state, and where to look."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.artifacts import Artifact, ArtifactStore
from pipeline.config import Project
from pipeline.plan import EVALUATION, MODEL, REGISTERED, build_nodes, select


def print_summary(project: Project, console: Console, names: tuple[str, ...]) -> None:
    """Prints what is known of the models a run covered; reads artifacts alone, so it is instant."""
    store = ArtifactStore(project.storage_folder)
    models = [key.name for key in select(build_nodes(project), names) if key.stage == EVALUATION]
    found = {name: evaluation for name in models if (evaluation := store.current(EVALUATION, name)) is not None}
    if found:
        console.print()
        console.print(_leaderboard(store, found))
    for name, evaluation in found.items():
        samples = json.loads(evaluation.file("samples.json").read_text())
        if samples:
            console.print(
                f"\n[bold]{name} writes[/], after the prompt{' (underlined)' if console.is_terminal else ''}:"
            )
            arrow = "\n→ " if "target" in samples[0] else ""  # of pairs: a text, and what was written for it
            console.print(Text(samples[0]["prompt"], style="underline") + Text(arrow + samples[0]["continuation"]))
    for name in found:
        registered = store.current(REGISTERED, name)
        if registered is not None:
            decision = json.loads(registered.file("decision.json").read_text())
            console.print(f"\n[bold]{name}[/]: {decision['reason']}", highlight=False)
    storage = project.storage_folder
    shown = storage.relative_to(project.folder) if storage.is_relative_to(project.folder) else storage
    file = project.file.resolve()
    named = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
    config = "" if named == Path("dagster_project.yaml") else f" --config {named}"
    console.print("\n[bold]Where to look[/]")
    console.print(
        f"  textmill ui{config}   Dagster at http://127.0.0.1:3000, MLflow at http://127.0.0.1:5000", highlight=False
    )
    if not found:
        console.print(f'  textmill sql{config} "from rejects"   what was left out, and why', highlight=False)
    else:
        name, evaluation = next(iter(found.items()))
        folder = shown / evaluation.folder.relative_to(storage)
        console.print(f'  textmill generate{config} {name} "text"', highlight=False)
        console.print(f"  {folder / 'report.html'}", highlight=False, soft_wrap=True)
    console.print(f"  {shown}/   every artifact with its manifest", highlight=False)


def _leaderboard(store: ArtifactStore, found: dict[str, Artifact]) -> Table:
    table = Table(title="Leaderboard", title_style="bold", header_style="bold", box=None, padding=(0, 2, 0, 0))
    columns = (
        "model",
        "bits/byte",
        "unigram",
        "top-1",
        "params",
        "tokens",
        "version",
        "alias",
    )
    for column in columns:
        table.add_column(column, justify="left" if column in ("model", "alias") else "right")
    for name, evaluation in sorted(found.items(), key=lambda entry: float(entry[1].manifest.counts["bits_per_byte"])):
        counts = evaluation.manifest.counts
        model, registered = store.current(MODEL, name), store.current(REGISTERED, name)
        version, alias = "", ""
        if registered is not None:
            version = str(json.loads(registered.file("registration.json").read_text())["version"])
            alias = "champion" if registered.manifest.counts["holds_alias"] else ""
        table.add_row(
            name,
            f"{counts['bits_per_byte']:.3f}",
            f"{counts['unigram_bits_per_byte']:.3f}",
            "" if counts["top1_accuracy"] is None else f"{counts['top1_accuracy']:.1%}",
            f"{model.manifest.counts['num_parameters'] / 1e6:.1f} M" if model else "",
            f"{model.manifest.counts['tokens'] / 1e6:.2f} M" if model else "",
            version,
            alias,
        )
    return table
