"""The evaluation stage: a trained model and held-out text in, figures, samples and a one-page report out.

Files: `documents.parquet` (one row a scored test document: bits of the model and of the unigram baseline, which the
promotion gate and comparisons read), `metrics.json`, `samples.json`, `report.html`, `plots/*.png`, and where benchmarks
are configured `benchmarks.parquet` (one row a question).
Trade-off: every document is scored in float32 one model pass at a time, which is exact and takes about a third of a
training step's time for the same tokens, up to twice that for documents longer than the context.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipeline.artifacts import Artifact, Draft, Report
from pipeline.config.training import EvaluateConfig
from pipeline.errors import StageError
from pipeline.evaluation import plots
from pipeline.evaluation.baseline import unigram_bits_per_token
from pipeline.evaluation.benchmarks.running import ROWS_SCHEMA, run_benchmarks
from pipeline.evaluation.html import render_report
from pipeline.evaluation.metrics.totals import Documents, summarise, summarise_sources
from pipeline.evaluation.samples import pick_openings, write_samples
from pipeline.evaluation.scoring import DocumentScores, score_documents
from pipeline.files import write_bytes, write_json, write_parquet, write_text
from pipeline.models.loading import load_model
from pipeline.progress import Progress
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
    ]
)

_COLUMNS = ["id", "text_hash", "source", "num_bytes", "num_words", "text"]


def build_evaluation(
    draft: Draft,
    *,
    name: str,
    config: EvaluateConfig,
    model: Artifact,
    corpus: Artifact,
    shards: Artifact,
    progress: Progress,
    folder: Path = Path(),
) -> Artifact:
    """Scores the test split, asks the benchmarks (paths relative to `folder`), writes samples and the report.

    Raises:
        InputError: a benchmark's file cannot be read, or holds no example.
        StageError: the test split is empty, or the model's probabilities are not finite.
        ArtifactError: the model's tokenizer is not the one its tokens were made with.
    """
    language_model = load_model(model.file("model/textmill.json").parent, device=best_device())
    tokenizer = Tokenizer.load(model.file("model/tokenizer.model"))
    test = corpus.file("documents/test.parquet")
    ids = _chosen_ids(test, max_documents=config.max_documents)
    documents, openings = _describe(test, ids, num_openings=config.num_samples)
    if not documents.ids:
        raise StageError(
            f"evaluation/{name}: {corpus.ref} has no test document. Raise `splits.test` of corpora.{corpus.ref.name}."
        )
    unigram = unigram_bits_per_token(
        shards.file("token_counts.parquet"),
        vocab_size=tokenizer.vocab_size,
        not_text=(tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id),
    )
    progress.start(total=_num_characters(test, ids))
    scores = score_documents(
        language_model, tokenizer, read_texts(test, ids), bits_per_token=unigram, progress=progress
    )
    progress.finish()
    _check_finite(name, documents, scores)
    progress.note("writing samples")
    samples = write_samples(language_model, tokenizer, config=config, openings=openings)
    answered = run_benchmarks(language_model, tokenizer, config.benchmarks, folder=folder, progress=progress)
    benchmarks = {benchmark: result.figures for benchmark, result in answered.items()}

    figures = summarise(documents, scores)
    sources = summarise_sources(documents, scores)
    drawn = {
        "Learning curve": plots.learning_curve(pq.read_table(model.file("history.parquet"))),
        "Reliability: is it as sure as it is right?": plots.reliability(scores.calibration.sum(axis=0)),
        "Bits per byte of each source": plots.bits_per_source(sources),
    }
    files = ("plots/learning_curve.png", "plots/reliability.png", "plots/bits_per_byte.png")
    notes = [*_notes(figures, corpus, config), *(note for result in answered.values() for note in result.notes)]
    lineage = {"model": model.ref, **model.manifest.inputs, "corpus": corpus.ref}
    num_rows = write_parquet(draft.path("documents.parquet"), _table(documents, scores))
    rows = {"documents.parquet": num_rows}
    if answered:
        asked = [row for result in answered.values() for row in result.rows]
        table = pa.Table.from_pylist(asked, schema=ROWS_SCHEMA)
        rows["benchmarks.parquet"] = write_parquet(draft.path("benchmarks.parquet"), table)
    metrics = {"all": figures, "sources": sources, "bins": _bins(scores), "benchmarks": benchmarks}
    write_json(draft.path("metrics.json"), metrics)
    write_json(draft.path("samples.json"), samples)
    for path, data in zip(files, drawn.values(), strict=True):
        write_bytes(draft.path(path), data)
    page = render_report(
        name=name,
        family=language_model.family,
        training=model.manifest.counts,
        figures=figures,
        sources=sources,
        benchmarks=benchmarks,
        samples=samples,
        plots=drawn,
        lineage=lineage,
        notes=notes,
    )
    write_text(draft.path("report.html"), page)
    counts = {**figures, **flattened(benchmarks)}
    report = Report(
        figures={key: value for key, value in counts.items() if value is not None},
        tables={
            "By source": [{"source": source, **row} for source, row in sources.items()],
            "Benchmarks": [{"benchmark": benchmark, **row} for benchmark, row in benchmarks.items()],
        },
        plots=dict(zip(drawn, files, strict=True)),
        samples={
            f"Sample {index + 1}": sample["prompt"] + sample["continuation"] for index, sample in enumerate(samples)
        },
        notes=notes,
    )
    return draft.commit(counts=counts, report=report, rows=rows)


def flattened(benchmarks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The figures that people compare, under `accuracy/NAME` and its kin, which is how MLflow and the asset page show them."""
    shown = ("accuracy", "accuracy_stderr", "normalised_accuracy", "centred_accuracy")
    return {
        f"{figure}/{benchmark}": row[figure]
        for benchmark, row in benchmarks.items()
        for figure in shown
        if row[figure] is not None
    }


def best_device() -> str:
    """A GPU where there is one; the result differs by rounding only."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def read_texts(test: Path, ids: set[str]) -> Iterator[str]:
    """The texts of the chosen documents, in the order of the file."""
    for batch in pq.ParquetFile(test).iter_batches(batch_size=256, columns=["id", "text"]):
        for document, text in zip(batch["id"].to_pylist(), batch["text"], strict=True):
            if document in ids:
                yield text.as_py()


def _chosen_ids(test: Path, *, max_documents: int | None) -> set[str]:
    """The smallest ids: they are hashes, so this is a sample, and the same one for every model of the corpus."""
    return set(sorted(pq.read_table(test, columns=["id"])["id"].to_pylist())[:max_documents])


def _describe(test: Path, ids: set[str], *, num_openings: int) -> tuple[Documents, list[str]]:
    rows: list[dict[str, Any]] = []
    first_texts: dict[str, list[str]] = {}
    for batch in pq.ParquetFile(test).iter_batches(batch_size=256, columns=_COLUMNS):
        for row in batch.to_pylist():
            if row["id"] not in ids:
                continue
            text = row.pop("text")
            rows.append(row)
            seen = first_texts.setdefault(row["source"], [])
            if len(seen) < num_openings and text.strip():
                seen.append(text)
    documents = Documents(
        ids=[row["id"] for row in rows],
        text_hashes=[row["text_hash"] for row in rows],
        sources=np.array([row["source"] for row in rows], dtype=object),
        num_bytes=np.array([row["num_bytes"] for row in rows], dtype=np.int64),
        num_words=np.array([row["num_words"] for row in rows], dtype=np.int64),
    )
    return documents, pick_openings(first_texts, count=num_openings)


def _num_characters(test: Path, ids: set[str]) -> int:
    table = pq.read_table(test, columns=["id", "num_characters"])
    pairs = zip(table["id"].to_pylist(), table["num_characters"].to_pylist(), strict=True)
    return sum(count for document, count in pairs if document in ids)


def _check_finite(name: str, documents: Documents, scores: DocumentScores) -> None:
    broken = np.flatnonzero(~np.isfinite(scores.bits))
    if len(broken):
        raise StageError(
            f"evaluation/{name}: the model gives {len(broken)} of {len(documents.ids)} test documents no finite "
            f"probability (the first is {documents.ids[broken[0]]}); its weights are unusable, so train it again with "
            "another `train.seed` or lower learning rates."
        )


def _table(documents: Documents, scores: DocumentScores) -> pa.Table:
    columns = {
        "id": documents.ids,
        "text_hash": documents.text_hashes,
        "source": list(documents.sources),
        "num_bytes": documents.num_bytes,
        "num_tokens": scores.num_tokens,
        "bits": scores.bits,
        "unigram_bits": scores.baseline_bits,
    }
    return pa.table(columns, schema=DOCUMENTS_SCHEMA).sort_by("id")


def _bins(scores: DocumentScores) -> list[dict[str, float]]:
    return [
        {"num_predictions": count, "summed_confidence": confidence, "num_right": hits}
        for count, confidence, hits in scores.calibration.sum(axis=0).tolist()
    ]


def _notes(figures: dict[str, Any], corpus: Artifact, config: EvaluateConfig) -> list[str]:
    notes = []
    total = corpus.manifest.counts["splits"]["test"]["documents"]
    if config.max_documents is not None and figures["num_documents"] < total:
        notes.append(
            f"Measured on {figures['num_documents']} of {total} test documents, those with the smallest hashes."
        )
    if figures["unknown_fraction"]:
        notes.append(
            f"{100 * figures['unknown_fraction']:.2f} % of the test tokens stand for text outside the vocabulary, so "
            "bits per byte flatters this model."
        )
    return notes
