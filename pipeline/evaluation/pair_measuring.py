"""What a model of pairs is worth: bits of the targets, what it writes, and that beside baselines that need no model.

In: a model with its way of being asked, and the test split's pairs. Out: as for texts, with bits, bytes and tokens of the
targets, and for the task's metrics a row a writer. Texts that have several targets are written for once and judged by the best.
Intervals draw what hangs together (a conversation, the questions of a context, the targets of a text) as wholes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.training import EvaluateConfig
from pipeline.errors import InputError
from pipeline.evaluation.continuation import in_words
from pipeline.evaluation.measured import Measured, check_finite, documents_table, empty_test_split
from pipeline.evaluation.metrics.scored import Array, Estimate, estimate, groups_of, ratio_of
from pipeline.evaluation.metrics.totals import Documents, summarise, summarise_sources
from pipeline.evaluation.scoring import NUM_BINS, DocumentScores
from pipeline.evaluation.spelling import unknown_bits
from pipeline.evaluation.task_outputs import Pair, baseline_outputs, group_pairs, majority, measure
from pipeline.evaluation.test_split import PairRow, chosen_ids, read_pairs
from pipeline.files import fingerprint
from pipeline.progress import Progress
from pipeline.records import document_id
from pipeline.tasks import TASKS

if TYPE_CHECKING:
    from pipeline.evaluation.pair_model import PairModel
    from pipeline.models.interface import GenerationParameters

OUTPUTS_SCHEMA = pa.schema(
    [
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("targets", pa.list_(pa.large_string()), nullable=False),
        pa.field("output", pa.large_string(), nullable=False),
        pa.field("group_id", pa.string()),
    ]
)
UNKNOWN = ("top1_accuracy", "top5_accuracy", "expected_calibration_error", "unknown_fraction")
"""Figures that targets alone do not give."""
WITHOUT_TEXT = "without_text"
"""The same model, given an empty text: what is left of its knowledge when it can only go by what targets are like."""


def task_metrics(task: str, config: EvaluateConfig) -> list[str]:
    """The metrics that are asked for, or those of the task's preset; the first one is the leaderboard's."""
    return list(config.metrics or TASKS[task].metrics)


def measure_pairs(
    name: str,
    asked: PairModel,
    *,
    test: Path,
    train: Sequence[Path],
    unigram: np.ndarray[Any, Any],
    config: EvaluateConfig,
    progress: Progress,
) -> Measured:
    """Bits and figures of the test split's targets, and of what the model writes for their texts.

    Raises:
        StageError: the test split has no pair, or the model's probabilities are not finite.
    """
    everything, ids = read_pairs(test), chosen_ids(test, max_documents=config.max_documents)
    rows = [row for row in everything if row.id in ids]
    if not rows:
        raise empty_test_split(name)
    texts = {row.text for row in rows}  # a chosen text has all its targets, also those that are not scored themselves
    pairs = group_pairs((row.text, row.target) for row in everything if row.text in texts)
    progress.start(total=len(rows))
    started = time.monotonic()
    found = asked.score([row.text for row in rows], [row.target for row in rows], progress=progress)
    seconds = time.monotonic() - started
    progress.finish()
    check_finite(name, [row.id for row in rows], found.bits)
    progress.note("scoring without the texts")
    progress.start(total=len(rows))
    alone = asked.score([""] * len(rows), [row.target for row in rows], progress=progress)
    progress.finish()
    metrics = task_metrics(asked.task, config)
    documents, groups = _documents(rows), {row.text: row.group_id for row in everything}
    of_rows = groups_of(documents.groups)
    bits = {"model": found.bits, WITHOUT_TEXT: alone.bits}
    scores = _scores(found.bits, found.num_tokens, _unigram_bits(asked, rows, unigram))
    progress.note(f"writing for {len(pairs)} texts")
    progress.start(total=len(pairs))
    parameters = _parameters(name, asked, config)
    outputs = asked.write([pair.text for pair in pairs], parameters, progress=progress)
    progress.finish()
    targets = pq.read_table(train, columns=["target"], partitioning=None)["target"].to_pylist()
    written = {"model": outputs, **baseline_outputs(pairs, majority_target=majority(filter(None, targets)))}
    return Measured(
        documents=documents,
        table=documents_table(documents, scores),
        figures=_known(summarise(documents, scores)),
        sources={source: _known(row) for source, row in summarise_sources(documents, scores).items()},
        samples=_samples(pairs, outputs, config.num_samples),
        notes=[
            *_notes(found.was_cut),
            *_use_of_texts(bits, documents, of_rows),
            *([f"How it wrote: {in_words(parameters)}."] if config.generation is not None else []),
        ],
        scoring_seconds=seconds,
        task=asked.task,
        task_metric=metrics[0],
        task_rows=[
            *_bits_rows({**bits, "unigram": scores.baseline_bits}, documents, of_rows),
            *measure(
                pairs,
                written,
                metrics=[metric for metric in metrics if metric != "bits_per_byte"],
                groups=groups_of([groups[pair.text] for pair in pairs]),
            ),
        ],
        outputs=_outputs_table(pairs, outputs, groups),
    )


def _parameters(name: str, asked: PairModel, config: EvaluateConfig) -> GenerationParameters:
    """How the model writes: by its task's preset, and what is configured before it.

    Raises:
        InputError: a setting that does not fit the model.
    """
    try:
        return asked.parameters(config.generation.chosen() if config.generation is not None else None)
    except ValueError as error:
        raise InputError(f"models.{name}.evaluate.generation: {error}. Correct it.") from error


def _documents(rows: Sequence[PairRow]) -> Documents:
    return Documents(
        ids=[row.id for row in rows],
        text_hashes=[row.text_hash for row in rows],
        sources=np.array([row.source for row in rows], dtype=object),
        num_bytes=np.array([len(row.target.encode()) for row in rows], dtype=np.int64),
        num_words=np.array([len(row.target.split()) for row in rows], dtype=np.int64),
        groups=[row.group_id or document_id(row.text) for row in rows],
    )


def _unigram_bits(asked: PairModel, rows: Sequence[PairRow], unigram: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    tokenizer = asked.tokenizer
    encoded = [tokenizer.encode(row.target) for row in rows]
    return np.array(
        [
            unigram[ids].sum() + (unknown_bits(tokenizer, row.target) if tokenizer.unk_id in ids else 0.0)
            for row, ids in zip(rows, encoded, strict=True)
        ]
    )


def _scores(
    bits: np.ndarray[Any, Any], num_tokens: np.ndarray[Any, Any], unigram_bits: np.ndarray[Any, Any]
) -> DocumentScores:
    none = np.zeros(len(bits), dtype=np.int64)
    return DocumentScores(
        bits=bits,
        baseline_bits=unigram_bits,
        num_tokens=num_tokens,
        num_top1=none,
        num_top5=none,
        num_unknown=none,
        calibration=np.zeros((len(bits), NUM_BINS, 3)),
    )


def _bits_rows(
    bits: Mapping[str, np.ndarray[Any, Any]], documents: Documents, groups: Array | None
) -> list[dict[str, Any]]:
    """Bits per byte of the targets with their interval, by whom they were found likely."""
    rows = []
    for writer, of_targets in bits.items():
        found = _per_byte(of_targets, documents, groups)
        row = {"metric": "bits_per_byte", "by": writer, "value": found.value, "low": found.low, "high": found.high}
        rows.append({**row, "signature": "targets given their sources, their end not counted"})
    return rows


def _use_of_texts(bits: Mapping[str, np.ndarray[Any, Any]], documents: Documents, groups: Array | None) -> list[str]:
    """A word about a model that does not read, which metrics of what it writes would not tell."""
    saved = _per_byte(bits[WITHOUT_TEXT] - bits["model"], documents, groups)
    if saved.low > 0:
        return []
    return [
        f"With its text the model needs {saved.value:.3f} bits fewer for a byte of a target than without (95 % between "
        f"{saved.low:.3f} and {saved.high:.3f}), so nothing shows that it makes use of what it reads."
    ]


def _per_byte(bits: np.ndarray[Any, Any], documents: Documents, groups: Array | None) -> Estimate:
    seed = int(fingerprint(documents.ids), 16)
    return estimate(ratio_of(bits, documents.num_bytes.astype(np.float64)), seed=seed, groups=groups)


def _known(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: None if key in UNKNOWN else value for key, value in figures.items()}


def _samples(pairs: Sequence[Pair], outputs: Sequence[str], count: int) -> list[dict[str, str]]:
    return [
        {"prompt": pair.text, "continuation": output, "target": pair.targets[0]}
        for pair, output in list(zip(pairs, outputs, strict=True))[:count]
    ]


def _notes(was_cut: np.ndarray[Any, Any]) -> list[str]:
    if not was_cut.any():
        return []
    return [
        f"{int(was_cut.sum())} of {len(was_cut)} pairs do not fit the model's context, or the dataset's max_source_tokens, and "
        "were cut."
    ]


def _outputs_table(pairs: Sequence[Pair], outputs: Sequence[str], groups: Mapping[str, str | None]) -> pa.Table:
    columns = {
        "text": [pair.text for pair in pairs],
        "targets": [list(pair.targets) for pair in pairs],
        "output": list(outputs),
        "group_id": [groups[pair.text] for pair in pairs],
    }
    return pa.table(columns, schema=OUTPUTS_SCHEMA)
