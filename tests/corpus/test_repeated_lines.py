"""Lines and paragraphs in many documents are cut, and every byte is accounted for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from corpus_building import build_from, clean_row, documents_of, pair_row, rejects_of
from pydantic import ValidationError

from pipeline.config import CorpusConfig
from pipeline.corpus.lines import split_units
from pipeline.records import Ledger, document_id

HALVES = {"splits": {"validation": 0.2, "test": 0.2}}


def pages(count: int = 60) -> list[dict[str, Any]]:
    return [
        clean_row(f"Home | About | Contact\n\nThis is page {number}.\nIt says {number * 7}.\n\n(c) The  owners", number)
        for number in range(count)
    ]


def lines(**settings: Any) -> dict[str, Any]:
    return {"deduplicate": {"lines": settings}, **HALVES}


def test_boilerplate_is_cut_and_the_ledger_balances(tmp_path: Path) -> None:
    rows = pages()
    artifact = build_from(tmp_path, {"notes": rows}, **lines(max_documents=10))
    kept = documents_of(artifact)
    assert {row["text"] for row in kept} == {f"This is page {n}.\nIt says {n * 7}." for n in range(60)}
    for row in kept:
        assert row["num_bytes"] == row["num_characters"] == len(row["text"])
        assert (row["num_lines"], row["num_words"]) == (2, len(row["text"].split()))
        assert row["text_hash"] == document_id(row["text"])
        assert row["id"] == rows[row["index"]]["id"]
    ledger = Ledger.from_json(artifact.manifest.counts["ledger"])
    ledger.check("corpus")
    removed = len("Home | About | Contact\n\n" + "\n\n(c) The  owners") * 60
    assert ledger.rejected["repeated_lines"].num_bytes == removed
    assert ledger.rejected["repeated_lines"].documents == 0
    assert ledger.kept.num_bytes == sum(row["num_bytes"] for row in kept)
    splits = artifact.manifest.counts["splits"]
    for split in splits:
        assert splits[split]["bytes"] == sum(row["num_bytes"] for row in kept if row["split"] == split)
    report = artifact.report()
    assert report.figures["num_repeated_line_bytes"] == removed
    shown = {row["text"]: row["documents"] for row in report.tables["Repeated across documents"]}
    assert shown == {"Home | About | Contact": 60, "(c) The  owners": 60}


def test_a_line_in_exactly_as_many_documents_is_kept(tmp_path: Path) -> None:
    artifact = build_from(tmp_path, {"notes": pages()}, **lines(max_documents=60))
    assert all("Contact" in row["text"] for row in documents_of(artifact))
    assert artifact.report().figures["num_repeated_line_bytes"] == 0


def test_a_fraction_is_of_the_kept_documents(tmp_path: Path) -> None:
    rows = pages(50) + [clean_row(f"another kind of note {number}", 100 + number) for number in range(50)]
    cut = build_from(tmp_path / "cut", {"notes": rows}, **lines(max_documents=0.49))
    assert not any("Contact" in row["text"] for row in documents_of(cut))
    uncut = build_from(tmp_path / "uncut", {"notes": rows}, **lines(max_documents=0.5))
    assert sum("Contact" in row["text"] for row in documents_of(uncut)) == 50


def test_copies_do_not_make_a_line_repeated(tmp_path: Path) -> None:
    novel = "It was the best of times,\nit was the worst of times."
    rows = [clean_row(f"note number {number}", number) for number in range(60)]
    rows += [clean_row(novel, 100 + copy) for copy in range(20)]
    artifact = build_from(tmp_path, {"notes": rows}, **lines(max_documents=5))
    assert novel in {row["text"] for row in documents_of(artifact)}


def test_a_document_of_nothing_else_is_a_reject(tmp_path: Path) -> None:
    rows = [*pages(), clean_row("(c) The  owners\n\nHome | About | Contact", 99)]
    artifact = build_from(tmp_path, {"notes": rows}, **lines(max_documents=10))
    (reject,) = rejects_of(artifact)
    assert (reject["reason"], reject["index"]) == ("repeated_lines", 99)
    assert reject["detail"] == "nothing but text that more than 10 documents hold"
    ledger = Ledger.from_json(artifact.manifest.counts["ledger"])
    ledger.check("corpus")
    assert ledger.rejected["repeated_lines"].documents == 1


def test_documents_that_are_alike_once_they_are_cut_count_as_one(tmp_path: Path) -> None:
    """One text under two menus and by itself: else one split could be tested on what another learns."""
    menus = {menu: [clean_row(f"{menu}\n\nStory {n} of the town.", n) for n in range(40)] for menu in ("Home", "Start")}
    bare = [clean_row("Story 3 of the town.", 3), clean_row("Another story.", 4)]
    artifact = build_from(tmp_path, {**menus, "bare": bare}, **lines(max_documents=10))
    kept = documents_of(artifact)
    assert sorted(row["text"] for row in kept) == sorted(
        [*(f"Story {n} of the town." for n in range(40)), "Another story."]
    )
    sizes = {row["text"]: row["cluster_size"] for row in kept}
    assert (sizes["Story 3 of the town."], sizes["Story 4 of the town."], sizes["Another story."]) == (3, 2, 1)
    (keeper,) = [row for row in kept if row["text"] == "Story 3 of the town."]
    others = [row for row in rejects_of(artifact) if row["index"] == 3]
    places = {(row["source"], row["id"]) for row in [*others, keeper]}
    assert len(places) == 3 and keeper["id"] == min(id_ for _, id_ in places)
    where = f"{keeper['id']} ({keeper['source']}:a.txt:3)"
    for reject in others:
        assert (reject["reason"], reject["cluster_id"]) == ("duplicate", keeper["cluster_id"])
        assert reject["detail"] == f"the same text as {where} once repeated lines are cut"
    Ledger.from_json(artifact.manifest.counts["ledger"]).check("corpus")
    assert artifact.report().figures["num_duplicates"] == 41


def test_a_fixed_test_set_loses_no_document_to_copies(tmp_path: Path) -> None:
    menus = {menu: [clean_row(f"{menu}\nStory {n} of the town.", n) for n in range(40)] for menu in ("Home", "Start")}
    others = [clean_row(f"Another story, number {n}.", 100 + n) for n in range(30)]
    sources = {**menus, "others": others}
    artifact = build_from(tmp_path, sources, fixed={"Start": "test"}, **lines(max_documents=10))
    kept = documents_of(artifact)
    assert sum(row["source"] == "Start" for row in kept) == 40
    assert artifact.report().figures["num_duplicates"] == 40


def test_pairs_with_other_targets_are_no_copies(tmp_path: Path) -> None:
    rows = [pair_row(f"{menu}\nStory {n}.", f"{menu[0]} {n}", n) for n in range(40) for menu in ("Home", "Start")]
    artifact = build_from(tmp_path, {"pairs": rows}, **lines(max_documents=10))
    assert len(documents_of(artifact)) == 80


def test_short_lines_stay_where_asked(tmp_path: Path) -> None:
    artifact = build_from(tmp_path, {"notes": pages()}, **lines(max_documents=10, min_characters=16))
    assert documents_of(artifact)[0]["text"].endswith("(c) The  owners")  # 15 characters
    assert not documents_of(artifact)[0]["text"].startswith("Home")


def test_paragraphs_are_cut_whole_and_their_lines_stay_elsewhere(tmp_path: Path) -> None:
    licence = "All rights reserved.\nSee the licence."
    rows = [clean_row(f"Text {number}.\nSee the licence.\n\n{licence}", number) for number in range(60)]
    artifact = build_from(tmp_path, {"notes": rows}, **lines(max_documents=10, unit="paragraph"))
    assert {row["text"] for row in documents_of(artifact)} == {f"Text {n}.\nSee the licence." for n in range(60)}


@pytest.mark.parametrize("unit", ["line", "paragraph"])
def test_units_join_to_the_text(unit: Any) -> None:
    for text in ("", "a", "a\nb", "\n\n a\n \n\nb \n", "\n"):
        assert "".join(split_units(text, unit)) == text
        assert len(split_units(text, unit)) % 2 == 1
    assert split_units("a\nb\n\nc", "paragraph") == ["a\nb", "\n\n", "c"]


def test_files_order_and_workers_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row | {"index": 0} for row in pages()]
    one = build_from(tmp_path / "1", {"notes": rows}, **lines(max_documents=10))
    monkeypatch.setattr("pipeline.corpus.lines.SMALL_WORK_BYTES", 0)
    other = build_from(tmp_path / "2", {"notes": rows[::-1]}, num_files=3, num_workers=2, **lines(max_documents=10))
    assert one.manifest.content_hash == other.manifest.content_hash


@pytest.mark.parametrize("bad", [0, 0.0, 1.5, -1, "many"])
def test_a_limit_is_a_number_of_documents_or_a_fraction(bad: Any) -> None:
    with pytest.raises(ValidationError):
        CorpusConfig(sources={"notes": 1.0}, deduplicate={"lines": {"max_documents": bad}})


def test_pairs_stay_whole_and_count_for_nothing(tmp_path: Path) -> None:
    context = "The moon is far.\n(c) The  owners"
    pairs = [pair_row(f"{context}\n\nQuestion {n}?", f"answer {n}", n) for n in range(20)]
    pairs += [pair_row(context, f"sum {n}", n) for n in range(20, 30)]
    rows_of = {"notes": pages(8), "questions": pairs}
    artifact = build_from(tmp_path, rows_of, pairs={"joined_by": "group"}, **lines(max_documents=10))
    assert {row["text"] for row in documents_of(artifact)} == {row["text"] for row in pairs}
    artifact = build_from(tmp_path, rows_of, version="2", **lines(max_documents=7))
    kept = {row["text"] for row in documents_of(artifact)}
    assert {row["text"] for row in pairs} <= kept
    assert kept - {row["text"] for row in pairs} == {f"This is page {n}.\nIt says {n * 7}." for n in range(8)}
