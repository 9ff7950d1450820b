"""One table over every model that is evaluated, whatever its family and task: how good, how large, how fast.

In: a project and its storage. Out: a row a model, the best of each dataset first, as rows and as `<storage>/leaderboard.parquet`.
Reads manifests and reports alone, so it takes no time. Quality is the first metric of the dataset's task; bits per byte are
comparable among models of one corpus (of pairs: of the targets).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import Artifact, ArtifactStore
from pipeline.config import Project
from pipeline.errors import ConfigurationError
from pipeline.evaluation.metrics.table import METRICS
from pipeline.files import write_parquet
from pipeline.plan import EVALUATION, MODEL, REGISTERED
from pipeline.registry.champions import champions
from pipeline.registry.connection import tracking_uri

FILE = "leaderboard.parquet"

TEXTS: dict[str, Any] = {"name": "language_model", "metric": "bits_per_byte", "metrics": []}
"""The task of an evaluation that names none."""

SCHEMA = pa.schema(
    [
        pa.field("model", pa.string(), nullable=False),
        pa.field("family", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("task", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("quality", pa.float64()),
        pa.field("quality_low", pa.float64()),
        pa.field("quality_high", pa.float64()),
        pa.field("bits_per_byte", pa.float64()),
        pa.field("unigram_bits_per_byte", pa.float64()),
        pa.field("accuracy", pa.float64()),
        pa.field("num_parameters", pa.int64()),
        pa.field("training_tokens", pa.int64()),
        pa.field("training_seconds", pa.float64()),
        pa.field("training_tokens_per_second", pa.float64()),
        pa.field("scoring_tokens_per_second", pa.float64()),
        pa.field("version", pa.string()),
        pa.field("is_champion", pa.bool_(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model."""

    model: str
    family: str
    dataset: str
    task: str
    metric: str
    """What `quality` is: the task's first metric."""
    quality: float | None
    quality_low: float | None
    quality_high: float | None
    """The 95 % interval, where the metric has one."""
    bits_per_byte: float | None
    unigram_bits_per_byte: float | None
    accuracy: float | None
    """Mean centred accuracy over the benchmarks; None without any."""
    num_parameters: int | None
    training_tokens: int | None
    training_seconds: float | None
    training_tokens_per_second: float | None
    scoring_tokens_per_second: float | None
    version: str | None
    """In the registry."""
    is_champion: bool
    """It holds the alias now; where the registry cannot be asked, it got it when it was registered."""


def leaderboard(project: Project, store: ArtifactStore, names: Sequence[str] = ()) -> list[Row]:
    """The rows of the named models (none named: of all), by dataset, the best first; none of a model not evaluated yet.

    Raises:
        ConfigurationError: a name that is no model of the project.
    """
    unknown = [name for name in names if name not in project.models]
    if unknown:
        raise ConfigurationError(f"{unknown[0]!r} is no model of this project. Known: {', '.join(project.models)}.")
    rows, holders = [], champions(tracking_uri(project.storage_folder))
    for name in project.models:
        evaluation = store.current(EVALUATION, name)
        if evaluation is not None and (not names or name in names):
            rows.append(_row(project, store, name, evaluation, holders))
    return sorted(rows, key=lambda row: (row.dataset, *_rank(row), row.model))


def write_leaderboard(project: Project, store: ArtifactStore) -> Path:
    """Writes the rows of every model to `<storage>/leaderboard.parquet`, in one step."""
    path = project.storage_folder / FILE
    rows = [asdict(row) for row in leaderboard(project, store)]
    write_parquet(path, pa.Table.from_pylist(rows, schema=SCHEMA))
    return path


def _rank(row: Row) -> tuple[bool, float]:
    """Smaller is better; no quality comes last."""
    if row.quality is None:
        return True, 0.0
    is_lower_better = row.metric == "bits_per_byte" or METRICS[row.metric].higher_is_better is False
    return False, row.quality if is_lower_better else -row.quality


def _row(
    project: Project, store: ArtifactStore, name: str, evaluation: Artifact, holders: Mapping[str, str] | None
) -> Row:
    config = project.models[name]
    counts = evaluation.manifest.counts
    metrics = {
        "task": TEXTS,
        "benchmarks": {},
        **json.loads(evaluation.file("metrics.json").read_text(encoding="utf-8")),
    }
    quality = _quality(metrics, counts)
    model, registered = store.current(MODEL, name), store.current(REGISTERED, name)
    # an evaluation of before there were timings is still in use until its model is retrained
    timings = [json.loads(path.read_text(encoding="utf-8")) for path in evaluation.files("timings.json")]
    seconds = timings[0]["scoring_seconds"] if timings else None
    trained: dict[str, Any] = {} if model is None else dict(model.manifest.counts)
    version = None if registered is None else str(_registration(registered)["version"])
    was_promoted = registered is not None and bool(registered.manifest.counts["holds_alias"])
    centred = [row["centred_accuracy"] for row in metrics["benchmarks"].values()]
    return Row(
        model=name,
        family=config.family,
        dataset=config.dataset,
        task=metrics["task"]["name"],
        **quality,
        bits_per_byte=counts["bits_per_byte"],
        unigram_bits_per_byte=counts["unigram_bits_per_byte"],
        accuracy=float(np.mean(centred)) if centred else None,
        num_parameters=trained.get("num_parameters"),
        training_tokens=trained.get("tokens"),
        training_seconds=None if model is None else model.manifest.seconds,
        training_tokens_per_second=None if model is None else _training_speed(model),
        scoring_tokens_per_second=counts["num_tokens"] / seconds if seconds else None,
        version=version,
        is_champion=was_promoted if holders is None else version is not None and holders.get(name) == version,
    )


def _quality(metrics: dict[str, Any], counts: Any) -> dict[str, Any]:
    """The task's metric that the leaderboard goes by; bits per byte for texts."""
    metric = metrics["task"]["metric"]
    found = [row for row in metrics["task"]["metrics"] if row["by"] == "model" and row["metric"] == metric]
    if not found:
        return {"metric": metric, "quality": counts["bits_per_byte"], "quality_low": None, "quality_high": None}
    (row,) = found
    return {"metric": metric, "quality": row["value"], "quality_low": row["low"], "quality_high": row["high"]}


def _training_speed(model: Artifact) -> float | None:
    """The median over the steps; for a model that is estimated at once, its tokens over its seconds."""
    if model.files("timings.parquet"):
        speeds = pq.read_table(model.file("timings.parquet"))["tokens_per_second"].to_numpy()
        return float(np.median(speeds)) if len(speeds) else None
    seconds = model.manifest.seconds
    return model.manifest.counts["tokens"] / seconds if seconds else None


def _registration(registered: Artifact) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(registered.file("registration.json").read_text(encoding="utf-8"))
    return found
