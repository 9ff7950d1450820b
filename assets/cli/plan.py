"""`textmill check` and `textmill status`: what would run and why, and what is there."""

from __future__ import annotations

import time
from contextlib import suppress

from rich.console import Console
from rich.table import Table

from assets.cli.history import begins_runs, newest_runs
from pipeline.artifacts import ArtifactStore
from pipeline.config import Project
from pipeline.errors import StorageError
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
    """Prints each asset's version, age and size, what became of the last runs, and what waits."""
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
    for name, checkpoint in _unfinished(project, store).items():
        console.print(f"Training of {name} is under way or waits to be resumed at {checkpoint}.")
    _print_runs(project, console)
    console.print("`textmill check` says what is stale and why; `textmill models` lists the registry.", highlight=False)
    return 0


def _unfinished(project: Project, store: ArtifactStore) -> dict[str, str]:
    """Model -> the newest checkpoint of a training that is not finished; of a finished one some are kept for good."""
    found: dict[str, tuple[float, str]] = {}
    for checkpoint in (project.storage_folder / "checkpoints").glob("*/*/step-*"):
        name, version = checkpoint.parts[-3:-1]
        if store.find(MODEL, name, version) is None:
            with suppress(FileNotFoundError):  # a training that goes on has just replaced it
                found[name] = max(found.get(name, (0.0, "")), (checkpoint.stat().st_mtime, checkpoint.name))
    return {name: newest for name, (_, newest) in sorted(found.items())}


def _print_runs(project: Project, console: Console) -> None:
    runs = []
    try:
        runs = newest_runs(project)
    except StorageError as error:
        console.print(_escaped(str(error)), highlight=False)
    if runs:
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("run", no_wrap=True)
        table.add_column("began", no_wrap=True)
        table.add_column("by", overflow="fold")
        table.add_column("", overflow="fold")
        for row in runs:
            table.add_row(row.run, row.began, row.by, _escaped(row.state))
        console.print()
        console.print(table)
        console.print()
    if (project.schedules or project.watch) and not begins_runs(project):
        console.print(
            "No schedule or sensor begins anything now: `textmill ui` does not serve this project.", highlight=False
        )


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
