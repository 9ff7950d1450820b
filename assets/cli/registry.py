"""`textmill models | generate | export | compare | promote | rollback`: the registry from the terminal."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from assets.cli.options import refused
from assets.cli.printable import for_console
from pipeline.config import Project
from pipeline.errors import RegistryError


def dispatch(project: Project, parsed: argparse.Namespace) -> int:
    """Runs one of the registry's commands."""
    from pipeline.registry.connection import tracking_uri

    uri = tracking_uri(project.storage_folder)
    console = Console(markup=False, emoji=False)  # names of models and files are shown as they are, brackets included
    match parsed.command:
        case "models":
            _models(console, uri, parsed.names)
        case "generate":
            _generate(console, uri, parsed)
        case "export":
            from pipeline.serving.export import export_model

            for file in export_model(parsed.model, uri, Path(parsed.folder)):
                console.print(f"{file}  {file.stat().st_size:,} bytes", highlight=False, soft_wrap=True)
        case "compare":
            _compare(console, uri, parsed.first, parsed.second)
        case "promote":
            from pipeline.registry.aliases import promote

            move = promote(parsed.model, parsed.version, uri=uri, reason=parsed.reason)
            if move.from_version is None:
                console.print(f"{parsed.model}: version {move.to_version} is the champion; it had none before.")
            else:
                console.print(f"{parsed.model}: champion moved from version {move.from_version} to {move.to_version}.")
        case "rollback":
            from pipeline.registry.aliases import rollback

            move = rollback(parsed.model, uri=uri, reason=parsed.reason)
            console.print(
                f"{parsed.model}: champion rolled back from version {move.from_version} to {move.to_version}."
            )
    return 0


def _models(console: Console, uri: str, names: list[str]) -> None:
    from pipeline.registry.queries import leaderboard

    rows = leaderboard(uri, names or None)
    if not rows:
        console.print("The registry holds no model yet; `textmill run` makes one.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("model", "version", "alias", "bits per byte", "perplexity", "registered"):
        is_number = column in ("version", "bits per byte", "perplexity")
        table.add_column(column, overflow="fold", justify="right" if is_number else "left")
    for row in rows:
        figures = [row.metrics.get(name) for name in ("bits_per_byte", "token_perplexity")]
        table.add_row(
            row.name,
            row.version,
            ", ".join(row.aliases),
            *("" if figure is None else f"{figure:,.3f}" for figure in figures),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(row.created_at)),
        )
    console.print(table)
    for row in rows if names else ():
        console.print(f"\n{row.name}/{row.version} was made from", highlight=False)
        for key, value in row.lineage.items():
            if "@" in value:
                console.print(f"  {key}  {value.split(' ')[0]}", highlight=False, soft_wrap=True)
    if not names:
        console.print("`textmill models MODEL` tells what each version was made from.", highlight=False)


def _generate(console: Console, uri: str, parsed: argparse.Namespace) -> None:
    from pipeline.evaluation.continuation import DEFAULTS, in_words
    from pipeline.evaluation.pair_model import PairModel
    from pipeline.serving.generate import load_champion

    settings = {name: getattr(parsed, name) for name in DEFAULTS if getattr(parsed, name) is not None}
    loaded = load_champion(parsed.model, uri)
    writer = loaded.writer
    try:
        parameters = writer.parameters(settings)
        (text,) = writer.answer([parsed.text], settings)
    except ValueError as error:
        raise refused("generate", error) from error
    task = f"{writer.task}: " if isinstance(writer, PairModel) else ""
    between = "\n" if task else ""
    console.print(Text(parsed.text, style="bold") + Text(between + for_console(text, console)), soft_wrap=True)
    for line in (loaded.remark, f"{task}{in_words(parameters)}", writer.remark(parsed.text, parameters)):
        if line:
            Console(stderr=True).print(line, style="dim", highlight=False, soft_wrap=True)


def _compare(console: Console, uri: str, first: str, second: str) -> None:
    from pipeline.registry.task_comparison import compare_tasks

    tasks = compare_tasks(uri, first, second)
    try:
        _compare_bits(console, uri, first, second)
    except RegistryError as error:
        if not tasks:
            raise
        console.print(str(error), highlight=False)
    if not tasks:
        return
    table = Table(header_style="bold", box=None, padding=(0, 2, 0, 0))
    for column in ("metric", first, second, "difference", "95 % of draws", "confidence", "texts"):
        table.add_column(column, justify="left" if column == "metric" else "right", overflow="fold")
    for row in tasks:
        values = f"{row.first:.3f}", f"{row.second:.3f}", f"{row.difference:+.3f}", f"{row.low:+.3f} to {row.high:+.3f}"
        table.add_row(row.label, *values, f"{row.confidence:.1%}", f"{row.num_texts:,}")
    console.print()
    console.print(table)
    console.print(f"Confidence that {first} is better, by a paired bootstrap.", highlight=False)


def _compare_bits(console: Console, uri: str, first: str, second: str) -> None:
    from pipeline.registry.queries import compare

    found = compare(uri, first, second)
    if found.difference is None or found.low is None or found.high is None or found.confidence is None:
        raise RegistryError(
            f"{first} and {second} cannot be compared: a score is not finite. Look at their evaluations."
        )
    table = Table(header_style="bold")
    for column in ("", "bits per byte"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row(first, f"{found.challenger_bits_per_byte:.4f}")
    table.add_row(second, f"{found.rival_bits_per_byte:.4f}")
    console.print(table)
    if found.difference == found.low == found.high == 0:  # then no draw had a document on which they differ
        console.print(f"They are equal on the {found.num_documents} documents that both held out.", highlight=False)
        return
    better = first if found.difference > 0 else second
    confidence = max(found.confidence, 1 - found.confidence)
    console.print(
        f"{better} is better by {abs(found.difference):.4f} bits per byte (95 % of draws between {found.low:.4f} and "
        f"{found.high:.4f} for {first}), confidence {confidence:.1%}, on {found.num_documents} documents that both held out.",
        highlight=False,
    )
