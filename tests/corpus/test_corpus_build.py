"""Each document is kept once, or rejected with the reason; splits depend on the text alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from corpus_building import build_from, clean_row, documents_of

from pipeline.artifacts import ArtifactStore
from pipeline.config.data import SplitsConfig
from pipeline.corpus.database import database
from pipeline.corpus.layout import reject_files
from pipeline.corpus.splits import split_of
from pipeline.errors import StageError
from pipeline.records import CORPUS_SCHEMA, SPLITS, Ledger, document_id

TEXTS = [f"This is note number {number}, and it says something." for number in range(300)]
HALVES = {"splits": {"validation": 0.2, "test": 0.2}}


def test_documents_keep_every_column_and_are_sorted_by_id(tmp_path: Path) -> None:
    artifact = build_from(tmp_path, {"notes": [clean_row(text) for text in TEXTS]}, **HALVES)
    for path in artifact.files("documents/*.parquet"):
        table = pq.read_table(path)
        assert table.schema.equals(CORPUS_SCHEMA)
        assert table["id"].to_pylist() == sorted(table["id"].to_pylist())
    assert {row["text"] for row in documents_of(artifact)} == set(TEXTS)


def test_a_documents_split_is_the_position_of_its_id(tmp_path: Path) -> None:
    artifact = build_from(tmp_path, {"notes": [clean_row(text) for text in TEXTS]}, **HALVES)
    splits = SplitsConfig(**HALVES["splits"])
    for row in documents_of(artifact):
        assert row["split"] == split_of(row["id"], splits)
    # 300 draws at 0.2: the count is binomial with standard deviation 6.9
    assert all(
        abs(sum(row["split"] == split for row in documents_of(artifact)) - 60) < 28 for split in ("test", "validation")
    )
    assert split_of("3" + "0" * 31, splits) == "test"  # 3/16 = 0.1875
    assert split_of("4" + "0" * 31, splits) == "validation"  # 0.25
    assert split_of("7" + "0" * 31, splits) == "train"  # 0.4375


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({"num_characters": 0}, "basic.min_characters", "0 characters, at least 1"),
        ({"num_characters": 10_000_001}, "basic.max_characters", "10000001 characters, at most 10000000"),
        ({"letter_fraction": 0.25}, "basic.min_letter_fraction", "letter fraction 0.25, at least 0.3"),
        (
            {"duplicate_line_fraction": 0.75},
            "basic.max_duplicate_line_fraction",
            "duplicate line fraction 0.75, at most 0.7",
        ),
        ({"language": "de"}, "language", "language de, wanted en, zh"),
        ({"language_confidence": 0.25}, "language_confidence", "confidence 0.25, at least 0.5"),
    ],
)
def test_a_rule_rejects_with_value_and_threshold(
    tmp_path: Path, changes: dict[str, Any], reason: str, detail: str
) -> None:
    rows = [clean_row(text) for text in TEXTS] + [clean_row("the odd one", index=7, **changes)]
    quality = {"languages": ["en", "zh"], "min_language_confidence": 0.5}
    artifact = build_from(tmp_path, {"notes": rows}, quality=quality, **HALVES)
    (reject,) = pq.read_table(reject_files(artifact)).to_pylist()
    assert (reject["reason"], reject["detail"], reject["index"]) == (reason, detail, 7)
    assert reject["excerpt"] == "the odd one"
    assert len(documents_of(artifact)) == len(TEXTS)


def test_values_at_the_threshold_are_kept(tmp_path: Path) -> None:
    rows = [clean_row(text) for text in TEXTS] + [clean_row("edge", duplicate_line_fraction=0.5, letter_fraction=0.5)]
    overrides = {"basic.min_letter_fraction": 0.5, "basic.max_duplicate_line_fraction": 0.5}
    artifact = build_from(tmp_path, {"notes": rows}, quality={"overrides": overrides}, **HALVES)
    assert "edge" in {row["text"] for row in documents_of(artifact)}


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7, 0.9])  # single precision rounds some of them up, some down
def test_a_value_stored_in_single_precision_is_at_its_threshold(tmp_path: Path, threshold: float) -> None:
    rows = [clean_row(text, letter_fraction=1.0) for text in TEXTS]
    rows += [clean_row("edge", letter_fraction=threshold, duplicate_line_fraction=threshold)]
    overrides = {"basic.min_letter_fraction": threshold, "basic.max_duplicate_line_fraction": threshold}
    artifact = build_from(tmp_path, {"notes": rows}, quality={"overrides": overrides}, **HALVES)
    rejected = {row["excerpt"] for row in pq.read_table(reject_files(artifact)).to_pylist()}
    assert "edge" not in rejected


def test_a_document_a_rule_rejects_is_no_ones_duplicate(tmp_path: Path) -> None:
    rows = [clean_row(text) for text in TEXTS]
    rows += [clean_row(TEXTS[0], id="0" * 32, index=9, language="de"), clean_row(TEXTS[0], index=10)]
    artifact = build_from(tmp_path, {"notes": rows}, quality={"languages": ["en"]}, **HALVES)
    (row,) = [row for row in documents_of(artifact) if row["text"] == TEXTS[0]]
    assert (row["cluster_id"], row["cluster_size"]) == (document_id(TEXTS[0]), 2)
    reasons = pq.read_table(reject_files(artifact))["reason"].to_pylist()
    assert sorted(reasons) == ["duplicate", "language"]


def test_of_equal_texts_the_smallest_id_is_kept_with_the_clusters_size(tmp_path: Path) -> None:
    ids = {"notes": ["5" * 32, "b" * 32], "diary": ["4" * 32]}
    sources = {
        source: [clean_row("the same text", id=id_, source=source, index=number) for number, id_ in enumerate(found)]
        for source, found in ids.items()
    }
    sources["notes"] += [clean_row(text) for text in TEXTS]
    artifact = build_from(tmp_path, sources, **HALVES)
    (row,) = [row for row in documents_of(artifact) if row["text"] == "the same text"]
    assert (row["id"], row["source"], row["cluster_id"], row["cluster_size"]) == ("4" * 32, "diary", "4" * 32, 3)
    rejects = pq.read_table(reject_files(artifact)).to_pylist()
    assert [(reject["id"], reject["reason"]) for reject in rejects] == [
        ("5" * 32, "duplicate"),
        ("b" * 32, "duplicate"),
    ]
    assert rejects[0]["detail"] == f"the same text as {'4' * 32} (diary:a.txt:0), which is kept"


def test_the_ledger_counts_every_document_and_byte(tmp_path: Path) -> None:
    rows = [clean_row(text) for text in TEXTS] + [clean_row(TEXTS[0], index=9), clean_row("1234567890")]
    artifact = build_from(tmp_path, {"notes": rows}, **HALVES)
    ledger = Ledger.from_json(artifact.manifest.counts["ledger"])
    ledger.check("here")
    assert ledger.taken.documents == 302
    assert ledger.taken.num_bytes == sum(row["num_bytes"] for row in rows)
    assert {reason: count.documents for reason, count in ledger.rejected.items()} == {
        "duplicate": 1,
        "basic.min_letter_fraction": 1,
    }
    assert ledger.rejected["basic.min_letter_fraction"].num_bytes == 10
    splits = artifact.manifest.counts["splits"]
    assert sum(splits[split]["documents"] for split in SPLITS) == 300


def test_the_order_and_the_files_of_arrival_change_no_byte(tmp_path: Path) -> None:
    rows = [clean_row(text, index=number) for number, text in enumerate(TEXTS)]
    rows += [clean_row(TEXTS[3], index=900), clean_row(TEXTS[3], index=901)]
    first = build_from(tmp_path / "1", {"notes": rows}, **HALVES)
    second = build_from(tmp_path / "2", {"notes": rows[::-1]}, num_files=7, **HALVES)
    assert first.ref.content_hash == second.ref.content_hash


def test_a_source_added_later_moves_no_document_to_another_split(tmp_path: Path) -> None:
    notes = [clean_row(text) for text in TEXTS]
    diary = [clean_row(f"Dear diary, this is day {number}.", source="diary") for number in range(200)]
    before = {row["id"]: row["split"] for row in documents_of(build_from(tmp_path / "1", {"notes": notes}, **HALVES))}
    after = {
        row["id"]: row["split"]
        for row in documents_of(build_from(tmp_path / "2", {"notes": notes, "diary": diary}, **HALVES))
    }
    assert before.items() <= after.items()


def test_a_storage_folder_may_be_a_link_and_have_any_name(tmp_path: Path) -> None:
    (tmp_path / "it's real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "it's real")
    artifact = build_from(tmp_path / "link", {"notes": [clean_row(text) for text in TEXTS]}, **HALVES)
    assert len(documents_of(artifact)) == len(TEXTS)
    assert sorted(entry.path for entry in artifact.manifest.files if "scratch" in entry.path) == []


def test_the_database_reads_no_other_folder_and_cannot_be_opened_again(tmp_path: Path) -> None:
    words: dict[str, Any] = {"code_version": "1", "literals": {}, "inputs": {}}
    (tmp_path / "secret.csv").write_text("a\n1\n")
    store = ArtifactStore(tmp_path / "storage")
    with store.draft(stage="corpus", name="c", version="v", **words) as draft, database(draft, files=[]) as connection:
        for statement in (f"FROM read_csv('{tmp_path}/secret.csv')", "SET enable_external_access = true"):
            with pytest.raises(duckdb.Error):
                connection.execute(statement)


def test_too_little_memory_and_disk_is_one_sentence_and_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.corpus.database.MEMORY_LIMIT", "1MB")
    with pytest.raises(StageError, match="corpus/english needs more memory than 1MB"):
        build_from(tmp_path, {"notes": [clean_row(text * 50) for text in TEXTS]}, **HALVES)
    assert ArtifactStore(tmp_path).versions("corpus", "english") == []


def test_no_readable_document_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="corpora.english: its sources notes hold no readable document"):
        build_from(tmp_path, {"notes": []})


def test_nothing_left_names_the_reasons(tmp_path: Path) -> None:
    quality = {"overrides": {"basic.min_characters": 10_000}}
    with pytest.raises(StageError, match=r"none of 300 documents is left \(rejected: basic.min_characters 300\)"):
        build_from(tmp_path, {"notes": [clean_row(text) for text in TEXTS]}, quality=quality)


def test_an_empty_split_says_what_to_raise(tmp_path: Path) -> None:
    rows = [clean_row("one", id="f" * 32), clean_row("two", id="4" * 32)]  # train, and validation
    with pytest.raises(
        StageError, match=r"the test split is empty: 2 documents at splits.test 0.01. Raise splits.test, cut"
    ):
        build_from(tmp_path / "1", {"notes": rows}, splits={"validation": 0.49, "test": 0.01})
    with pytest.raises(
        StageError, match=r"the train split is empty: 1 documents\. Lower splits.validation and splits.test, cut"
    ):
        build_from(tmp_path / "2", {"notes": [clean_row("one", id="0" * 32)]}, **HALVES)
