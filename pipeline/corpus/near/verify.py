"""Candidate pairs -> true Jaccard of their shingle sets, cached by the two texts' hashes.

In: pairs of documents and where their texts lie. Out: intersection and union a pair. The texts of the documents in pairs
not verified before are read once, file by file, by workers; the sets lie in scratch files that are mapped, so memory is
bounded by two sets. Pairs whose sizes alone rule the similarity out are not intersected: J <= smaller / larger.

A verified pair is a fact about two texts: it is kept in a part of the cache of its own, and another run reads it.
Trade-off: the scratch files take 8 bytes a distinct shingle, about 1.3 times the text of the documents in pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.config import EngineConfig
from pipeline.corpus.near import CODE_VERSION
from pipeline.corpus.near.arrays import Numbers
from pipeline.corpus.near.parts import read_texts
from pipeline.corpus.near.shingles import count_common, shingle_hashes, sorted_set, split_by
from pipeline.engine import IN_THIS_PROCESS, map_parts
from pipeline.files import fingerprint
from pipeline.part_cache import CachedPart, PartWriter, load_part, write_part
from pipeline.progress import SilentProgress

PAIR_SCHEMA = pa.schema(
    [
        pa.field("hash_a", pa.string(), nullable=False),
        pa.field("hash_b", pa.string(), nullable=False),
        pa.field("num_common", pa.int64(), nullable=False),
        pa.field("num_union", pa.int64(), nullable=False),
        pa.field("num_bytes", pa.int64(), nullable=False),  # 0: a pair has no bytes of its own
    ]
)
_PAIRS_A_TASK = 4096
_SMALL_TEXTS, _SMALL_PAIRS = 20_000, 200_000
"""So few are done in this process: starting workers would take longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Documents of one file of clean documents, by ascending row."""

    clean: Path
    numbers: Sequence[int]
    rows: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _SetTask:
    place: Place
    scratch: Path
    num_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _PairTask:
    scratch: Path
    sets: npt.NDArray[np.int64]
    """[2, pairs, 3]: file, first shingle and size of each side's set."""
    similarity: float


def _write_sets(task: _SetTask) -> Numbers:
    """Writes the sorted shingle sets of a file's documents one after the other; returns their sizes."""
    sizes = []
    with task.scratch.open("wb") as file:
        for texts, _ in read_texts(task.place.clean, task.place.rows):
            shingles, counts = shingle_hashes(texts, num_tokens=task.num_tokens)
            for values in split_by(shingles, counts):
                distinct = sorted_set(values)
                file.write(distinct.tobytes())
                sizes.append(len(distinct))
    return np.array(sizes, np.int64)


def _compare(task: _PairTask) -> Numbers:
    """The intersections' sizes, -1 for a pair that its sizes alone rule out."""
    common = np.full(task.sets.shape[1], -1, np.int64)
    sizes = task.sets[:, :, 2]
    possible = sizes.min(axis=0) >= task.similarity * sizes.max(axis=0)
    maps: dict[int, npt.NDArray[np.uint64]] = {}

    def set_of(place: Numbers) -> npt.NDArray[np.uint64]:
        file, first, size = place.tolist()
        if file not in maps:
            maps[file] = np.memmap(task.scratch / f"{file}.u64", np.uint64, "r").view(np.ndarray)
        return maps[file][first : first + size]

    for index in np.flatnonzero(possible):
        common[index] = count_common(set_of(task.sets[0, index]), set_of(task.sets[1, index]))
    return common


def verify_pairs(
    first: Numbers,
    second: Numbers,
    places: Sequence[Place],
    *,
    scratch: Path,
    num_tokens: int,
    similarity: float,
    engine: EngineConfig,
) -> tuple[Numbers, Numbers]:
    """Intersection and union of each pair of documents; (-1, their larger set) where the sizes alone rule it out.

    `first` and `second` are document numbers, each named by one of `places`.
    """
    num_documents = sum(len(place.numbers) for place in places)
    set_tasks = [
        _SetTask(place=place, scratch=scratch / f"{index}.u64", num_tokens=num_tokens)
        for index, place in enumerate(places)
    ]
    written = map_parts(
        _write_sets,
        set_tasks,
        engine=IN_THIS_PROCESS if num_documents < _SMALL_TEXTS else engine,
        describe=lambda task: f"the shingles of {task.place.clean}",
        progress=SilentProgress(),
    )
    numbers = np.concatenate([np.asarray(place.numbers, np.int64) for place in places])
    where = np.stack(
        [
            np.repeat(np.arange(len(written)), [len(sizes) for sizes in written]),
            np.concatenate([np.cumsum(sizes) - sizes for sizes in written]),
            np.concatenate(written),
        ],
        axis=1,
    )
    order = np.argsort(numbers)
    sets = np.stack([where[order[np.searchsorted(numbers[order], side)]] for side in (first, second)])
    pair_tasks = [
        _PairTask(scratch=scratch, sets=sets[:, start : start + _PAIRS_A_TASK], similarity=similarity)
        for start in range(0, len(first), _PAIRS_A_TASK)
    ]
    compared = map_parts(
        _compare,
        pair_tasks,
        engine=IN_THIS_PROCESS if len(first) < _SMALL_PAIRS else engine,
        describe=lambda task: f"a comparison of {task.sets.shape[1]:,} pairs in {task.scratch}",
        progress=SilentProgress(),
    )
    common = np.concatenate(compared)
    sizes = sets[:, :, 2]
    return common, np.where(common < 0, sizes.max(axis=0), sizes.sum(axis=0) - common)


def pairs_prefix(*, num_tokens: int, similarity: float) -> str:
    """What the names of all parts of pairs with these settings begin with."""
    return f"pairs-{fingerprint(['pairs', CODE_VERSION, num_tokens, similarity])}-"


def known_pairs(parts_folder: Path, prefix: str) -> list[CachedPart]:
    """The parts of verified pairs that are whole."""
    folders = sorted(parts_folder.glob(f"{prefix}*"))
    return [part for folder in folders if (part := load_part(folder)) is not None]


def keep_pairs(parts_folder: Path, prefix: str, pairs: pa.Table, *, where: str) -> CachedPart:
    """Adds a part of pairs; `pairs` has the columns of PAIR_SCHEMA and is named by its content."""

    def fill(writer: PartWriter) -> dict[str, int]:
        writer.take(documents=pairs.num_rows, num_bytes=0)
        for batch in pairs.cast(PAIR_SCHEMA).to_batches(max_chunksize=65_536):
            writer.keep(batch)
        return {}

    key = prefix + fingerprint([pairs["hash_a"].to_pylist(), pairs["hash_b"].to_pylist()])
    return write_part(parts_folder, key, schema=PAIR_SCHEMA, bytes_column="num_bytes", where=where, fill=fill)
