"""Two models by what they wrote and answered: metrics of the task and benchmarks, paired text by text.

In: two references. Out: for each metric and benchmark that both were measured by, both values, the difference with its interval,
and how sure it is that the first is better, by a paired bootstrap over the texts or questions that both have (Koehn 2004), those
that hang together being drawn together.
Texts that either model was trained on do not count.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from pipeline.evaluation.metrics.scored import Array, Scored, groups_of, mean_of, paired_difference, value_of
from pipeline.evaluation.metrics.table import METRICS
from pipeline.files import fingerprint
from pipeline.records import document_id
from pipeline.registry.connection import connection
from pipeline.registry.queries import COMPARE_RESAMPLES, read_training_documents, resolve
from pipeline.registry.rivals import Registered, hashes

if TYPE_CHECKING:
    from mlflow import MlflowClient

FOLDER = "evaluation"
_Files = dict[str, Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskComparison:
    """One metric or benchmark."""

    label: str
    num_texts: int
    first: float
    second: float
    difference: float
    """First minus second."""
    low: float
    high: float
    """The interval that holds 95 % of the draws."""
    confidence: float
    """That the first is better; of a metric of which more is neither better nor worse, that it is larger."""


def compare_tasks(uri: str, first: str, second: str) -> list[TaskComparison]:
    """Every metric and benchmark that both versions were measured by; none where they share no text.

    Raises:
        RegistryError: no such version, or the server cannot be reached.
    """
    with connection(uri, doing=f"comparing {first} with {second}") as client, tempfile.TemporaryDirectory() as folder:
        models = [resolve(client, reference) for reference in (first, second)]
        found = [_fetch(client, model, Path(folder) / str(number)) for number, model in enumerate(models)]
        trained = np.concatenate([read_training_documents(model, uri) for model in models])
        return [*_metrics(found[0], found[1], trained), *_benchmarks(found[0], found[1])]


def _fetch(client: MlflowClient, model: Registered, folder: Path) -> dict[str, Path]:
    """The model's evaluation, as far as it is there: name -> file."""
    folder.mkdir()
    run_id = model.run_id
    if run_id is None:
        return {}
    wanted = ("outputs.parquet", "benchmarks.parquet", "metrics.json")
    return {
        Path(entry.path).name: Path(client.download_artifacts(run_id, entry.path, str(folder)))
        for entry in client.list_artifacts(run_id, FOLDER)
        if Path(entry.path).name in wanted
    }


def _metrics(first: _Files, second: _Files, trained: np.ndarray[Any, Any]) -> list[TaskComparison]:
    if not all("outputs.parquet" in files for files in (first, second)):
        return []
    names = [_metric_names(files["metrics.json"]) for files in (first, second)]
    rows = [_rows(files["outputs.parquet"]) for files in (first, second)]
    tables = [{(row["text"], tuple(sorted(row["targets"]))): row["output"] for row in found} for found in rows]
    names_of = {row["text"]: row.get("group_id") for found in rows for row in found}  # evaluations of old name none
    common = [key for key in sorted(set(tables[0]) & set(tables[1])) if not np.isin(_hashes(key), trained).any()]
    if not common:
        return []
    sources, references = [text for text, _ in common], [targets for _, targets in common]
    groups = groups_of([names_of[text] for text in sources])
    found = []
    for name in (name for name in names[0] if name in names[1]):
        metric = METRICS[name]
        scored = [metric.measure(sources, [table[key] for key in common], references)[0] for table in tables]
        better = metric.higher_is_better is not False
        found.append(_compared(metric.label, scored[0], scored[1], common, higher_is_better=better, groups=groups))
    return found


def _benchmarks(first: _Files, second: _Files) -> list[TaskComparison]:
    if not all("benchmarks.parquet" in files for files in (first, second)):
        return []
    tables = [
        {(row["benchmark"], row["example"]): row["right"] for row in _rows(files["benchmarks.parquet"])}
        for files in (first, second)
    ]
    common = sorted(set(tables[0]) & set(tables[1]))
    found = []
    for benchmark in sorted({name for name, _ in common}):
        keys = [key for key in common if key[0] == benchmark]
        scored = [mean_of(np.array([table[key] for key in keys])) for table in tables]
        found.append(_compared(f"{benchmark}, accuracy", scored[0], scored[1], keys, higher_is_better=True))
    return found


def _compared(
    label: str,
    first: Scored,
    second: Scored,
    keys: list[Any],
    *,
    higher_is_better: bool,
    groups: Array | None = None,
) -> TaskComparison:
    seed = int(fingerprint(keys), 16)
    drawn = paired_difference(first, second, seed=seed, num_resamples=COMPARE_RESAMPLES, groups=groups)
    return TaskComparison(
        label=label,
        num_texts=first.num_texts,
        first=value_of(first),
        second=value_of(second),
        difference=drawn.difference,
        low=drawn.low,
        high=drawn.high,
        confidence=drawn.confidence if higher_is_better else 1 - drawn.confidence,
    )


def _metric_names(file: Path) -> list[str]:
    rows = json.loads(file.read_text(encoding="utf-8"))["task"]["metrics"]
    return [row["metric"] for row in rows if row["by"] == "model" and row["metric"] in METRICS]


def _hashes(key: tuple[str, tuple[str, ...]]) -> np.ndarray[Any, Any]:
    text, targets = key
    return hashes([document_id(text, target) for target in targets])


def _rows(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows
