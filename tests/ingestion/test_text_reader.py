"""Plain text becomes documents: whole, by separator, by heading; header and footer belong to none."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.data import TextSource
from pipeline.ingestion import text as text_module
from pipeline.ingestion.items import Document, FileRejected, Rejected
from pipeline.ingestion.text import read_text


def read(folder: Path, text: str, **settings: Any) -> list[Document | Rejected]:
    path = folder / "book.txt"
    path.write_text(text)
    return list(read_text(path, TextSource(reader="text", path="book.txt", **settings), Counter()))


def texts(items: list[Document | Rejected]) -> list[str]:
    return [item.text for item in items if isinstance(item, Document)]


def test_a_file_is_one_document(tmp_path: Path) -> None:
    (document,) = read(tmp_path, "One.\n\nTwo.\n")
    assert document == Document(index=0, text="One.\n\nTwo.\n")


def test_a_separator_belongs_to_neither_and_a_blank_piece_is_a_reject(tmp_path: Path) -> None:
    items = read(tmp_path, "a\n---\n \n---\nb", separator="\n---\n")
    assert texts(items) == ["a", "b"]
    assert items[1] == Rejected(index=1, reason="empty", detail="It holds white space only.", num_bytes=1)
    assert [item.index for item in items] == [0, 1, 2]


def test_each_heading_opens_a_document_that_holds_it(tmp_path: Path) -> None:
    items = read(
        tmp_path, "A preface.\n\nCHAPTER 1. Rain\nIt rained.\nCHAPTER 2\nIt stopped.\n", heading="^CHAPTER .*$"
    )
    assert [(item.title, item.text) for item in items if isinstance(item, Document)] == [
        (None, "A preface.\n\n"),
        ("CHAPTER 1. Rain", "CHAPTER 1. Rain\nIt rained.\n"),
        ("CHAPTER 2", "CHAPTER 2\nIt stopped.\n"),
    ]


def test_blank_text_before_the_first_heading_is_no_document(tmp_path: Path) -> None:
    assert texts(read(tmp_path, "\n\n# a\nx\n", heading="^# ")) == ["# a\nx\n"]


def test_a_heading_in_mid_line_opens_the_line(tmp_path: Path) -> None:
    assert texts(read(tmp_path, "x\n  PART 1\ny", heading="PART")) == ["x\n", "  PART 1\ny"]


def test_a_text_without_headings_is_one_document(tmp_path: Path) -> None:
    assert texts(read(tmp_path, "no heading", heading="^# ")) == ["no heading"]


def test_header_and_footer_are_left_out_and_missing_ones_are_counted(tmp_path: Path) -> None:
    book = "licence\n*** START ***\nText.\n*** END ***\nlicence\n"
    assert texts(read(tmp_path, book, start_after=r"^\*\*\* START.*\n", stop_before=r"^\*\*\* END")) == ["Text.\n"]
    facts: Counter[str] = Counter()
    path = tmp_path / "plain.txt"
    path.write_text("Text.")
    source = TextSource(reader="text", path="x", start_after="START", stop_before="END")
    assert len(list(read_text(path, source, facts))) == 1
    assert facts == {"no match of start_after": 1, "no match of stop_before": 1}


def test_the_first_header_and_the_last_footer_count(tmp_path: Path) -> None:
    assert texts(read(tmp_path, "S1 S2 a E1 b E2", start_after="S.", stop_before="E.")) == [" S2 a E1 b "]


def test_a_short_piece_is_a_reject_with_its_length(tmp_path: Path) -> None:
    kept, short = read(tmp_path, "long enough|short", separator="|", min_document_characters=6)
    assert isinstance(kept, Document)
    assert isinstance(short, Rejected)
    assert (short.reason, short.detail) == ("too_short", "It has 5 characters of at least 6.")


def test_an_empty_file_is_a_reject(tmp_path: Path) -> None:
    (item,) = read(tmp_path, "")
    assert isinstance(item, Rejected)
    assert (item.reason, item.num_bytes) == ("empty", 0)


def test_a_file_too_large_for_one_document_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "MAX_DOCUMENT_BYTES", 10)
    with pytest.raises(FileRejected, match="Set `separator` or `heading`"):
        read(tmp_path, "eleven chars")
    assert len(read(tmp_path, "eleven|chars", separator="|")) == 2


def test_the_chapters_of_real_novels(corpora: Path) -> None:
    """War and Peace has 361 chapters in its four volumes..."""
    settings: dict[str, Any] = {
        "start_after": r"^\*\*\* ?START OF [^\n]*",
        "stop_before": r"^\*\*\* ?END OF ",
        "heading": r"^CHAPTER [IVXLC]+\.?$",
        "min_document_characters": 500,
    }
    source = TextSource(reader="text", path="x", **settings)

    def chapters(name: str) -> list[Document]:
        items = read_text(corpora / "books" / name, source, Counter())
        return [item for item in items if isinstance(item, Document) and item.title is not None]

    assert len(chapters("war-and-peace.txt")) == 365


@pytest.mark.parametrize("key", ["heading", "start_after", "stop_before"])
@pytest.mark.parametrize("expression", [r"^(a+)+$", r"(a|aa)+$"])
def test_an_expression_that_would_take_for_ever_is_stopped_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, expression: str
) -> None:
    monkeypatch.setattr(text_module, "SEARCH_SECONDS", 0.1)
    with pytest.raises(FileRejected) as error:
        read(tmp_path, "a" * 10_000 + "!\n", **{key: expression})
    assert error.value.reason == "timeout"
    assert str(error.value).startswith(
        f"`{key}: {expression}` was stopped after 0.1 seconds over its 10002 characters."
    )
