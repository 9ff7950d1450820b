"""The statistics stage: a corpus and the rejects of the stages before it -> tables in Parquet and plots as PNG.

Files: `tables/<name>.parquet` (see queries.py) and `plots/<name>.png`. DuckDB over Parquet, spilling into the
draft's folder. Trade-off: counting words reads all of the text, once; it is nine tenths of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipeline.artifacts import Artifact, Draft, Report
from pipeline.corpus.database import database, quoted
from pipeline.files import write_parquet
from pipeline.progress import Progress
from pipeline.stats import plots, queries

NUM_ROWS_SHOWN = 25


def build_corpus_stats(
    draft: Draft,
    *,
    corpus: Artifact,
    raw: Mapping[str, Artifact],
    clean: Mapping[str, Artifact],
    progress: Progress,
) -> Artifact:
    """Counts what is kept by source, split, language and length, which words, and what was rejected where and why."""
    rejects = corpus.files("rejects.parquet")
    rejects += [
        path for stage in (raw, clean) for name in sorted(stage) for path in stage[name].files("rejects/*.parquet")
    ]
    documents = corpus.files("documents/*.parquet")
    tables: dict[str, pa.Table] = {}
    progress.start(total=len(queries.TABLES) + 8)
    with database(draft, files=[*documents, *rejects]) as connection:
        connection.execute(queries.DOCUMENTS.format(files=quoted(map(str, documents))))
        connection.execute(queries.REJECTS.format(files=quoted(map(str, rejects))))
        connection.execute(queries.WORD_COUNTS, {"pattern": queries.WORD})
        progress.advance(8)
        for name in queries.TABLES:
            tables[name] = connection.sql(queries.statement(name)).to_arrow_table()
            progress.advance(1)
        ((num_distinct, num_words),) = connection.execute(queries.NUM_WORDS).fetchall()
    rows = {
        f"tables/{name}.parquet": write_parquet(draft.path(f"tables/{name}.parquet"), t) for name, t in tables.items()
    }
    listed = {name: table.to_pylist() for name, table in tables.items()}
    drawn = {
        "Word frequencies": ("plots/zipf.png", plots.plot_zipf, "words"),
        "Document lengths": ("plots/lengths.png", plots.plot_lengths, "lengths"),
        "Rejects": ("plots/rejects.png", plots.plot_rejects, "rejects"),
        "Languages": ("plots/languages.png", plots.plot_languages, "languages"),
    }
    for file, plot, table in drawn.values():
        plot(listed[table], draft.path(file))
    progress.finish()
    figures = {
        **_totals(listed["by_split"]),
        "num_corpus_words": num_words,
        "num_distinct_words": num_distinct,
        "num_languages": len({row["language"] for row in listed["languages"]}),
        "num_rejected": sum(row["documents"] for row in listed["rejects"]),
        "num_duplicates": sum(row["documents_before"] - row["clusters"] for row in listed["duplicates"]),
    }
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
            },
            plots={title: file for title, (file, _, _) in drawn.items()},
        ),
    )


def _totals(by_split: list[dict[str, Any]]) -> dict[str, int]:
    return {f"num_{unit}": sum(row[unit] for row in by_split) for unit in ("documents", "bytes", "characters")}
