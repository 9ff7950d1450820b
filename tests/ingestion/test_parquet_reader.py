"""Parquet rows become documents; rows without text are rejects, and a file without the column is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config.data import ParquetSource
from pipeline.ingestion.items import Document, FileRejected, Rejected
from pipeline.ingestion.parquet import read_parquet


def read(folder: Path, columns: dict[str, Any], **options: Any) -> list[Document | Rejected]:
    path = folder / "rows.parquet"
    pq.write_table(pa.table(columns), path)
    return list(read_parquet(path, ParquetSource(reader="parquet", path="x", **options)))


def outcome(item: Document | Rejected) -> tuple[int, str]:
    return item.index, item.text if isinstance(item, Document) else item.reason


def test_rows_with_title_and_lists_of_lines(tmp_path: Path) -> None:
    items = read(tmp_path, {"lines": [["a", "b"], ["c"]], "name": ["first", None]}, text="lines", title="name")
    assert items == [Document(index=0, text="a\nb", title="first"), Document(index=1, text="c")]


def test_a_row_without_text_is_a_reject(tmp_path: Path) -> None:
    items = read(tmp_path, {"text": ["a", None, " "]})
    assert list(map(outcome, items)) == [(0, "a"), (1, "missing_text"), (2, "empty")]


def test_a_value_that_is_no_utf8_is_a_reject(tmp_path: Path) -> None:
    bad = pa.array([b"good", b"caf\xe9"], pa.binary()).view(pa.string())
    assert list(map(outcome, read(tmp_path, {"text": bad}))) == [(0, "good"), (1, "invalid_utf8")]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [({"body": ["a"]}, "missing_text"), ({"text": [1]}, "wrong_type"), ({"text": [b"a"]}, "wrong_type")],
)
def test_a_file_without_a_column_of_text_is_one_reject(tmp_path: Path, columns: dict[str, Any], reason: str) -> None:
    with pytest.raises(FileRejected) as caught:
        read(tmp_path, columns)
    assert caught.value.reason == reason


def test_a_damaged_file_is_one_reject(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["a" * 1000]}), path)
    for data in (path.read_bytes()[:-20], b"PAR1 no parquet PAR1", b""):
        path.write_bytes(data)
        with pytest.raises(FileRejected) as caught:
            list(read_parquet(path, ParquetSource(reader="parquet", path="x")))
        assert caught.value.reason == "corrupt"


def test_one_value_repeated_beyond_reason_stops(tmp_path: Path) -> None:
    with pytest.raises(FileRejected) as caught:
        read(tmp_path, {"text": pa.array(["x" * 100_000] * 1000)})
    assert caught.value.reason == "expansion"
