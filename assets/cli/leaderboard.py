"""`textmill leaderboard`: every evaluated model of every family and task in one table of 80 columns, and as Parquet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from pipeline.accounts.leaderboard import Row, leaderboard, write_leaderboard
from pipeline.artifacts import ArtifactStore
from pipeline.config import Project

LABELS = {
    "bits_per_byte": "bits/byte",
    "bleu": "BLEU",
    "chrf": "chrF++",
    "ter": "TER",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "exact_match": "exact",
    "f1": "F1",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "copy_rate": "copied",
    "novel_bigrams": "novel",
}
SHARES = ("distinct_1", "distinct_2", "repetition", "copy_rate", "novel_bigrams")
"""Of metrics, those between 0 and 1; the others reach 100."""


def show_leaderboard(project: Project, names: Sequence[str]) -> int:
    """Prints the table, and says where it stands as Parquet."""
    store = ArtifactStore(project.storage_folder)
    rows = leaderboard(project, store, names)
    console = Console()
    if not rows:
        which = f"Of {', '.join(names)} none" if names else "No model"
        console.print(f"{which} is evaluated yet; `textmill run` makes and evaluates them.")
        return 0
    console.print(leaderboard_table(rows))
    console.print("\nSpeeds are tokens a second on the machine that measured them.")
    said = f"{write_leaderboard(project, store)}   the same, with intervals"
    console.print(said, markup=False, emoji=False, highlight=False, soft_wrap=True)
    return 0


def leaderboard_table(rows: Sequence[Row]) -> Table:
    """The rows for a terminal, a section for each dataset where there are several. Beside figures of a task, which take two lines
    and a column more, the family stands below the model's name: both fit 80 columns then."""
    table = Table(
        title="Leaderboard",
        title_style="bold",
        header_style="bold",
        box=None,
        padding=(0, 1, 0, 0),
        caption="* holds the alias champion" if any(row.is_champion for row in rows) else None,
        caption_justify="left",
    )
    stacked = any(_quality(row) for row in rows)
    for column in ("model",) if stacked else ("model", "family"):
        table.add_column(column, overflow="fold")
    columns: dict[str, Callable[[Row], str]] = {
        "quality": _quality,
        "bits/\nbyte": lambda row: _number(row.bits_per_byte),
        "uni-\ngram": lambda row: _number(row.unigram_bits_per_byte),
        "bench-\nmarks": lambda row: _number(row.accuracy),
        "para-\nmeters": lambda row: short(row.num_parameters),
        "tokens": lambda row: short(row.training_tokens),
        "time": lambda row: duration(row.training_seconds),
        "train\ntok/s": lambda row: short(row.training_tokens_per_second),
        "score\ntok/s": lambda row: short(row.scoring_tokens_per_second),
    }
    shown = {name: cell for name, cell in columns.items() if any(cell(row) for row in rows)}
    for column in shown:
        table.add_column(column, justify="right")
    several = len({row.dataset for row in rows}) > 1
    last = None
    for row in rows:
        if several and row.dataset != last:
            above = [f"{row.dataset}, {row.task}"] if stacked else [row.dataset, row.task]
            table.add_row(*(f"[dim]{text}[/]" for text in above))
        last = row.dataset
        name, family = row.model + (" *" if row.is_champion else ""), row.family.replace("_", " ")
        heads = [f"{name}\n  [dim]{family}[/]"] if stacked else [name, family]
        table.add_row(*heads, *(cell(row) for cell in shown.values()))
    return table


def _quality(row: Row) -> str:
    if row.quality is None or row.metric == "bits_per_byte":
        return ""
    shown = f"{row.quality:.3f}" if row.metric in SHARES else f"{row.quality:.1f}"
    return f"{shown}\n{LABELS.get(row.metric, row.metric)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def short(value: float | None) -> str:
    """A count in five characters at most.

    >>> [short(n) for n in (7, 999.6, 5_312_000, 20_000_000, 1_234)]
    ['7', '1.0k', '5.3M', '20M', '1.2k']
    """
    if value is None:
        return ""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size * 0.9995:
            scaled = value / size
            return f"{scaled:.1f}{unit}" if scaled < 9.95 else f"{scaled:.0f}{unit}"
    return f"{value:.0f}"


def duration(seconds: float | None) -> str:
    """A time in five characters at most.

    >>> [duration(n) for n in (3.2, 90, 5400, 200_000)]
    ['3s', '90s', '90m', '56h']
    """
    if seconds is None:
        return ""
    if seconds < 100:
        return f"{seconds:.0f}s"
    return f"{seconds / 60:.0f}m" if seconds < 6_000 else f"{seconds / 3600:.0f}h"
