"""The statistics stage: a corpus and the rejects of the stages before it -> tables in Parquet and plots as PNG.

Files: `tables/<name>.parquet` (see queries.py) and `plots/<name>.png`. DuckDB over Parquet, spilling into the
draft's folder. Trade-off: word counts read all of the text; at about 70 MB/s they are the slow part.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.artifacts import Artifact, Draft, Report
from pipeline.files import write_parquet
from pipeline.progress import Progress
from pipeline.stats import plots, queries

MEMORY_LIMIT = "2GB"
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
    scratch = draft.path("scratch/x").parent
    tables: dict[str, pa.Table] = {}
    progress.start(total=len(queries.TABLES) + 2)
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY_LIMIT,
        "temp_directory": str(scratch),
    }
    with duckdb.connect(":memory:", config=settings) as connection:
        connection.execute(queries.DOCUMENTS.format(files=_quoted(corpus.files("documents/*.parquet"))))
        connection.execute(queries.REJECTS.format(files=_quoted(rejects)))
        for name, statement in queries.TABLES.items():
            tables[name] = connection.sql(statement).to_arrow_table()
            progress.advance(1)
        words = connection.sql(queries.WORDS, params={"pattern": queries.WORD}).to_arrow_table()
        connection.register("all_words", words)
        ((num_distinct, num_words),) = connection.execute(queries.NUM_WORDS).fetchall()
        tables["words"] = words.slice(0, queries.NUM_TOP_WORDS)
        progress.advance(1)
    shutil.rmtree(scratch)
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


def _quoted(paths: list[Path]) -> str:
    """A SQL list of file names: a view's definition takes no parameters, so quotes are doubled."""
    return "[" + ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths) + "]"
