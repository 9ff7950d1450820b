"""Near-deduplication of the corpus stage: clean documents -> the table `near`, a row a document of a cluster of several.

First `sketch_documents`, before the database is opened: band hashes by part, from the cache or by workers. Then
`find_near_duplicates`, within it: documents that share a band, their true Jaccard, clusters, and of each cluster the
smallest id as keeper. Both are functions of the set of documents, so order, workers and what was cached change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.artifacts import Draft
from pipeline.config import EngineConfig
from pipeline.config.data import NearConfig
from pipeline.corpus.near.arrays import Numbers, int64_of, to_arrow
from pipeline.corpus.near.candidates import BUCKETS, CANDIDATES, MAX_BUCKET_FOR_ALL_PAIRS
from pipeline.corpus.near.clusters import components
from pipeline.corpus.near.parts import SketchTask, build_sketches, sketch_key
from pipeline.corpus.near.sketch import choose_bands
from pipeline.corpus.near.verify import PAIR_SCHEMA, Place, keep_pairs, known_pairs, pairs_prefix, verify_pairs
from pipeline.part_cache import DOCUMENTS, CachedPart, build_parts
from pipeline.progress import Progress

SMALL_WORK_BYTES = 2_000_000
"""Of compressed documents: sketching these takes this process less time than starting workers."""

_TEXTS = """
CREATE TABLE texts AS
SELECT row_number() OVER (ORDER BY id, text_hash) - 1 AS number, filename, file_row_number, text_hash, id, keeper,
       cluster_size
FROM clustered WHERE rule IS NULL AND copy = 1
"""

_KNOWN = """
CREATE TABLE known AS
SELECT hash_a, hash_b, any_value(num_common) AS num_common, any_value(num_union) AS num_union
FROM {pairs} GROUP BY hash_a, hash_b
"""

_PAIRS = """
SELECT candidates.a, candidates.b, first.text_hash AS hash_a, second.text_hash AS hash_b,
       coalesce(known.num_common, -1) AS num_common, coalesce(known.num_union, 0) AS num_union
FROM candidates
JOIN texts AS first ON first.number = candidates.a
JOIN texts AS second ON second.number = candidates.b
LEFT JOIN known ON known.hash_a = first.text_hash AND known.hash_b = second.text_hash
ORDER BY candidates.a, candidates.b
"""

_PLACES = """
SELECT filename, number, file_row_number FROM texts
WHERE number IN (SELECT number FROM unverified) ORDER BY filename, file_row_number
"""

EMPTY_NEAR = """
CREATE TABLE near (
    text_hash VARCHAR, cluster_id VARCHAR, cluster_size BIGINT, keeper VARCHAR, is_keeper BOOLEAN, similar_to VARCHAR,
    similarity DOUBLE
)
"""

_NEAR = """
INSERT INTO near
WITH neighbours AS (
    SELECT a AS number, b AS other, similarity FROM edges UNION ALL SELECT b, a, similarity FROM edges
), nearest AS (
    SELECT number, other, similarity FROM neighbours
    QUALIFY row_number() OVER (PARTITION BY number ORDER BY similarity DESC, other) = 1
), sizes AS (
    SELECT roots.root, sum(texts.cluster_size)::BIGINT AS cluster_size
    FROM roots JOIN texts USING (number) GROUP BY roots.root
)
SELECT texts.text_hash, keepers.id, sizes.cluster_size, keepers.keeper, texts.number = roots.root, others.id,
       nearest.similarity
FROM roots
JOIN texts USING (number)
JOIN sizes USING (root)
JOIN nearest USING (number)
JOIN texts AS keepers ON keepers.number = roots.root
JOIN texts AS others ON others.number = nearest.other
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketches:
    """What near-deduplication reads beside the clean documents."""

    by_clean: Mapping[Path, Path]
    """File of clean documents -> its band hashes."""
    pairs: Sequence[Path]
    """Pairs verified by earlier runs."""
    parts_folder: Path

    @property
    def files(self) -> list[Path]:
        return [*self.by_clean.values(), *self.pairs]


@dataclass(frozen=True, slots=True, kw_only=True)
class NearCounts:
    """For the report: functions of the documents alone, whatever was cached."""

    num_candidate_pairs: int = 0
    num_near_pairs: int = 0


def sketch_documents(
    draft: Draft,
    *,
    config: NearConfig,
    clean: Mapping[Path, str],
    judged: Mapping[Path, CachedPart] | None = None,
    engine: EngineConfig,
    progress: Progress,
) -> Sketches:
    """The band hashes of every file of clean documents (path -> sha256); those cached are taken as they are.

    `judged` (judged.py) says which documents the rules keep, and the others get none; without it all get theirs.

    Raises:
        StageError: a part failed at every try.
        StorageError: the disk is full, read-only or forbidden.
    """
    parts_folder = draft.folder.parent / "parts"
    bands = choose_bands(config.similarity)
    kept = {path: part.files[DOCUMENTS].sha256 for path, part in (judged or {}).items()}
    keys = {
        path: sketch_key(sha, kept.get(path), num_tokens=config.shingle_tokens, bands=bands)
        for path, sha in clean.items()
    }
    tasks = {
        key: SketchTask(
            key=key,
            clean=path,
            num_bytes=path.stat().st_size,
            parts_folder=parts_folder,
            where=f"corpus/{draft.name}",
            num_tokens=config.shingle_tokens,
            bands=bands,
            judged=judged[path].table(DOCUMENTS) if judged else None,
        )
        for path, key in keys.items()
    }
    built = build_parts(
        list(tasks.values()),
        build_sketches,
        parts_folder=parts_folder,
        engine=engine,
        progress=progress,
        small_work_bytes=SMALL_WORK_BYTES,
    )
    if built.num_built < len(tasks):
        progress.note(f"sketches of {len(tasks) - built.num_built} of {len(tasks)} parts were there already")
    tables = {part.key: part.table(DOCUMENTS) for part in built.parts}
    prefix = pairs_prefix(num_tokens=config.shingle_tokens, similarity=config.similarity)
    pairs = [part.table(DOCUMENTS) for part in known_pairs(parts_folder, prefix)]
    return Sketches(by_clean={path: tables[key] for path, key in keys.items()}, pairs=pairs, parts_folder=parts_folder)


def find_near_duplicates(
    connection: duckdb.DuckDBPyConnection,
    draft: Draft,
    *,
    config: NearConfig,
    sketches: Sketches,
    engine: EngineConfig,
) -> NearCounts:
    """Fills `near` from `clustered`: rejected documents and second copies take no part."""
    connection.execute(_TEXTS)
    connection.execute("CREATE TABLE sketched (clean VARCHAR, sketches VARCHAR)")
    connection.executemany(
        "INSERT INTO sketched VALUES (?, ?)", [(str(clean), str(found)) for clean, found in sketches.by_clean.items()]
    )
    connection.execute(BUCKETS, {"sketches": sorted({str(path) for path in sketches.by_clean.values()})})
    connection.execute(CANDIDATES, {"small": MAX_BUCKET_FOR_ALL_PAIRS})
    connection.execute("DROP TABLE buckets")
    if sketches.pairs:
        files = [str(path) for path in sketches.pairs]
        connection.execute(_KNOWN.format(pairs="read_parquet($pairs, hive_partitioning = false)"), {"pairs": files})
    else:
        connection.register("no_pairs", PAIR_SCHEMA.empty_table())
        connection.execute(_KNOWN.format(pairs="no_pairs"))
    pairs: pa.Table = connection.sql(_PAIRS).to_arrow_table()
    if not pairs.num_rows:
        return NearCounts()
    first, second, common, union = (int64_of(pairs, column) for column in ("a", "b", "num_common", "num_union"))
    unverified = union == 0
    if unverified.any():
        common[unverified], union[unverified] = verify_pairs(
            first[unverified],
            second[unverified],
            _places(connection, first[unverified], second[unverified]),
            scratch=draft.path("scratch/sets/x").parent,
            num_tokens=config.shingle_tokens,
            similarity=config.similarity,
            engine=engine,
        )
        hashes = pairs.select(["hash_a", "hash_b"]).take(to_arrow(np.flatnonzero(unverified)))
        fresh = {
            "hash_a": hashes["hash_a"],
            "hash_b": hashes["hash_b"],
            "num_common": to_arrow(common[unverified]),
            "num_union": to_arrow(union[unverified]),
            "num_bytes": to_arrow(np.zeros(hashes.num_rows, np.int64)),
        }
        keep_pairs(
            sketches.parts_folder,
            pairs_prefix(num_tokens=config.shingle_tokens, similarity=config.similarity),
            pa.table(fresh),
            where=f"corpus/{draft.name}",
        )
    similarity = common / union
    is_near = similarity >= config.similarity
    first, second = first[is_near], second[is_near]
    (num_texts,) = connection.execute("SELECT count(*) FROM texts").fetchall()[0]
    roots = components(first, second, num_documents=num_texts)
    members = np.unique(np.concatenate([first, second]))
    connection.register(
        "edges", pa.table({"a": to_arrow(first), "b": to_arrow(second), "similarity": to_arrow(similarity[is_near])})
    )
    connection.register("roots", pa.table({"number": to_arrow(members), "root": to_arrow(roots[members])}))
    connection.execute(_NEAR)
    return NearCounts(num_candidate_pairs=pairs.num_rows, num_near_pairs=len(first))


def _places(connection: duckdb.DuckDBPyConnection, first: Numbers, second: Numbers) -> list[Place]:
    """Where the documents of these pairs lie."""
    connection.register("unverified", pa.table({"number": to_arrow(np.unique(np.concatenate([first, second])))}))
    rows = connection.execute(_PLACES).fetchall()
    found = []
    for filename, of_file in groupby(rows, key=lambda row: row[0]):
        _, numbers, positions = zip(*of_file, strict=True)
        found.append(Place(clean=Path(filename), numbers=numbers, rows=positions))
    return found
