"""Statistics equal what is counted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.artifacts import Artifact, ArtifactStore, Report
from pipeline.files import write_parquet
from pipeline.progress import SilentProgress
from pipeline.records import CORPUS_SCHEMA, REJECT_SCHEMA, document_id
from pipeline.stats.build import build_corpus_stats
from pipeline.stats.queries import WORD

WORDS: dict[str, Any] = {"code_version": "1", "literals": {}, "inputs": {}}


def row(text: str, source: str, split: str, language: str, cluster_size: int = 1) -> dict[str, Any]:
    return {
        "id": document_id(text),
        "source": source,
        "path": "it's.txt",
        "index": 0,
        "title": None,
        "text": text,
        "num_bytes": len(text.encode()),
        "raw_bytes": len(text.encode()),
        "text_hash": document_id(text),
        "language": language,
        "language_confidence": 1.0,
        "num_characters": len(text),
        "num_words": len(text.split()),
        "num_lines": 1,
        "letter_fraction": 1.0,
        "duplicate_line_fraction": 0.0,
        "repaired": False,
        "cluster_id": document_id(text),
        "cluster_size": cluster_size,
        "split": split,
        "repeats": 1,
    }


def reject(stage: str, reason: str, num_bytes: int) -> dict[str, Any]:
    named = {"stage": stage, "source": "notes", "path": "x", "index": 0, "id": None, "reason": reason, "detail": "d"}
    return {**named, "num_bytes": num_bytes, "excerpt": None}


def statistics(folder: Path, rows: list[dict[str, Any]], rejects: list[dict[str, Any]]) -> Artifact:
    store = ArtifactStore(folder)
    with store.draft(stage="corpus", name="c", version="v", **WORDS) as draft:
        write_parquet(draft.path("documents/train.parquet"), pa.Table.from_pylist(rows, CORPUS_SCHEMA))
        write_parquet(draft.path("rejects.parquet"), pa.Table.from_pylist(rejects, REJECT_SCHEMA))
        corpus = draft.commit(counts={}, report=Report())
    with store.draft(stage="corpus_stats", name="c", version="v", **WORDS) as draft:
        return build_corpus_stats(draft, corpus=corpus, raw={}, clean={}, progress=SilentProgress())


@pytest.fixture(scope="module")
def stats(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    store = ArtifactStore(tmp_path_factory.mktemp("it's here"))
    rows = [
        row("The cat’s hat. The cat!", "notes", "train", "en", cluster_size=3),
        row("the dog's 12 bones", "notes", "test", "en"),
        row("月落烏啼 the", "poems", "train", "zh"),
    ]
    with store.draft(stage="corpus", name="c", version="v", **WORDS) as draft:
        for split in ("train", "test"):
            kept = [entry for entry in rows if entry["split"] == split]
            write_parquet(draft.path(f"documents/{split}.parquet"), pa.Table.from_pylist(kept, CORPUS_SCHEMA))
        rejects = pa.Table.from_pylist(
            [reject("corpus", "duplicate", 5), reject("corpus", "duplicate", 7)], REJECT_SCHEMA
        )
        write_parquet(draft.path("rejects.parquet"), rejects)
        corpus = draft.commit(counts={}, report=Report())
    with store.draft(stage="raw_documents", name="notes", version="v", **WORDS) as draft:
        write_parquet(
            draft.path("rejects/k.parquet"), pa.Table.from_pylist([reject("raw_documents", "empty", 0)], REJECT_SCHEMA)
        )
        raw = draft.commit(counts={}, report=Report())
    with store.draft(stage="corpus_stats", name="c", version="v", **WORDS) as draft:
        return build_corpus_stats(draft, corpus=corpus, raw={"notes": raw}, clean={}, progress=SilentProgress())


def table(stats: Artifact, name: str) -> list[dict[str, Any]]:
    return pq.read_table(stats.file(f"tables/{name}.parquet")).to_pylist()


def test_words_are_counted_over_scripts(stats: Artifact) -> None:
    counts = {entry["word"]: entry["count"] for entry in table(stats, "words")}
    assert counts == {
        "the": 4,
        "cat’s": 1,
        "hat": 1,
        "cat": 1,
        "dog's": 1,
        "12": 1,
        "bones": 1,
        **dict.fromkeys("月落烏啼", 1),
    }
    assert table(stats, "words")[0] == {"rank": 1, "word": "the", "count": 4, "fraction": pytest.approx(4 / 14)}
    assert stats.manifest.counts["num_distinct_words"] == 11
    assert stats.manifest.counts["num_corpus_words"] == 14


def test_the_word_pattern_means_what_it_says() -> None:
    found = duckdb.execute("SELECT regexp_extract_all('Übung’s naïve-x 漢字kana 3.5', ?)", [WORD]).fetchall()[0][0]
    assert found == ["Übung’s", "naïve", "x", "漢", "字", "kana", "3", "5"]
    found = duckdb.execute("SELECT regexp_extract_all('हिन्दी a漢 n̈ «quoted»', ?)", [WORD]).fetchall()[0][0]
    assert found == ["हिन्दी", "a", "漢", "n̈", "quoted"]  # vowel signs and accents belong to their letters


def test_documents_bytes_and_characters_by_split_and_source(stats: Artifact) -> None:
    by_split = {entry["split"]: entry for entry in table(stats, "by_split")}
    assert (by_split["train"]["documents"], by_split["train"]["characters"]) == (2, 23 + 8)
    assert by_split["train"]["bytes"] == 25 + 16
    assert [(entry["source"], entry["split"]) for entry in table(stats, "by_source")] == [
        ("notes", "test"),
        ("notes", "train"),
        ("poems", "train"),
    ]


def test_words_are_counted_by_split_and_source(stats: Artifact) -> None:
    assert {entry["split"]: entry["words"] for entry in table(stats, "by_split")} == {"test": 4, "train": 10}
    by_source = {(entry["source"], entry["split"]): entry["words"] for entry in table(stats, "by_source")}
    assert by_source == {("notes", "test"): 4, ("notes", "train"): 5, ("poems", "train"): 5}
    first = {entry["source"]: entry["word"] for entry in table(stats, "words_by_source") if entry["rank"] == 1}
    assert first == {"notes": "the", "poems": "the"}  # of equal counts the smaller code point: "the" before Han
    fractions = [entry["fraction"] for entry in table(stats, "words_by_source") if entry["source"] == "poems"]
    assert fractions == pytest.approx([0.2] * 5)


def test_a_split_without_a_word_counts_none(tmp_path: Path) -> None:
    empty = statistics(tmp_path, [row("!?", "notes", "train", "und")], [])
    (split,) = table(empty, "by_split")
    assert (split["documents"], split["words"]) == (1, 0)
    assert table(empty, "words") == []
    assert empty.manifest.counts["num_corpus_words"] == 0


def test_the_same_corpus_gives_the_same_bytes(tmp_path: Path) -> None:
    rows = [row(f"note {number} of the cat", "notes", "train", "en") for number in range(500)]
    rejects = [reject("corpus", f"reason_{number % 7}", number) for number in range(50)]
    first, second = (statistics(tmp_path / name, rows, rejects) for name in ("1", "2"))
    assert first.ref.content_hash == second.ref.content_hash


def test_language_shares_are_of_bytes(stats: Artifact) -> None:
    shares = {entry["language"]: entry["byte_fraction"] for entry in table(stats, "languages")}
    assert shares == {"en": pytest.approx(43 / 59), "zh": pytest.approx(16 / 59)}


def test_rejects_are_counted_through_every_stage(stats: Artifact) -> None:
    assert [
        (entry["stage"], entry["reason"], entry["documents"], entry["bytes"]) for entry in table(stats, "rejects")
    ] == [
        ("corpus", "duplicate", 2, 12),
        ("raw_documents", "empty", 1, 0),
    ]


def test_duplicate_clusters_are_counted_by_size(stats: Artifact) -> None:
    assert [(entry["cluster_size"], entry["clusters"]) for entry in table(stats, "duplicates")] == [(1, 2), (3, 1)]


def test_every_plot_of_the_report_is_a_picture(stats: Artifact) -> None:
    for file in stats.report().plots.values():
        assert stats.file(file).read_bytes().startswith(b"\x89PNG")
