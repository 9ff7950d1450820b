"""The mixture: how often training reads each kept document.

In: the tables `verdicts` and, for buckets, the signal columns. Out: the table `mixed`, a row for each kept document with
its `repeats`, and the account of the mix asked for and obtained. A document's epochs are its source's times its bucket's
factor; of 2.3 epochs, two are reads of all, and the fraction is met by the documents with the lowest hashes, so the
choice depends on the document alone and a smaller fraction is a part of a larger one. The number is a column: nothing is
copied on disk, and since it only counts reads of the training split, no document enters another split.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb

from pipeline.config import CorpusConfig
from pipeline.config.mixing import BucketsConfig
from pipeline.corpus.rules import column_of
from pipeline.errors import StageError

_POSITION = "('0x' || substr(id, 14, 13))::BIGINT / 4503599627370496::DOUBLE"
"""In [0, 1), from digits of the id (a hash in hexadecimal) that the splits do not use: 16**13 = 4503599627370496."""

_FACTORS = """
CREATE TABLE factors AS
SELECT filename, file_row_number, {bucket} AS bucket, coalesce($factors[{bucket} + 1], 1)::DOUBLE AS factor
FROM read_parquet($files, filename = true, file_row_number = true, hive_partitioning = false)
"""

_NO_FACTORS = """
CREATE TABLE factors AS SELECT filename, file_row_number, NULL::INTEGER AS bucket, 1::DOUBLE AS factor FROM verdicts
WHERE reason IS NULL
"""

_TRAINING = """
SELECT source, factor, count(*), sum(num_bytes)::BIGINT
FROM verdicts JOIN factors USING (filename, file_row_number)
WHERE reason IS NULL AND split = 'train' GROUP BY source, factor ORDER BY source, factor
"""

_MIXED = """
CREATE TABLE mixed AS
WITH weighed AS (
    SELECT filename, file_row_number, id, source, split, num_bytes, bucket,
           $epochs[list_position($sources, source)]::DOUBLE * factor AS epochs
    FROM verdicts JOIN factors USING (filename, file_row_number) WHERE reason IS NULL
)
SELECT filename, file_row_number, source, split, num_bytes, bucket,
       CASE WHEN split = 'train' THEN floor(epochs) + ({position} < epochs - floor(epochs))::INTEGER ELSE 1 END::INTEGER
           AS repeats
FROM weighed
"""

_READ = """
SELECT source, count(*) FILTER (repeats > 0), sum(repeats * num_bytes)::BIGINT FROM mixed
WHERE split = 'train' GROUP BY source
"""

_BUCKETS = """
SELECT bucket, count(*) AS documents, sum(num_bytes)::BIGINT AS bytes, sum(repeats * num_bytes)::BIGINT AS bytes_read
FROM mixed WHERE split = 'train' GROUP BY bucket ORDER BY bucket NULLS LAST
"""


def mix(connection: duckdb.DuckDBPyConnection, config: CorpusConfig, files: list[str], name: str) -> dict[str, Any]:
    """Makes `mixed` and returns its account as JSON values: `sources` and `buckets`, rows each, and `notes`.

    Raises:
        StageError: nothing would be read.
    """
    buckets = config.mixture.buckets
    if buckets is None:
        connection.execute(_NO_FACTORS)
    else:
        values = {f"edge_{number}": edge for number, edge in enumerate(buckets.edges)}
        connection.execute(
            _FACTORS.format(bucket=_bucket(buckets)), {"files": files, "factors": list(buckets.factors), **values}
        )
    sizes: dict[str, tuple[int, int, float]] = {}
    for source, factor, documents, num_bytes in connection.execute(_TRAINING).fetchall():
        before = sizes.get(source, (0, 0, 0.0))
        sizes[source] = (before[0] + documents, before[1] + num_bytes, before[2] + factor * num_bytes)
    asked, notes = asked_epochs(config, {source: size[2] for source, size in sizes.items()})
    names = list(config.sources)
    connection.execute(_MIXED.format(position=_POSITION), {"sources": names, "epochs": [asked[name] for name in names]})
    read = {row[0]: row[1:] for row in connection.execute(_READ).fetchall()}
    total_read = sum(row[1] for row in read.values())
    if total_read == 0:
        raise StageError(
            f"corpora.{name}: its mixture reads none of the training documents. Raise the epochs of its sources, the "
            "factors of `mixture.buckets` or `mixture.budget_bytes`."
        )
    wanted = _wanted_fractions(config, {name: size[1] for name, size in sizes.items()})
    rows = []
    for name in names:
        documents, num_bytes, _ = sizes.get(name, (0, 0, 0.0))
        documents_read, bytes_read = read.get(name, (0, 0))
        rows.append(
            {
                "source": name,
                "epochs_asked": asked[name],
                "fraction_asked": wanted[name],
                "documents": documents,
                "bytes": num_bytes,
                "documents_read": documents_read,
                "bytes_read": bytes_read,
                "epochs_obtained": bytes_read / num_bytes if num_bytes else 0.0,
                "fraction_obtained": bytes_read / total_read if total_read else 0.0,
            }
        )
    return {"sources": rows, "buckets": _bucket_rows(connection, buckets), "notes": notes}


def asked_epochs(config: CorpusConfig, effective_bytes: Mapping[str, float]) -> tuple[dict[str, float], list[str]]:
    """Epochs of each source's training documents, and a sentence for each that `max_epochs` holds back.

    `effective_bytes` are a source's training bytes times the factors of their buckets. With weights, shares of 3 to 1 and
    a budget of 80 bytes, sources of 20 and 40 bytes are read 3 times and 0.5 times.
    """
    mixture = config.mixture
    budget: float | None = mixture.budget_bytes
    if mixture.weights is None and budget is None:
        return dict(config.sources), []
    present = [name for name in config.sources if effective_bytes.get(name)]
    if mixture.weights is None:
        wanted = {name: config.sources[name] * effective_bytes[name] for name in present}
    else:
        wanted = {name: mixture.weights[name] for name in present}
    if budget is None:
        budget = sum(effective_bytes[name] for name in present)
    epochs = dict.fromkeys(config.sources, 0.0)
    notes = []
    for name in present:
        epochs[name] = budget * wanted[name] / sum(wanted.values()) / effective_bytes[name]
        if epochs[name] > mixture.max_epochs:
            notes.append(
                f"Source {name} would be read {epochs[name]:.3g} times for its share; mixture.max_epochs "
                f"{mixture.max_epochs:g} holds it back."
            )
            epochs[name] = mixture.max_epochs
    return epochs, notes


def _wanted_fractions(config: CorpusConfig, train_bytes: Mapping[str, int]) -> dict[str, float]:
    """Each source's share of the bytes read as the settings say it, before buckets and limits."""
    weights = config.mixture.weights
    wanted = {
        name: weights[name] if weights else epochs * train_bytes.get(name, 0) for name, epochs in config.sources.items()
    }
    total = sum(wanted.values())
    return {name: value / total if total else 0.0 for name, value in wanted.items()}


def _bucket(buckets: BucketsConfig) -> str:
    """SQL for the number of edges that a document's signal reaches; null where it was not measured."""
    column, kind = column_of(buckets.by)
    limits = [f"({column} >= $edge_{number}::{kind})::INTEGER" for number in range(len(buckets.edges))]
    return "(" + " + ".join(limits) + ")"


def _bucket_rows(connection: duckdb.DuckDBPyConnection, buckets: BucketsConfig | None) -> list[dict[str, Any]]:
    if buckets is None:
        return []
    bounds = ["", *(f"{edge:g}" for edge in buckets.edges), ""]
    rows = []
    for number, documents, num_bytes, bytes_read in connection.execute(_BUCKETS).fetchall():
        low, high = ("", "") if number is None else bounds[number : number + 2]
        inside = f"{low} to {high}" if low and high else (f"from {low}" if low else f"below {high}")
        rows.append(
            {
                "bucket": f"{buckets.by} {'not measured' if number is None else inside}",
                "factor_asked": 1.0 if number is None else buckets.factors[number],
                "documents": documents,
                "bytes": num_bytes,
                "bytes_read": bytes_read,
                "epochs_obtained": bytes_read / num_bytes if num_bytes else 0.0,
            }
        )
    return rows
