"""Splits of pairs: no two of them part pairs with a side in common, and no target fills the training split.

In: the table `verdicts` after deduplication, and the hashes of both sides (cleaning/pairs.py). Out: the same table, where the
split of each kept pair is that of its component: the pairs that share a text, a target or a group with one another, directly or
by way of others. A hash of its smallest cluster id decides, so the order of arrival changes nothing; where a source of the
component is training text by its own setting, so is the component.
Files that hold no pair are known from when they were judged (judged.py), and not opened.
Trade-off: a component goes to one split as a whole, so a target that very many pairs share can leave a split empty;
`joined_by` says what joins.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.config import CorpusConfig
from pipeline.config.pairs import PairsConfig
from pipeline.corpus.fixed_splits import drawn_fractions
from pipeline.corpus.near.arrays import Numbers, to_arrow
from pipeline.corpus.near.clusters import components
from pipeline.corpus.splits import SPLIT_SQL
from pipeline.records import document_id

_KEYS = {"either": ("source_hash", "target_hash"), "text": ("source_hash",), "target": ("target_hash",), "group": ()}

_PAIRS = """
SELECT verdicts.filename, verdicts.file_row_number, verdicts.cluster_id,
       list_contains($train::VARCHAR[], verdicts.source) AS is_train, {keys}
FROM read_parquet($files, filename = true, file_row_number = true, hive_partitioning = false) AS documents
JOIN verdicts USING (filename, file_row_number)
WHERE verdicts.reason IS NULL AND ({some}) AND NOT list_contains($held_out::VARCHAR[], verdicts.source)
ORDER BY verdicts.cluster_id, verdicts.filename, verdicts.file_row_number
"""

_SPLIT = """
UPDATE verdicts SET split = joined.split
FROM (
    SELECT filename, file_row_number, CASE WHEN is_train THEN 'train' ELSE {split} END AS split FROM components
) AS joined
WHERE joined.filename = verdicts.filename AND joined.file_row_number = verdicts.file_row_number
"""

_REPEATED = """
UPDATE verdicts
SET reason = 'pairs.max_target_repeats', by_rule = true, value = repeated.place, threshold = $most,
    detail = printf('the target of %d pairs before it in the training split, at most %d are kept', repeated.place - 1, $most)
FROM (
    SELECT verdicts.filename, verdicts.file_row_number,
           row_number() OVER (
               PARTITION BY documents.target_hash
               ORDER BY verdicts.id, verdicts.source, verdicts.path, verdicts."index"
           ) AS place
    FROM read_parquet($files, filename = true, file_row_number = true, hive_partitioning = false) AS documents
    JOIN verdicts USING (filename, file_row_number)
    WHERE verdicts.reason IS NULL AND verdicts.split = 'train' AND documents.target_hash IS NOT NULL
) AS repeated
WHERE repeated.place > $most
  AND repeated.filename = verdicts.filename AND repeated.file_row_number = verdicts.file_row_number
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCounts:
    """For the report."""

    num_pairs: int = 0
    """Kept, with a target or a group."""
    num_components: int = 0
    """Sets of pairs that stay in one split together."""
    largest_component: int = 0


def limit_repeats(connection: duckdb.DuckDBPyConnection, config: CorpusConfig, files: list[str]) -> None:
    """Rejects, of the training pairs with one target, those after the first few."""
    if config.pairs is not None and config.pairs.max_target_repeats is not None:
        connection.execute(_REPEATED, {"files": files, "most": config.pairs.max_target_repeats})


def join_sides(
    connection: duckdb.DuckDBPyConnection,
    config: CorpusConfig,
    sides: Mapping[str, Collection[str]],
    fixed: Mapping[str, str],
) -> PairCounts:
    """Gives each kept pair the split of its component; sources that are held out by their own setting take no part. `sides` are
    the files, each with those of its columns of pairs that have values."""
    keys = (*_KEYS[(config.pairs or PairsConfig()).joined_by], "group_id")
    statement = _PAIRS.format(
        keys=", ".join(f"documents.{key}" for key in keys),
        some=" OR ".join(f"documents.{key} IS NOT NULL" for key in keys),
    )
    train = [source for source, split in fixed.items() if split == "train"]
    held_out = [source for source, split in fixed.items() if split != "train"]
    files = [file for file, columns in sides.items() if not set(keys).isdisjoint(columns)]
    if not files:
        return PairCounts()
    parameters = {"files": files, "train": train, "held_out": held_out}
    rows: pa.Table = connection.sql(statement, params=parameters).to_arrow_table()
    if not rows.num_rows:
        return PairCounts()
    roots = _components(rows, ["cluster_id", *keys])
    is_train = np.zeros(rows.num_rows, dtype=bool)
    is_train[roots[rows["is_train"].to_numpy()]] = True
    table = {
        "filename": rows["filename"],
        "file_row_number": rows["file_row_number"],
        "cluster_id": _names(rows["cluster_id"], roots),
        "is_train": pa.array(is_train[roots]),
    }
    connection.register("components", pa.table(table))
    connection.execute(_SPLIT.format(split=SPLIT_SQL), drawn_fractions(config, fixed))
    connection.unregister("components")
    _, sizes = np.unique(roots, return_counts=True)
    return PairCounts(num_pairs=rows.num_rows, num_components=len(sizes), largest_component=int(sizes.max()))


def _names(cluster_ids: pa.ChunkedArray, roots: Numbers) -> pa.Array:
    """A hash of the smallest id of each row's component.

    Not that id itself: the smallest of many hashes is a small one, so large components would nearly all be held out.
    """
    found, places = np.unique(roots, return_inverse=True)  # rows are sorted, so the smallest row has the smallest id
    names = pa.array([document_id(id_) for id_ in cluster_ids.take(to_arrow(found)).to_pylist()], pa.string())
    return names.take(to_arrow(places.astype(np.int64)))


def _components(rows: pa.Table, keys: list[str]) -> Numbers:
    """For each row the smallest row that it is joined with, by any of the columns."""
    first, second = [], []
    for key in keys:
        codes = rows[key].combine_chunks().dictionary_encode().indices  # null where the row has none
        known = np.flatnonzero(codes.is_valid().to_numpy(zero_copy_only=False))
        values = codes.drop_null().to_numpy().astype(np.int64)
        _, starts, inverse = np.unique(values, return_index=True, return_inverse=True)
        first.append(known[starts[inverse]])
        second.append(known)
    return components(np.concatenate(first), np.concatenate(second), num_documents=rows.num_rows)
