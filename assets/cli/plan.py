"""`textmill check` and `textmill status`: what would run and why, and what is there."""

from __future__ import annotations

import time

from rich.console import Console
from rich.table import Table

from pipeline.artifacts import ArtifactStore
from pipeline.config import Project
from pipeline.plan import MODEL, Step, build_nodes, make_plan

_STYLES = {"up to date": "green", "would run": "yellow", "depends": "cyan"}


def check(project: Project, names: tuple[str, ...]) -> int:
    """Prints the plan; exit code 0 when the file is right, whatever would run."""
    console = Console()
    started = time.monotonic()
    steps = make_plan(project, ArtifactStore(project.storage_folder), names)
    console.print(plan_table(steps))
    num_to_run = sum(step.status != "up to date" for step in steps)
    verdict = f"{num_to_run} of {len(steps)} assets would run." if num_to_run else "Everything is up to date."
    said = f"{project.file.name} is right. {verdict} ({time.monotonic() - started:.1f} s)"
    console.print(said, markup=False, emoji=False, highlight=False)
    return 0


def plan_table(steps: list[Step]) -> Table:
    """The plan, a row an asset."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("asset", "", "why"):
        table.add_column(column, overflow="fold")
    for step in steps:
        table.add_row(str(step.key), f"[{_STYLES[step.status]}]{step.status}[/]", _escaped(step.reason))
    return table


def status(project: Project) -> int:
    """Prints each asset's version, age and size, and what waits to be shipped."""
    console = Console()
    store = ArtifactStore(project.storage_folder)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("asset", overflow="fold")
    for column in ("version", "built", "size", "took"):
        table.add_column(column, no_wrap=True, justify="right" if column in ("size", "took") else "left")
    for key in build_nodes(project):
        artifact = store.current(key.stage, key.name)
        if artifact is None:
            table.add_row(str(key), "[yellow]never built[/]")
            continue
        manifest = artifact.manifest
        num_bytes = sum(entry.num_bytes for entry in manifest.files)
        built = time.strftime("%m-%d %H:%M", time.localtime(manifest.created_at))
        table.add_row(str(key), manifest.version, built, f"{num_bytes / 1e6:,.1f} MB", f"{manifest.seconds:,.1f} s")
    console.print(table)
    unfinished = [
        checkpoint
        for checkpoint in sorted((project.storage_folder / "checkpoints").glob("*/*/step-*"))
        if store.find(MODEL, checkpoint.parent.parent.name, checkpoint.parent.name)
        is None  # else some are kept for good
    ]
    if unfinished:
        newest = unfinished[-1]
        console.print(f"Training of {newest.parent.parent.name} is under way or waits to be resumed at {newest.name}.")
    console.print("`textmill check` says what is stale and why; `textmill models` lists the registry.", highlight=False)
    return 0


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
