"""`textmill inspect | harness`: models looked at closely, one text at a time or by lm-evaluation-harness's tasks."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.config import Project
from pipeline.errors import InputError


def dispatch(project: Project, parsed: argparse.Namespace) -> int:
    """Runs one of the two commands."""
    from pipeline.registry.connection import tracking_uri

    uri = tracking_uri(project.storage_folder)
    if parsed.command == "inspect":
        _inspect(uri, [parsed.model, *parsed.against], parsed.text, parsed.target, Path(parsed.out))
    else:
        _harness(uri, parsed)
    return 0


def _inspect(uri: str, references: list[str], text: str, target: str | None, out: Path) -> None:
    from pipeline.files import make_folder, write_text
    from pipeline.serving.generate import load_any
    from pipeline.serving.inspection.page import Subject, inspection_page

    subjects = [Subject(name=reference, writer=load_any(reference, uri)) for reference in dict.fromkeys(references)]
    page = inspection_page(text, subjects, target=target)
    make_folder(out.parent, remedy="Name another with --out")
    write_text(out, page)
    Console(markup=False, emoji=False).print(
        f"{out}   {len(subjects)} model{'s side by side' if len(subjects) > 1 else ''}", highlight=False, soft_wrap=True
    )


def _harness(uri: str, parsed: argparse.Namespace) -> None:
    import importlib.util

    for option, value, least in (("--few-shot", parsed.few_shot, 0), ("--limit", parsed.limit, 1)):
        if value is not None and value < least:
            raise InputError(f"harness: {option} is {value}; give {least} or more.")
    if importlib.util.find_spec("lm_eval") is None:
        raise InputError(
            'harness: lm-evaluation-harness is not installed. Run pip install -c constraints.txt -e ".[lm_eval]".'
        )
    from pipeline.serving.generate import load_any
    from pipeline.serving.harness import HarnessModel, run_harness

    found = run_harness(
        HarnessModel(load_any(parsed.model, uri)),
        include=Path(parsed.include),
        tasks=parsed.tasks,
        num_fewshot=parsed.few_shot,
        limit=parsed.limit,
    )
    table = Table(header_style="bold", box=None, padding=(0, 2, 0, 0))
    for column in ("task", "metric", "value"):
        table.add_column(column, justify="right" if column == "value" else "left", overflow="fold")
    for task, figures in found.items():
        for metric, value in figures.items():
            table.add_row(task, metric, f"{value:,.4f}")
    Console(markup=False, emoji=False).print(table)
