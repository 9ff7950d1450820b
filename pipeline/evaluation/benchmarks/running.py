"""Benchmarks answered by a model: which answer does it find most likely, and how often is that the right one?

In: a benchmark's file and settings, and a model that knows how it is asked. Out: one row an example, and figures with standard
errors.

- accuracy: the right answer is the most likely one; among k equally likely ones it counts 1 / k. With one answer (LAMBADA),
  the model would have written it, token by token.
- normalised accuracy: by log-probability per character of the answer, so that short answers win less often (lm-evaluation-
  harness's acc_norm).
- centred accuracy: (accuracy - chance) / (1 - chance), 0 for a guess and 1 for a perfect model (Li et al. 2024, arXiv
  2406.11794), where chance is the mean of 1 / number of answers.
- Standard errors are sample deviation / sqrt(examples).

A line that holds no example is counted and told; it is never left out in silence.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.config.benchmarks import BenchmarkConfig
from pipeline.evaluation.benchmarks.examples import Example, Incomplete, read_examples
from pipeline.evaluation.targets import Asked, TargetScores, score_targets
from pipeline.files import fingerprint
from pipeline.progress import Progress

BETWEEN_EXAMPLES = "\n\n"

ROWS_SCHEMA = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
        pa.field("example", pa.string(), nullable=False),
        pa.field("gold", pa.int64(), nullable=False),
        pa.field("chosen", pa.int64()),
        pa.field("right", pa.float64(), nullable=False),
        pa.field("right_normalised", pa.float64()),
        pa.field("was_cut", pa.bool_(), nullable=False),
    ]
)
"""`example` is a fingerprint of what was asked and how, so that two models are compared on the same questions only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """One benchmark's account."""

    figures: dict[str, Any]
    rows: list[dict[str, Any]]
    """Of ROWS_SCHEMA."""
    notes: list[str]


def run_benchmarks(
    writer: Asked,
    benchmarks: Mapping[str, BenchmarkConfig],
    *,
    folder: Path,
    progress: Progress,
) -> dict[str, BenchmarkResult]:
    """Each benchmark's result by name; relative paths are relative to `folder`.

    Raises:
        InputError: a file cannot be read, or holds no example of its kind.
    """
    found = {}
    for name, config in benchmarks.items():
        progress.note(f"answering {name}")
        found[name] = run_benchmark(writer, name, config, path=folder / config.path, progress=progress)
    return found


def run_benchmark(
    writer: Asked, name: str, config: BenchmarkConfig, *, path: Path, progress: Progress
) -> BenchmarkResult:
    """Asks every example of a file.

    Raises:
        InputError: it cannot be read, or holds no example of its kind.
    """
    examples, incomplete = read_examples(path, config)
    asked = [example for example in examples if not example.is_for_showing][: config.max_examples]
    prompts = [with_solved_examples(example, examples, config) for example in asked]
    pairs = [
        (before + prompt, answer)
        for before, example in zip(prompts, asked, strict=True)
        for prompt, answer in zip(example.prompts, example.answers, strict=True)
    ]
    progress.start(total=len(pairs))
    scores = score_targets(writer, pairs, progress=progress)
    progress.finish()
    rows = _rows(name, asked, pairs, scores)
    return BenchmarkResult(
        figures=_figures(asked, rows, incomplete),
        rows=rows,
        notes=_notes(name, rows, len(asked), incomplete),
    )


def with_solved_examples(example: Example, examples: Sequence[Example], config: BenchmarkConfig) -> str:
    """The `few_shot` solved examples that stand before a question, each followed by an empty line."""
    if not config.few_shot:
        return ""
    shown = [other for other in examples if other.is_for_showing and other.group == example.group]
    others = shown or [other for other in examples if other.line != example.line and other.group == example.group]
    draw = random.Random(f"{config.seed}/{example.line}")  # noqa: S311 - a fixed choice, not a secret
    chosen = draw.sample(others, min(config.few_shot, len(others)))
    return "".join(other.solved + BETWEEN_EXAMPLES for other in chosen)


def _rows(
    name: str, asked: Sequence[Example], pairs: Sequence[tuple[str, str]], scores: TargetScores
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    first = 0
    for example in asked:
        part = slice(first, first + len(example.answers))
        first = part.stop
        bits = scores.bits[part]
        row: dict[str, Any] = {
            "benchmark": name,
            "line": example.line,
            "example": fingerprint(pairs[part]),
            "gold": example.gold,
            "was_cut": bool(scores.was_cut[part].any()),
        }
        if len(bits) == 1:
            row |= {"chosen": None, "right": float(scores.is_greedy[part][0]), "right_normalised": None}
        else:
            lengths = np.array([len(answer.strip()) for answer in example.answers])
            same_answer = len(set(example.answers)) == 1  # only the contexts differ: there is nothing to normalise
            row |= {
                "chosen": int(bits.argmin()),
                "right": _right(bits, example.gold),
                "right_normalised": None if same_answer else _right(bits / lengths, example.gold),
            }
        rows.append(row)
    return rows


def _right(bits: np.ndarray[Any, Any], gold: int) -> float:
    """1 where the right answer alone costs the fewest bits, 1 / k where it shares that with others, else 0."""
    best = bits == bits.min()
    return float(best[gold]) / int(best.sum()) if best.any() else 0.0


def _figures(asked: Sequence[Example], rows: list[dict[str, Any]], incomplete: list[Incomplete]) -> dict[str, Any]:
    right = np.array([row["right"] for row in rows])
    normalised = [row["right_normalised"] for row in rows if row["right_normalised"] is not None]
    num_answers = np.array([len(example.answers) for example in asked])
    chance = float(np.where(num_answers > 1, 1 / num_answers, 0.0).mean())
    return {
        "accuracy": float(right.mean()),
        "accuracy_stderr": standard_error(right),
        "normalised_accuracy": float(np.mean(normalised)) if normalised else None,
        "normalised_accuracy_stderr": standard_error(np.array(normalised)) if normalised else None,
        "chance": chance,
        "centred_accuracy": (float(right.mean()) - chance) / (1 - chance),
        "num_examples": len(rows),
        "num_incomplete": len(incomplete),
        "num_cut": sum(row["was_cut"] for row in rows),
    }


def standard_error(values: np.ndarray[Any, Any]) -> float | None:
    """Of a mean; None of a single value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def _notes(name: str, rows: list[dict[str, Any]], num_asked: int, incomplete: list[Incomplete]) -> list[str]:
    notes = []
    if incomplete:
        first = incomplete[0]
        notes.append(
            f"{name}: {len(incomplete)} of {num_asked + len(incomplete)} lines hold no complete example (line {first.line}: "
            f"{first.reason}), so its figures are over {num_asked}."
        )
    if num_cut := sum(row["was_cut"] for row in rows):
        notes.append(
            f"{name}: {num_cut} of {num_asked} questions do not fit the model's context and were cut at their beginning."
        )
    return notes
