"""The evaluation stage: a trained model and held-out text in, figures, samples and a one-page report out.

Files: `documents.parquet` (one row a scored test document: bits of the model and of the unigram baseline, which the
promotion gate and comparisons read), `metrics.json`, `samples.json`, `report.html`, `plots/*.png`; where benchmarks are
configured `benchmarks.parquet` (one row a question), where text is asked for `by_heart.parquet` (one row a document), and of
pairs `outputs.parquet` (what the model wrote for each text).
Trade-off: every document is scored in float32 one model pass at a time, which is exact and takes about a third of a
training step's time for the same tokens, up to twice that for documents longer than the context.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pipeline.artifacts import Artifact, Draft, Report
from pipeline.config.training import EvaluateConfig
from pipeline.corpus.layout import train_files
from pipeline.evaluation import plots
from pipeline.evaluation.baseline import unigram_bits_per_token
from pipeline.evaluation.benchmarks.running import ROWS_SCHEMA, BenchmarkResult, run_benchmarks
from pipeline.evaluation.by_heart import ROWS_SCHEMA as BY_HEART_SCHEMA
from pipeline.evaluation.by_heart import ByHeart, measure_by_heart
from pipeline.evaluation.html import render_report
from pipeline.evaluation.measured import Measured, measure_texts
from pipeline.evaluation.pair_measuring import WITHOUT_TEXT, measure_pairs
from pipeline.evaluation.pair_model import PairModel, TextModel, load_writer
from pipeline.files import write_bytes, write_json, write_parquet, write_text
from pipeline.progress import Progress
from pipeline.shards.reader import PAIR_INDEX

CLEARLY_WORSE = 0.05
"""Nats a token by which a validation loss may rise before it is said."""


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
        InputError: a benchmark's file cannot be read or holds no example.
        StageError: the test split is empty, or the model's probabilities are not finite.
        ArtifactError: the model's tokenizer is not the one its tokens were made with.
    """
    measured, writer = _measure(name, config, model, corpus, shards, progress)
    by_heart = _by_heart(writer, config, corpus, progress)
    answered = run_benchmarks(writer, config.benchmarks, folder=folder, progress=progress)
    drawn = _plots(model, measured)
    notes = [
        *model.report().notes,  # what its training said: few people look there for what it did not read
        *known_by_heart(model),
        *_notes(measured, corpus, config),
        *([by_heart.note] if by_heart is not None else []),
        *(note for result in answered.values() for note in result.notes),
    ]
    lineage = {"model": model.ref, **model.manifest.inputs, "corpus": corpus.ref}
    benchmarks = {benchmark: result.figures for benchmark, result in answered.items()}
    with_cache = measured.cached.figures if measured.cached is not None else {}
    counts = {**measured.figures, **{f"cached_{key}": value for key, value in with_cache.items()}}
    counts |= {**task_figures(measured.task_rows), **benchmark_figures(benchmarks)}
    counts |= by_heart.figures if by_heart is not None else {}
    rows = _write_tables(draft, measured, by_heart, answered)
    metrics = {
        "all": measured.figures,
        "sources": measured.sources,
        "bins": measured.bins,
        "task": {"name": measured.task, "metric": measured.task_metric, "metrics": measured.task_rows},
        "benchmarks": benchmarks,
        "cache": measured.cached.record() if measured.cached is not None else None,
    }
    if by_heart is not None:
        metrics["by_heart"] = {"settings": by_heart.settings.literals(), "splits": by_heart.splits}
    write_json(draft.path("metrics.json"), metrics)
    write_json(draft.path("samples.json"), measured.samples)
    write_json(draft.path("timings.json"), {"scoring_seconds": measured.scoring_seconds})
    for path, data in drawn.values():
        write_bytes(draft.path(path), data)
    page = render_report(
        name=name,
        family=writer.model.family,
        training=model.manifest.counts,
        figures=measured.figures,
        sources=measured.sources,
        cached=with_cache,
        by_heart=by_heart,
        task=measured.task,
        task_metric=measured.task_metric,
        task_rows=measured.task_rows,
        benchmarks=benchmarks,
        samples=measured.samples,
        plots={title: data for title, (_, data) in drawn.items()},
        lineage=lineage,
        notes=notes,
    )
    write_text(draft.path("report.html"), page)
    report = Report(
        figures={key: value for key, value in counts.items() if value is not None},
        tables={
            "By source": [{"source": source, **row} for source, row in measured.sources.items()],
            "Task": measured.task_rows,
            "Known by heart": by_heart.table if by_heart is not None else [],
            "Benchmarks": [{"benchmark": benchmark, **row} for benchmark, row in benchmarks.items()],
        },
        plots={title: path for title, (path, _) in drawn.items()},
        samples={f"Sample {number}": sample_text(sample) for number, sample in enumerate(measured.samples, start=1)},
        notes=notes,
    )
    return draft.commit(counts=counts, report=report, rows=rows, volatile=("timings.json",))


def best_device() -> str:
    """A GPU where there is one; the result differs by rounding only."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def task_figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The task's metrics by name for the model, and under `METRIC/BASELINE` for each baseline; bits per byte of the model and of
    the unigram baseline are figures of every model and stand elsewhere."""
    return {
        row["metric"] if row["by"] == "model" else f"{row['metric']}/{row['by']}": row["value"]
        for row in rows
        if row["metric"] != "bits_per_byte" or row["by"] == WITHOUT_TEXT
    }


def benchmark_figures(benchmarks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The figures that people compare, under `accuracy/NAME` and its kin, which is how MLflow and the asset page show them."""
    shown = ("accuracy", "accuracy_stderr", "normalised_accuracy", "centred_accuracy")
    return {
        f"{figure}/{benchmark}": row[figure]
        for benchmark, row in benchmarks.items()
        for figure in shown
        if row[figure] is not None
    }


def sample_text(sample: Mapping[str, str]) -> str:
    """A sample as one text: the prompt and what follows it, or a pair's three parts."""
    if "target" in sample:
        return f"{sample['prompt']}\n\n→ {sample['continuation']}\n\n= {sample['target']}"
    return sample["prompt"] + sample["continuation"]


def _measure(
    name: str, config: EvaluateConfig, model: Artifact, corpus: Artifact, shards: Artifact, progress: Progress
) -> tuple[Measured, TextModel | PairModel]:
    model_folder = model.file("model/textmill.json").parent
    test = corpus.file("documents/test.parquet")
    writer = load_writer(model_folder, next(iter(shards.files(PAIR_INDEX)), None), device=best_device())
    tokenizer = writer.tokenizer
    unigram = unigram_bits_per_token(
        shards.file("token_counts.parquet"),
        vocab_size=tokenizer.vocab_size,
        not_text=(tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id),
    )
    if isinstance(writer, TextModel):
        found = measure_texts(
            name, writer.model, tokenizer, test=test, unigram=unigram, config=config, progress=progress
        )
        return found, writer
    train = train_files(corpus)
    found = measure_pairs(name, writer, test=test, train=train, unigram=unigram, config=config, progress=progress)
    return found, writer


def _plots(model: Artifact, measured: Measured) -> dict[str, tuple[str, bytes]]:
    """Title -> path and PNG."""
    curve = plots.learning_curve(pq.read_table(model.file("history.parquet")))
    drawn = {"Learning curve": ("plots/learning_curve.png", curve)}
    if measured.calibration is not None:
        picture = plots.reliability(measured.calibration)
        drawn["Reliability: is it as sure as it is right?"] = ("plots/reliability.png", picture)
    bits = plots.bits_per_source(measured.sources)
    drawn["Bits per byte of each source"] = ("plots/bits_per_byte.png", bits)
    return drawn


def _by_heart(
    writer: TextModel | PairModel, config: EvaluateConfig, corpus: Artifact, progress: Progress
) -> ByHeart | None:
    """What a model of running text gives back of its training text, where that is asked for."""
    if config.by_heart is None or not isinstance(writer, TextModel):
        return None
    progress.note("asking for training text")
    return measure_by_heart(
        writer.model,
        writer.tokenizer,
        train=train_files(corpus),
        test=corpus.file("documents/test.parquet"),
        settings=config.by_heart,
        progress=progress,
    )


def _write_tables(
    draft: Draft, measured: Measured, by_heart: ByHeart | None, answered: Mapping[str, BenchmarkResult]
) -> dict[str, int]:
    """Path -> rows."""
    tables = {"documents.parquet": measured.table}
    if measured.outputs is not None:
        tables["outputs.parquet"] = measured.outputs
    if by_heart is not None:
        tables["by_heart.parquet"] = pa.Table.from_pylist(by_heart.rows, schema=BY_HEART_SCHEMA)
    if answered:
        asked = [row for result in answered.values() for row in result.rows]
        tables["benchmarks.parquet"] = pa.Table.from_pylist(asked, schema=ROWS_SCHEMA)
    return {path: write_parquet(draft.path(path), table) for path, table in tables.items()}


def known_by_heart(model: Artifact) -> list[str]:
    """A word about a network whose validation loss rose again while its training went on."""
    counts = model.manifest.counts
    least, last = counts.get("least_validation_loss"), counts.get("final_validation_loss")
    if least is None or last is None or last - least < CLEARLY_WORSE:
        return []
    return [
        f"Its validation loss was least at step {counts['least_validation_step']:,} of {counts['steps']:,} ({least:.3f}) and is "
        f"{last:.3f} at the end: it learnt its training text by heart. Set dropout, fewer train.tokens, or train.result: best."
    ]


def _notes(measured: Measured, corpus: Artifact, config: EvaluateConfig) -> list[str]:
    total = corpus.manifest.counts["splits"]["test"]["documents"]
    num_documents = measured.figures["num_documents"]
    if config.max_documents is None or num_documents >= total:
        return measured.notes
    return [f"Measured on {num_documents} of {total} test documents, those with the smallest hashes.", *measured.notes]
