"""Rows become documents; the csv module's own writer, and rows written by hand, say what they are."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.config.file_sources import CsvSource
from pipeline.ingestion import csv_documents, text_stream
from pipeline.ingestion.csv_documents import detect_delimiter, read_csv
from pipeline.ingestion.items import Document, FileRejected, Rejected


def read(folder: Path, data: str | bytes, **settings: Any) -> list[Document | Rejected]:
    path = folder / "table.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return list(read_csv(path, CsvSource(reader="csv", path="x", **settings), Counter()))


def texts(items: list[Document | Rejected]) -> list[str]:
    return [item.text for item in items if isinstance(item, Document)]


def reasons(items: list[Document | Rejected]) -> list[tuple[int, str]]:
    return [(item.index, item.reason) for item in items if isinstance(item, Rejected)]


def test_quoted_fields_hold_line_ends_delimiters_and_quotes(tmp_path: Path) -> None:
    items = read(tmp_path, 'id,text,title\n1,"a\r\nb, ""c""",T\n2,plain,\n', title="title")
    assert items == [Document(index=1, text='a\nb, "c"', title="T"), Document(index=2, text="plain")]


def test_columns_by_name_and_number_joined_and_paired(tmp_path: Path) -> None:
    assert texts(read(tmp_path, "a\tb\nx\ty\n", text=("a", "b"), join=" ")) == ["x y"]
    (pair,) = read(tmp_path, "Hello|Hallo\n", header=False, text=0, target=1)
    assert pair == Document(index=0, text="Hello", target="Hallo")


def test_the_delimiter_is_the_one_that_divides_rows_alike() -> None:
    assert detect_delimiter(["a;b", "1,5;2", "3,5;4"], quote='"') == ";"
    assert detect_delimiter(["a\tb", "x, y\tz"], quote='"') == "\t"
    assert detect_delimiter(["text", "one, two"], quote='"') == ","


def test_a_row_of_another_width_or_with_broken_quotes_is_one_reject(tmp_path: Path) -> None:
    items = read(tmp_path, 'text,n\na,1\nb\nc,1,2\n"d"e,1\nf,1\n', delimiter=",")
    assert texts(items) == ["a", "f"]
    assert reasons(items) == [(2, "wrong_fields"), (3, "wrong_fields"), (4, "invalid_csv")]


def test_after_a_quote_that_never_closes_the_rest_is_one_reject_of_its_size(tmp_path: Path) -> None:
    items = read(tmp_path, 'text,n\na,1\n"b,1\nc,1\n', delimiter=",")
    assert texts(items) == ["a"]
    (reject,) = (item for item in items if isinstance(item, Rejected))
    assert (reject.reason, reject.num_bytes) == ("invalid_csv", len('"b,1c,1'))
    assert "quote: null" in reject.detail


def test_plain_quotes_are_read_with_quote_null(tmp_path: Path) -> None:
    assert texts(read(tmp_path, 'text\tn\n"Well" he said\t1\n', quote=None)) == ['"Well" he said']


def test_a_missing_column_and_an_empty_file_are_rejects_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileRejected, match="no column 'text'; it has a, b"):
        read(tmp_path, "a,b\n1,2\n")
    with pytest.raises(FileRejected, match="empty"):
        read(tmp_path, "")


def test_bytes_that_are_no_utf8_and_utf16_files(tmp_path: Path) -> None:
    data = "text,n\nschön,1\n".encode() + b"sch\xf6n,1\nok,1\n"
    _, damaged, good = read(tmp_path, data, delimiter=",")
    assert isinstance(damaged, Document)
    assert not damaged.text.isprintable()  # the byte is a lone surrogate, which the stage rejects
    assert isinstance(good, Document)
    assert texts(read(tmp_path, "text,n\nschön,1\n".encode("utf-16"))) == ["schön"]


def test_a_line_above_the_cap_is_one_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_documents, "MAX_DOCUMENT_BYTES", 50)
    monkeypatch.setattr(
        text_stream.text_lines, "__kwdefaults__", {"errors": None, "max_characters": 50, "returns_end_lines": True}
    )
    items = read(tmp_path, f"text\nshort\n{'x' * 70}\nlast\n")
    assert texts(items) == ["short", "last"]
    assert reasons(items) == [(2, "line_too_long")]


@given(st.lists(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r")), min_size=2, max_size=2)))
def test_what_the_csv_writer_writes_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerows([["a", "b"], *rows])
    items = read(tmp_path_factory.mktemp("csv"), buffer.getvalue(), text=("a", "b"), join="|", delimiter=",")
    assert texts(items) == ["|".join(field for field in row if field) for row in rows]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"header": False}, "has header: false and names the column 'text'"),
        ({"delimiter": '"'}, "ends or quotes a row"),
        ({"delimiter": ";", "quote": ";"}, "the same character as delimiter and quote"),
    ],
)
def test_settings_that_cannot_be_are_named(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        CsvSource(reader="csv", path="x", **settings)
