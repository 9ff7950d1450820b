"""Splits that a source fixes, such as a published test set: they stay whole, and what equals them elsewhere is leakage.

In: the table `verdicts` after deduplication, and the split of each source that has one. Out: the same table, where

- a document of a fixed source that breaks no rule has that split, as often as it stands there once; that the training split
  has its near-duplicate does not take it out, or published figures could not be compared;
- a document of a lower split (test before validation before train) that is in the duplicate cluster of a held-out one, or that
  shares its text, its target or its group with one, is rejected with the reason `leakage`; so are its own duplicates.

A split that a source fixes is drawn from no other source: then the fraction in `splits` is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from pipeline.config import CorpusConfig
from pipeline.config.pairs import PairsConfig

LEAKAGE = "leakage"

_RANKS = {"test": 2, "validation": 1, "train": 0}
_SHARED = {
    "either": ("text", "target"),
    "text": ("text",),
    "target": ("target",),
    "group": (),
}
_COLUMNS = {"text": "source_hash", "target": "target_hash", "group": "group_id"}

_FIXED = """
CREATE TABLE fixed AS
SELECT verdicts.filename, verdicts.file_row_number, verdicts.id, verdicts.cluster_id, fixes.split, fixes.rank,
       verdicts.source || ':' || verdicts.path || ':' || verdicts."index" AS place,
       row_number() OVER (
           PARTITION BY documents.text_hash
           ORDER BY fixes.rank DESC, verdicts.id, verdicts.source, verdicts.path, verdicts."index"
       ) AS copy,
       {hashes}
FROM read_parquet($files, filename = true, file_row_number = true, hive_partitioning = false) AS documents
JOIN verdicts USING (filename, file_row_number)
JOIN fixes ON fixes.source = verdicts.source
WHERE NOT verdicts.by_rule AND fixes.rank > 0
"""

_KEEP = """
UPDATE verdicts
SET reason = NULL, detail = NULL, value = NULL, threshold = NULL, split = fixed.split, cluster_id = fixed.id, cluster_size = 1
FROM fixed
WHERE fixed.copy = 1 AND fixed.filename = verdicts.filename AND fixed.file_row_number = verdicts.file_row_number
"""

_DROP_COPIES = """
UPDATE verdicts
SET reason = 'duplicate', detail = 'the same text as a document of a split that a source fixes', value = NULL, threshold = NULL
FROM fixed
WHERE fixed.copy > 1 AND fixed.filename = verdicts.filename AND fixed.file_row_number = verdicts.file_row_number
"""

_TRAIN = """
UPDATE verdicts SET split = 'train' FROM fixes WHERE fixes.source = verdicts.source AND fixes.rank = 0
"""

_LEAKS = """
UPDATE verdicts
SET reason = 'leakage', by_rule = true, value = NULL, threshold = NULL, detail = leaks.detail
FROM (
    WITH held AS (
        SELECT kind, key, rank, min(id || ' (' || place || '), of the ' || split || ' split that its source fixes') AS held_by
        FROM ({held}) GROUP BY kind, key, rank
    ), others AS (
        {others}
    )
    SELECT filename, file_row_number, min('shares its ' || kind || ' with ' || held_by) AS detail
    FROM others JOIN held USING (kind, key) WHERE held.rank > others.rank GROUP BY filename, file_row_number
) AS leaks
WHERE leaks.filename = verdicts.filename AND leaks.file_row_number = verdicts.file_row_number
"""

_OTHERS = """
SELECT verdicts.filename, verdicts.file_row_number, coalesce(fixes.rank, 0) AS rank, '{kind}' AS kind, {key} AS key
FROM read_parquet($files, filename = true, file_row_number = true, hive_partitioning = false) AS documents
JOIN verdicts USING (filename, file_row_number)
LEFT JOIN fixes ON fixes.source = verdicts.source
LEFT JOIN fixed ON fixed.filename = verdicts.filename AND fixed.file_row_number = verdicts.file_row_number
WHERE NOT verdicts.by_rule AND {key} IS NOT NULL
"""


def fix_splits(
    connection: duckdb.DuckDBPyConnection, config: CorpusConfig, files: list[str], fixed: Mapping[str, str]
) -> None:
    """Applies the splits that sources fix (source -> split) to `verdicts`, and rejects what would leak."""
    if not fixed:
        return
    connection.execute("CREATE TABLE fixes (source VARCHAR, split VARCHAR, rank INTEGER)")
    connection.executemany(
        "INSERT INTO fixes VALUES (?, ?, ?)", [(source, split, _RANKS[split]) for source, split in fixed.items()]
    )
    kinds = [*_SHARED[(config.pairs or PairsConfig()).joined_by], "group"]
    hashes = ", ".join(f"documents.{_COLUMNS[kind]}" for kind in kinds)
    connection.execute(_FIXED.format(hashes=hashes), {"files": files})
    connection.execute(_KEEP)
    connection.execute(_DROP_COPIES)
    connection.execute(_TRAIN)
    held = [
        f"SELECT '{kind}' AS kind, {key} AS key, rank, id, place, split FROM fixed WHERE {key} IS NOT NULL"  # noqa: S608
        for kind, key in [("duplicate cluster", "cluster_id"), *((kind, _COLUMNS[kind]) for kind in kinds)]
    ]
    cluster = "coalesce(fixed.cluster_id, verdicts.cluster_id)"  # of a fixed document the one that it was in before
    others = [
        _OTHERS.format(kind=kind, key=key)
        for kind, key in [("duplicate cluster", cluster), *((kind, f"documents.{_COLUMNS[kind]}") for kind in kinds)]
    ]
    connection.execute(
        _LEAKS.format(held=" UNION ALL ".join(held), others=" UNION ALL ".join(others)), {"files": files}
    )


def drawn_fractions(config: CorpusConfig, fixed: Mapping[str, str]) -> dict[str, float]:
    """What is held out by hash: the fractions of the file, and nothing of a split that a source fixes."""
    splits = {"test": config.splits.test, "validation": config.splits.validation}
    return {split: 0.0 if split in fixed.values() else fraction for split, fraction in splits.items()}
