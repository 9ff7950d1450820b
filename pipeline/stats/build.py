"""The statistics stage: a corpus and the rejects of the stages before it -> tables in Parquet and plots as PNG.

Files: `tables/<name>.parquet` (see queries.py and signals.py) and `plots/<name>.png`. DuckDB over Parquet, spilling into the
draft's folder. Trade-off: counting words reads all of the text once, and so do the n-grams of more than one source; that is
nearly all of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.artifacts import Artifact, Draft, Report
from pipeline.corpus.database import database, quoted
from pipeline.corpus.layout import reject_files
from pipeline.files import write_parquet
from pipeline.progress import Progress
from pipeline.stats import plots, queries, samples, signals
from pipeline.stats.heaps import fit_heaps
from pipeline.stats.overlap import measure_overlap
from pipeline.stats.pairs import PAIR_TABLES, pair_figures, plot_pairs

NUM_ROWS_SHOWN = 25
_TEXT_READS = 8
"""What reading all of the text counts for in the progress, in tables."""

_MIX_FIELDS = [
    pa.field("documents", pa.int64()),
    pa.field("bytes", pa.int64()),
    pa.field("bytes_read", pa.int64()),
    pa.field("epochs_obtained", pa.float64()),
]
MIXTURE_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string()),
        pa.field("epochs_asked", pa.float64()),
        pa.field("fraction_asked", pa.float64()),
        pa.field("fraction_obtained", pa.float64()),
        pa.field("documents_read", pa.int64()),
        *_MIX_FIELDS,
    ]
)
BUCKETS_SCHEMA = pa.schema([pa.field("bucket", pa.string()), pa.field("factor_asked", pa.float64()), *_MIX_FIELDS])


def build_corpus_stats(
    draft: Draft,
    *,
    corpus: Artifact,
    raw: Mapping[str, Artifact],
    clean: Mapping[str, Artifact],
    progress: Progress,
) -> Artifact:
    """Counts what is kept by source, split, language and length, which words, and what was rejected where and why."""
    rejects = reject_files(corpus)
    rejects += [
        path for stage in (raw, clean) for name in sorted(stage) for path in stage[name].files("rejects/*.parquet")
    ]
    documents = corpus.files("documents/*.parquet")
    before = [path for name in sorted(raw) for path in raw[name].files("documents/*.parquet")]
    mixture: Mapping[str, Any] = corpus.manifest.counts.get("mixture", {"sources": [], "buckets": []})
    tables: dict[str, pa.Table] = {
        "mixture": pa.Table.from_pylist(mixture["sources"], MIXTURE_SCHEMA),
        "quality_buckets": pa.Table.from_pylist(mixture["buckets"], BUCKETS_SCHEMA),
    }
    progress.start(total=len(queries.TABLES) + len(PAIR_TABLES) + 2 * _TEXT_READS)
    with database(draft, files=[*documents, *rejects, *before]) as connection:
        connection.execute(queries.DOCUMENTS.format(files=quoted(map(str, documents))))
        connection.execute(queries.REJECTS.format(files=quoted(map(str, rejects))))
        connection.execute(queries.WORD_COUNTS, {"pattern": queries.WORD})
        connection.execute(queries.COUNT_VIEWS)
        progress.advance(_TEXT_READS)
        for name in queries.TABLES:
            tables[name] = connection.sql(queries.statement(name)).to_arrow_table()
            progress.advance(1)
        for name, statement in PAIR_TABLES.items():
            tables[name] = connection.sql(statement).to_arrow_table()
            progress.advance(1)
        tables |= _distributions(connection, before)
        ((num_distinct, num_words),) = connection.execute(queries.NUM_WORDS).fetchall()
    overlap = measure_overlap(documents)
    tables["overlap"] = overlap.table
    progress.advance(_TEXT_READS)
    rows = {
        f"tables/{name}.parquet": write_parquet(draft.path(f"tables/{name}.parquet"), t) for name, t in tables.items()
    }
    listed = {name: table.to_pylist() for name, table in tables.items()}
    drawn = {
        "Word frequencies": ("plots/zipf.png", plots.plot_zipf, "words"),
        "Document lengths": ("plots/lengths.png", plots.plot_lengths, "lengths"),
        "Rejects": ("plots/rejects.png", plots.plot_rejects, "rejects"),
        "Languages": ("plots/languages.png", plots.plot_languages, "languages"),
        "Vocabulary growth": ("plots/vocabulary_growth.png", plots.plot_vocabulary_growth, "vocabulary_growth"),
        "Quality signals": ("plots/signals.png", plots.plot_signals, "signal_bins"),
        "Duplicate clusters": ("plots/duplicates.png", plots.plot_duplicates, "duplicates"),
        "Overlap between sources": ("plots/overlap.png", plots.plot_overlap, "overlap"),
        "Mixture": ("plots/mixture.png", plots.plot_mixture, "mixture"),
    }
    for file, plot, table in drawn.values():
        plot(listed[table], draft.path(file))
    figures_of_pairs = pair_figures(listed)
    plot_files = {title: file for title, (file, _, _) in drawn.items()}
    if figures_of_pairs:
        plot_files["Pairs"] = "plots/pairs.png"
        plot_pairs(listed["pair_ratios"], listed["pair_lengths"], draft.path(plot_files["Pairs"]))
    progress.finish()
    growth = listed["vocabulary_growth"]
    heaps = fit_heaps([row["words"] for row in growth], [row["distinct_words"] for row in growth])
    figures: dict[str, int | float | str] = {
        **_totals(listed["by_split"]),
        "num_corpus_words": num_words,
        "num_distinct_words": num_distinct,
        "num_languages": len({row["language"] for row in listed["languages"]}),
        "num_rejected": sum(row["documents"] for row in listed["rejects"]),
        **figures_of_pairs,
        "num_duplicates": sum(row["documents_before"] - row["clusters"] for row in listed["duplicates"]),
    }
    if heaps is not None:
        figures |= {"heaps_k": heaps.k, "heaps_beta": heaps.beta}
    return draft.commit(
        counts=figures,
        rows=rows,
        report=Report(
            figures=figures,
            tables={
                "Splits": listed["by_split"],
                "Sources": listed["by_source"][:NUM_ROWS_SHOWN],
                "Languages": listed["languages"][:NUM_ROWS_SHOWN],
                "Most frequent words": listed["words"][:NUM_ROWS_SHOWN],
                "Rejects by stage, source and reason": listed["rejects"][:NUM_ROWS_SHOWN],
                "Duplicate clusters by size": listed["duplicates"][:NUM_ROWS_SHOWN],
                "Mixture": listed["mixture"],
                "Quality buckets": listed["quality_buckets"],
                "Overlap between sources": listed["overlap"][:NUM_ROWS_SHOWN],
                "Pairs": listed["pairs"][:NUM_ROWS_SHOWN],
                "Languages of pairs": listed["pair_languages"][:NUM_ROWS_SHOWN],
                "Targets of several pairs": listed["pair_targets"][:NUM_ROWS_SHOWN],
                "One reject for each reason": listed["reject_samples"][:NUM_ROWS_SHOWN],
            },
            samples={
                f"Before and after: {row['source']}, {row['id']}": f"{row['before']}\n->\n{row['after']}"
                for row in listed["before_after"]
            },
            notes=overlap.notes,
            plots=plot_files,
        ),
    )


def _distributions(connection: duckdb.DuckDBPyConnection, raw: list[Path]) -> dict[str, pa.Table]:
    """The tables that are neither counts of documents nor of words."""
    return {
        "signals": signals.describe(connection, signals.QUANTILES),
        "signal_bins": signals.describe(connection, signals.BINS),
        "reject_samples": connection.sql(samples.REJECTS).to_arrow_table(),
        "before_after": samples.before_and_after(connection, raw),
    }


def _totals(by_split: list[dict[str, Any]]) -> dict[str, int]:
    return {f"num_{unit}": sum(row[unit] for row in by_split) for unit in ("documents", "bytes", "characters")}
