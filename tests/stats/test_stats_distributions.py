"""Vocabulary growth, overlap, signals, mixture and samples equal what is counted by hand."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.artifacts import Artifact, ArtifactStore, Report
from pipeline.files import write_parquet
from pipeline.progress import SilentProgress
from pipeline.records import CORPUS_SCHEMA, RAW_SCHEMA, REJECT_SCHEMA, document_id
from pipeline.stats.build import build_corpus_stats
from pipeline.stats.heaps import fit_heaps
from pipeline.stats.overlap import measure_overlap
from pipeline.stats.plots import plot_signals
from pipeline.stats.signals import QUANTILES, SIGNALS, describe

WORDS: dict[str, Any] = {"code_version": "1", "literals": {}, "inputs": {}}


@pytest.fixture(autouse=True)
def quick_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendering takes most of a build's time, so only the test that looks at the pictures has them rendered."""
    if "pictures" in request.node.name:
        return

    def write_nothing(figure: object, path: Path, *, is_tight: bool = True) -> None:
        path.write_bytes(b"not rendered")

    monkeypatch.setattr("pipeline.stats.plots.save", write_nothing)
    monkeypatch.setattr("pipeline.stats.figures.save", write_nothing)


def row(text: str, source: str = "notes", **changes: Any) -> dict[str, Any]:
    identity = document_id(text)
    whole = {
        "id": identity,
        "source": source,
        "path": "x.txt",
        "index": 0,
        "text": text,
        "num_bytes": len(text.encode()),
        "raw_bytes": len(text.encode()),
        "text_hash": identity,
        "language": "en",
        "language_confidence": 1.0,
        "num_characters": len(text),
        "num_words": len(text.split()),
        "num_lines": 1,
        "letter_fraction": 0.8,
        "duplicate_line_fraction": 0.0,
        "repaired": False,
        "cluster_id": identity,
        "cluster_size": 1,
        "split": "train",
        "repeats": 1,
    }
    return whole | changes


def statistics(
    folder: Path,
    rows: list[dict[str, Any]],
    *,
    rejects: list[dict[str, Any]] | None = None,
    raw_rows: list[dict[str, Any]] | None = None,
    mixture: dict[str, Any] | None = None,
) -> Artifact:
    store = ArtifactStore(folder)
    with store.draft(stage="corpus", name="c", version="v", **WORDS) as draft:
        write_parquet(draft.path("documents/train.parquet"), pa.Table.from_pylist(rows, CORPUS_SCHEMA))
        write_parquet(draft.path("rejects.parquet"), pa.Table.from_pylist(rejects or [], REJECT_SCHEMA))
        corpus = draft.commit(counts={"mixture": mixture} if mixture else {}, report=Report())
    with store.draft(stage="raw_documents", name="notes", version="v", **WORDS) as draft:
        write_parquet(draft.path("documents/a.parquet"), pa.Table.from_pylist(raw_rows or [], RAW_SCHEMA))
        raw = draft.commit(counts={}, report=Report())
    with store.draft(stage="corpus_stats", name="c", version="v", **WORDS) as draft:
        return build_corpus_stats(draft, corpus=corpus, raw={"notes": raw}, clean={}, progress=SilentProgress())


def table(stats: Artifact, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(stats.file(f"tables/{name}.parquet")).to_pylist()
    return rows


def with_block(block: int, text: str) -> dict[str, Any]:
    """A document whose id lies in a block: digits 20 and 21 of 32."""
    return row(text, id=f"{'a' * 19}{block:02x}{document_id(text)[:11]}")


def test_heaps_law_comes_back_from_its_own_points() -> None:
    words = [10, 100, 1_000, 10_000]
    fitted = fit_heaps(words, [round(7 * n**0.5) for n in words])
    assert fitted is not None
    assert (fitted.k, fitted.beta) == pytest.approx((7, 0.5), rel=0.01)
    exact = fit_heaps([100, 10_000], [50, 500])  # ten times the words for a hundred times the text
    assert exact is not None
    assert (exact.k, exact.beta) == (pytest.approx(5), pytest.approx(0.5))
    assert fit_heaps([5], [4]) is None
    assert fit_heaps([], []) is None


def test_the_vocabulary_is_counted_block_by_block(tmp_path: Path) -> None:
    rows = [with_block(0, "a b c"), with_block(0, "a b"), with_block(7, "a a d"), with_block(255, "b c")]
    stats = statistics(tmp_path, rows)
    assert table(stats, "vocabulary_growth") == [
        {"block": 0, "words": 5, "distinct_words": 3},
        {"block": 7, "words": 8, "distinct_words": 4},
        {"block": 255, "words": 10, "distinct_words": 4},
    ]
    assert stats.manifest.counts["num_corpus_words"] == 10
    fitted = fit_heaps([5, 8, 10], [3, 4, 4])
    assert fitted is not None
    assert stats.manifest.counts["heaps_beta"] == pytest.approx(fitted.beta)


def test_random_words_of_a_closed_vocabulary_stop_growing(tmp_path: Path) -> None:
    draw = random.Random(1)  # noqa: S311
    texts = [" ".join(draw.choices([f"w{chr(97 + n)}" for n in range(20)], k=40)) for _ in range(300)]
    stats = statistics(tmp_path, [row(text) for text in texts])
    assert 0 <= stats.manifest.counts["heaps_beta"] < 0.05
    assert table(stats, "vocabulary_growth")[-1]["distinct_words"] == 20


def test_overlap_of_many_sources_takes_no_comparison_of_every_two(tmp_path: Path) -> None:
    draw = random.Random(0)  # noqa: S311
    texts = [[" ".join(str(draw.randrange(50)) for _ in range(40)) for _ in range(3)] for _ in range(500)]
    owned = [
        [*own, texts[number - 1][0], texts[0][1]] for number, own in enumerate(texts)
    ]  # a neighbour's, and one of all
    rows = [(f"s{number:03}", text) for number, own in enumerate(owned) for text in own]
    pq.write_table(pa.table({"source": [s for s, _ in rows], "text": [t for _, t in rows]}), tmp_path / "x.parquet")
    started = time.monotonic()
    found = measure_overlap([tmp_path / "x.parquet"]).table
    assert time.monotonic() - started < 4  # two by two: six seconds
    ngrams = [{tuple(t.split()[i : i + 13]) for t in own for i in range(28)} for own in owned]
    assert found.num_rows == 500 * 499
    for row in found.slice(0, 3000).to_pylist():
        one, other = ngrams[int(row["source"][1:])], ngrams[int(row["other"][1:])]
        assert (row["ngrams"], row["shared"]) == (len(one), len(one & other))


def test_overlap_is_the_share_of_ngrams(tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(100)]
    left = " ".join(words[:33])  # 21 n-grams of 13 words
    right = [" ".join(words[10:33]), " ".join(f"x{number}" for number in range(43))]  # 11 of them, and 31 others
    stats = statistics(tmp_path, [row(left, "left"), *(row(text, "right") for text in right), row("short", "brief")])
    found = {(entry["source"], entry["other"]): entry for entry in table(stats, "overlap")}
    assert found["left", "right"]["shared_fraction"] == pytest.approx(11 / 21)
    assert found["right", "left"]["shared_fraction"] == pytest.approx(11 / 42)
    assert found["left", "brief"]["shared"] == 0
    assert {entry["one_ngram_in"] for entry in found.values()} == {1}
    assert ("brief", "left") not in found  # it has no n-gram
    assert stats.report().notes == []


def test_a_sample_of_ngrams_estimates_the_share_and_says_so(tmp_path: Path) -> None:
    draw = random.Random(3)  # noqa: S311
    shared, left, right = (
        [" ".join(f"w{draw.randrange(10**6)}" for _ in range(200)) for _ in range(count)] for count in (60, 140, 340)
    )
    rows = [row(text, "left", id=f"l{n}") for n, text in enumerate(shared + left)]
    rows += [row(text, "right", id=f"r{n}") for n, text in enumerate(shared + right)]
    file = tmp_path / "documents.parquet"
    pq.write_table(pa.Table.from_pylist(rows, CORPUS_SCHEMA), file)
    sampled = measure_overlap([file], max_ngrams=10_000)
    found = {entry["source"]: entry for entry in sampled.table.to_pylist()}
    assert found["left"]["one_ngram_in"] == 16  # 600 documents of 188 n-grams are 112,800: more than 8 times 10,000
    assert found["left"]["shared_fraction"] == pytest.approx(60 / 200, abs=0.03)
    assert found["right"]["shared_fraction"] == pytest.approx(60 / 400, abs=0.03)
    assert "one 13-gram in 16" in sampled.notes[0]
    exact = {entry["source"]: entry["shared_fraction"] for entry in measure_overlap([file]).table.to_pylist()}
    assert exact == {"left": pytest.approx(0.3), "right": pytest.approx(0.15)}


def test_signals_are_described_by_source_and_binned(tmp_path: Path) -> None:
    rows = [row(f"text {n}", "a", letter_fraction=n / 100, mean_word_length=None) for n in range(101)]
    rows += [row(f"other {n}", "b", letter_fraction=0.5, mean_word_length=4.0) for n in range(3)]
    stats = statistics(tmp_path, rows)
    found = {(entry["signal"], entry["source"]): entry for entry in table(stats, "signals")}
    letters = found["letter_fraction", "a"]
    assert (letters["documents"], letters["minimum"], letters["maximum"]) == (101, 0, 1)
    assert letters["median"] == pytest.approx(0.5)
    assert letters["fifth_percentile"] == pytest.approx(0.05)
    assert letters["third_quartile"] == pytest.approx(0.75)
    assert ("mean_word_length", "a") not in found
    assert found["mean_word_length", "b"]["documents"] == 3
    bins = [entry for entry in table(stats, "signal_bins") if entry["signal"] == "letter_fraction"]
    assert sum(entry["documents"] for entry in bins) == 104
    assert [entry["bin"] for entry in bins] == list(range(24))
    assert bins[0]["from_value"] == 0
    # what lies above the 99th percentile is in the last bin, and nothing is lost
    assert bins[-1]["to_value"] == pytest.approx(0.99, abs=0.011)


def test_the_few_documents_of_a_signal_that_most_lack_have_bins_of_their_own(tmp_path: Path) -> None:
    rows = [row(f"text {n}", duplicate_line_fraction=n / 2 if n < 2 else 0.0) for n in range(200)]
    bins = table(statistics(tmp_path, rows), "signal_bins")
    assert [
        (entry["from_value"], entry["to_value"], entry["documents"])
        for entry in bins
        if entry["signal"] == "duplicate_line_fraction"
    ] == [(0.0, pytest.approx(0.5 / 24), 199), (pytest.approx(0.5 * 23 / 24), pytest.approx(0.5), 1)]


def test_the_quantiles_of_many_documents_fit_the_memory_limit(tmp_path: Path) -> None:
    """A 25th of the limit and of the half million documents where quantiles of all signals at once ran out of it."""
    columns = ", ".join(f"CASE WHEN range % 2 = 0 THEN range END AS {name}" for name in SIGNALS)
    settings = {"memory_limit": "40MB", "temp_directory": str(tmp_path), "threads": 1}
    with duckdb.connect(":memory:", config=settings) as connection:
        connection.execute(f"CREATE VIEW documents AS SELECT 'a' AS source, {columns} FROM range(60001)")  # noqa: S608
        quantiles = describe(connection, QUANTILES).to_pylist()
    assert [entry["signal"] for entry in quantiles] == sorted(SIGNALS)
    assert {entry["documents"] for entry in quantiles} == {30_001}
    assert {entry["fifth_percentile"] for entry in quantiles} == {3000}
    assert {entry["median"] for entry in quantiles} == {30_000}
    assert {entry["ninety_fifth_percentile"] for entry in quantiles} == {57_000}


def test_the_mixture_is_a_table_of_what_was_asked_and_obtained(tmp_path: Path) -> None:
    source = {
        "source": "notes",
        "epochs_asked": 2.0,
        "fraction_asked": 1.0,
        "documents": 1,
        "bytes": 3,
        "documents_read": 1,
        "bytes_read": 6,
        "epochs_obtained": 2.0,
        "fraction_obtained": 1.0,
    }
    stats = statistics(tmp_path, [row("abc")], mixture={"sources": [source], "buckets": [], "notes": []})
    assert table(stats, "mixture") == [source]
    assert stats.report().tables["Mixture"][0]["bytes_read"] == 6


def test_text_is_shown_before_and_after_where_it_changed(tmp_path: Path) -> None:
    pairs = {"It\u200bs new": "Its new", "same": "same", "mail a@b.de ": "mail <email>"}
    rows, raw_rows = [], []
    for number, (before, after) in enumerate(pairs.items()):
        place = {"id": document_id(before), "source": "notes", "path": "x.txt", "index": number}
        raw_rows.append({**place, "title": None, "text": before, "num_bytes": len(before.encode()), "target": None})
        redactions = [("email", 1)] if "mail" in before else None
        rows.append(row(after, **place, raw_bytes=len(before.encode()), redactions=redactions))
    stats = statistics(tmp_path, rows, raw_rows=raw_rows)
    (shown,) = table(stats, "before_after")
    assert (shown["before"], shown["after"]) == ("It\\u200bs new", "Its new")
    (sample,) = stats.report().samples.values()
    assert "a@b.de" not in "".join(stats.report().samples.values())
    assert sample == "It\\u200bs new\n->\nIts new"


def test_each_reason_has_one_reject_to_look_at(tmp_path: Path) -> None:
    def reject(stage: str, reason: str, id_: str) -> dict[str, Any]:
        return {
            "stage": stage,
            "source": "notes",
            "path": "x",
            "index": 0,
            "id": id_,
            "reason": reason,
            "detail": "d",
            "value": 1.5,
            "threshold": 2.0,
            "num_bytes": 4,
            "excerpt": f"excerpt of {id_}",
        }

    rejects = [
        reject("corpus", "duplicate", "2"),
        reject("corpus", "duplicate", "1"),
        reject("corpus", "contaminated", "3"),
        reject("raw_documents", "empty", "4"),
    ]
    shown = table(statistics(tmp_path, [row("x")], rejects=rejects), "reject_samples")
    assert [(entry["reason"], entry["excerpt"], entry["value"]) for entry in shown] == [
        ("contaminated", "excerpt of 3", 1.5),
        ("duplicate", "excerpt of 1", 1.5),
    ]


def test_a_signal_that_all_documents_have_alike_is_one_narrow_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr("pipeline.stats.plots.save", lambda figure, path, is_tight: drawn.append(figure))
    alike = {"signal": "a", "from_value": 0.0, "to_value": 0.0, "documents": 9}
    two = [{"signal": "b", "from_value": n / 2, "to_value": n / 2 + 0.5, "documents": 1} for n in range(2)]
    plot_signals([alike, *two], tmp_path / "x.png")
    first, second = drawn[0].axes
    (bar,) = first.patches
    assert bar.get_x() < 0 < bar.get_x() + bar.get_width() < 0.05
    assert first.get_xlim() == (-0.5, 0.5)
    assert [(bar.get_x(), bar.get_width()) for bar in second.patches] == [(0.0, 0.5), (0.5, 0.5)]


@pytest.mark.slow
def test_the_same_corpus_gives_the_same_bytes_and_pictures_in_any_order(tmp_path: Path) -> None:
    draw = random.Random(5)  # noqa: S311
    rows = [
        row(" ".join(f"w{draw.randrange(300)}" for _ in range(30)), f"s{n % 3}", mean_word_length=draw.random() * 9)
        for n in range(300)
    ]
    first = statistics(tmp_path / "1", rows)
    second = statistics(tmp_path / "2", rows[::-1])
    assert first.ref.content_hash == second.ref.content_hash
    assert set(first.report().plots) >= {"Vocabulary growth", "Quality signals", "Duplicate clusters", "Mixture"}
    for file in first.report().plots.values():
        assert first.file(file).read_bytes().startswith(b"\x89PNG")
