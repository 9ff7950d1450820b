"""The corpus in many bins: the same documents in any order of arrival give the same bytes, and only what changed is written."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from corpus_building import build_from, clean_row, documents_of, rejects_of

from pipeline import files
from pipeline.artifacts import Artifact
from pipeline.corpus import bins, layout

SETTINGS: dict[str, Any] = {
    "deduplicate": {"near": {"similarity": 0.8}, "lines": {"max_documents": 8}},
    "splits": {"validation": 0.1, "test": 0.1},
}
VOCABULARY = [f"word{number}" for number in range(3000)]


def text_of(seed: int) -> str:
    return " ".join(random.Random(seed).choices(VOCABULARY, k=60))  # noqa: S311


def source_of(number: int) -> list[dict[str, Any]]:
    """Ten documents of its own, one that every source has, and one with a line that every source has."""
    own = [text_of(100 * number + index) for index in range(10)]
    texts = [
        *own,
        "the same in all sources, " * 3,
        f"{text_of(100 * number + 50)}\nAll rights reserved by nobody at all.",
    ]
    return [clean_row(text, index) for index, text in enumerate(texts)]


SOURCES = {f"source{number}": source_of(number) for number in range(12)}


@pytest.fixture(autouse=True)
def small_bins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "BIN_BYTES", 3000)


def grown(folder: Path, order: list[str], *, first: int) -> Artifact:
    """Built of some sources, then of one more, and so on, each time from what was cached."""
    for count in range(first, len(order)):
        build_from(folder, {name: rows for name, rows in SOURCES.items() if name in order[:count]}, **SETTINGS)
    return build_from(folder, SOURCES, **SETTINGS)


@pytest.mark.slow
def test_any_order_of_arrival_gives_the_bytes_of_a_run_from_scratch(tmp_path: Path) -> None:
    names = list(SOURCES)
    scratch = build_from(tmp_path / "scratch", SOURCES, **SETTINGS)
    assert len(layout.train_files(scratch)) > 4
    forth = grown(tmp_path / "forth", names, first=9)
    back = grown(tmp_path / "back", names[::-1], first=10)
    assert {forth.ref.content_hash, back.ref.content_hash} == {scratch.ref.content_hash}


@pytest.mark.slow
def test_workers_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = build_from(tmp_path / "one", SOURCES, **SETTINGS)
    monkeypatch.setattr(bins, "SMALL_WORK_BYTES", 0)
    two = build_from(tmp_path / "two", SOURCES, num_workers=2, **SETTINGS)
    assert one.ref.content_hash == two.ref.content_hash


@pytest.mark.slow
def test_many_bins_hold_what_one_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = build_from(tmp_path / "many", SOURCES, **SETTINGS)
    monkeypatch.setattr(layout, "BIN_BYTES", 10**9)
    one = build_from(tmp_path / "one", SOURCES, **SETTINGS)
    assert len(layout.train_files(one)) == 1

    def sorted_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(rows, key=lambda row: (row["id"], row["source"]))

    assert sorted_rows(documents_of(many)) == sorted_rows(documents_of(one))
    assert sorted_rows(rejects_of(many)) == sorted_rows(rejects_of(one))
    assert many.manifest.counts == one.manifest.counts
    assert many.report() == one.report()


def test_a_source_that_touches_no_other_document_leaves_the_bins_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    write = bins._build_bin
    monkeypatch.setattr(bins, "_build_bin", lambda task: written.append(task.bin) or write(task))
    build_from(tmp_path, SOURCES, **SETTINGS)
    before = len(written)
    new = [clean_row(text_of(9000 + index), index) for index in range(3)]  # less than doubles the corpus
    number = layout.num_bins(sum(row["num_bytes"] for rows in [*SOURCES.values(), new] for row in rows))
    build_from(tmp_path, SOURCES | {"new": new}, **SETTINGS)
    assert before > 4
    assert written[before:] == [layout.bin_of("new", Path("0.parquet"), num_bins=number)]


@pytest.mark.slow
def test_an_added_document_that_takes_over_a_cluster_is_seen_where_the_cluster_lies(tmp_path: Path) -> None:
    kept = clean_row(text_of(1), 0)
    sources = SOURCES | {"first": [kept | {"id": "8" * 32}]}
    build_from(tmp_path / "grown", sources, **SETTINGS)
    sources |= {"second": [kept | {"id": "7" * 32}]}
    after = build_from(tmp_path / "grown", sources, **SETTINGS)
    (reject,) = [row for row in rejects_of(after) if row["source"] == "first"]
    assert (reject["reason"], reject["cluster_id"]) == ("duplicate", "7" * 32)
    assert after.ref.content_hash == build_from(tmp_path / "scratch", sources, **SETTINGS).ref.content_hash


def test_bins_double_when_the_text_has_doubled_and_not_before() -> None:
    sizes = [layout.num_bins(size) for size in (0, 2999, 5999, 6000, 11_999, 12_000, 48_000)]
    assert sizes == [1, 1, 1, 2, 2, 4, 16]


def test_names_fall_into_bins_evenly() -> None:
    counts = [0] * 16
    for source, file in itertools.product(("a", "b"), range(800)):
        counts[layout.bin_of(source, Path(f"{file}.parquet"), num_bins=16)] += 1
    # 1600 draws of 1/16: binomial with standard deviation 9.7
    assert all(abs(count - 100) < 45 for count in counts)


def test_each_file_is_sorted_by_id(tmp_path: Path) -> None:
    artifact = build_from(tmp_path, SOURCES, **SETTINGS)
    for path in [*artifact.files("documents/*.parquet"), *layout.reject_files(artifact)]:
        ids = pq.read_table(path)["id"].to_pylist()
        assert ids == sorted(ids)


def test_documents_larger_than_a_workers_memory_are_sorted_without_their_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library of books in one file: 60 MB of text in one bin, by a database of 40 MB."""
    monkeypatch.setattr(files, "ROW_GROUP_BYTES", 4_000_000)  # to the limit as it is to a worker's own
    monkeypatch.setattr(bins, "WORKER_SETTINGS", {"memory_limit": "40MB", "threads": 1})
    books = [clean_row(f"Book {number}. " + text_of(number) * 2500, number) for number in range(60)]
    artifact = build_from(tmp_path, {"books": books}, splits={"validation": 0.2, "test": 0.2})
    kept = documents_of(artifact)
    assert {row["id"]: row["text"] for row in kept} == {row["id"]: row["text"] for row in books}
    (train,) = layout.train_files(artifact)
    ids = pq.read_table(train, columns=["id"])["id"].to_pylist()
    assert ids == sorted(ids)
    metadata = pq.read_metadata(train)
    assert metadata.num_row_groups > 1  # who reads it need not hold all of it
