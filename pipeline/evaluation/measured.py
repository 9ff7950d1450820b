"""What an evaluation found, before it is written down; and finding it for a corpus of texts.

In: a model, its tokenizer, the test split. Out: bits of every document beside the unigram baseline's, figures for all and by
source, samples, notes. For a corpus of pairs see pair_measuring.py.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.config.training import EvaluateConfig
from pipeline.errors import StageError
from pipeline.evaluation.cached import Cached, measure_with_cache
from pipeline.evaluation.metrics.totals import Documents, summarise, summarise_sources
from pipeline.evaluation.samples import write_samples
from pipeline.evaluation.scoring import DocumentScores, score_documents
from pipeline.evaluation.test_split import chosen_ids, describe, num_characters, read_texts
from pipeline.progress import Progress

if TYPE_CHECKING:
    from pipeline.models.interface import LanguageModel
    from pipeline.tokenizer.model import Tokenizer

DOCUMENTS_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text_hash", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("num_bytes", pa.int64(), nullable=False),
        pa.field("num_tokens", pa.int64(), nullable=False),
        pa.field("bits", pa.float64(), nullable=False),
        pa.field("unigram_bits", pa.float64(), nullable=False),
        pa.field("group_id", pa.string()),
    ]
)
"""Of a pair, bytes, tokens and bits are those of the target. `group_id` says what a document hangs together with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was found."""

    documents: Documents
    table: pa.Table
    """Of DOCUMENTS_SCHEMA."""
    figures: dict[str, Any]
    sources: dict[str, dict[str, Any]]
    samples: list[dict[str, str]]
    notes: list[str]
    scoring_seconds: float
    """Of the log-probabilities alone."""
    calibration: np.ndarray[Any, Any] | None = None
    """(15, 3): counts, summed confidences and hits; None where the model gives no confidences."""
    cached: Cached | None = None
    """The same with a cache of recent states, where one is asked for."""
    task: str = "language_model"
    task_metric: str = "bits_per_byte"
    """What the leaderboard goes by."""
    task_rows: list[dict[str, Any]] = field(default_factory=list)
    """A row for each metric of the task and each writer: the model and the baselines."""
    outputs: pa.Table | None = None
    """What was written for each pair."""

    @property
    def bins(self) -> list[dict[str, float]]:
        """The calibration as rows."""
        cells = [] if self.calibration is None else self.calibration.tolist()
        return [
            {"num_predictions": count, "summed_confidence": confidence, "num_right": hits}
            for count, confidence, hits in cells
        ]


def measure_texts(
    name: str,
    model: LanguageModel,
    tokenizer: Tokenizer,
    *,
    test: Path,
    unigram: np.ndarray[Any, Any],
    config: EvaluateConfig,
    progress: Progress,
) -> Measured:
    """Bits and figures of the test split's texts, and samples.

    Raises:
        StageError: the test split is empty, or the model's probabilities are not finite.
    """
    ids = chosen_ids(test, max_documents=config.max_documents)
    documents, openings = describe(test, ids, num_openings=config.num_samples)
    if not documents.ids:
        raise empty_test_split(name)
    progress.start(total=num_characters(test, ids))
    started = time.monotonic()
    scores = score_documents(model, tokenizer, read_texts(test, ids), bits_per_token=unigram, progress=progress)
    seconds = time.monotonic() - started
    progress.finish()
    check_finite(name, documents.ids, scores.bits)
    notes, cached = [], None
    if config.cache is not None:
        progress.note("scoring with the cache")
        progress.start(total=num_characters(test, ids))
        cached = measure_with_cache(
            model,
            tokenizer,
            read_texts(test, ids),
            documents=documents,
            alone=scores,
            settings=config.cache,
            progress=progress,
        )
        progress.finish()
        check_finite(name, documents.ids, cached.bits)
        notes.append(cached.note)
    progress.note("writing samples")
    figures = summarise(documents, scores)
    if figures["unknown_fraction"]:
        notes.append(
            f"{100 * figures['unknown_fraction']:.2f} % of the test tokens stand for text outside the vocabulary, "
            "which counts with 8 bits a byte, as if it were spelt out."
        )
    return Measured(
        documents=documents,
        table=documents_table(documents, scores),
        figures=figures,
        sources=summarise_sources(documents, scores),
        samples=write_samples(model, tokenizer, config=config, openings=openings),
        notes=notes,
        scoring_seconds=seconds,
        calibration=scores.calibration.sum(axis=0),
        cached=cached,
    )


def empty_test_split(name: str) -> StageError:
    """What to say where nothing is held out."""
    return StageError(f"evaluation/{name}: its corpus has no test document. Raise `splits.test` of the corpus.")


def check_finite(name: str, ids: list[str], bits: np.ndarray[Any, Any]) -> None:
    """Raises StageError where a document has no finite probability."""
    broken = np.flatnonzero(~np.isfinite(bits))
    if len(broken):
        raise StageError(
            f"evaluation/{name}: the model gives {len(broken)} of {len(ids)} test documents no finite "
            f"probability (the first is {ids[broken[0]]}); its weights are unusable, so train it again with "
            "another `train.seed` or lower learning rates."
        )


def documents_table(documents: Documents, scores: DocumentScores) -> pa.Table:
    """One row a document, by id."""
    columns = {
        "id": documents.ids,
        "text_hash": documents.text_hashes,
        "source": list(documents.sources),
        "num_bytes": documents.num_bytes,
        "num_tokens": scores.num_tokens,
        "bits": scores.bits,
        "unigram_bits": scores.baseline_bits,
        "group_id": list(documents.groups),
    }
    return pa.table(columns, schema=DOCUMENTS_SCHEMA).sort_by("id")
