"""Files are whole or absent; fingerprints depend on values alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import files
from pipeline.errors import StorageError
from pipeline.files import (
    ROW_GROUP_ROWS,
    canonical_json,
    fingerprint,
    make_folder,
    parquet_batches,
    sha256_file,
    write_bytes,
    write_json,
    write_parquet,
)


def test_sha256_is_that_of_the_standard(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_fingerprint_is_the_hash_of_canonical_json() -> None:
    assert canonical_json({"b": [1, None], "a": "ü"}) == '{"a":"ü","b":[1,null]}'
    assert fingerprint({"b": 1, "a": 2}) == hashlib.sha256(b'{"a":2,"b":1}').hexdigest()[:20]
    assert fingerprint({"a": 1}) != fingerprint({"a": 1.5})


@pytest.mark.parametrize("value", [{"a": float("nan")}, {"a": object()}])
def test_what_json_cannot_say_is_not_fingerprinted(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        fingerprint(value)


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"old")
    schema = pa.schema([("x", pa.int64())])

    def batches() -> object:
        yield pa.RecordBatch.from_pydict({"x": [1, 2]}, schema)
        raise RuntimeError("torn")

    with pytest.raises(RuntimeError, match="torn"):
        write_parquet(tmp_path / "file", batches(), schema)  # type: ignore[arg-type]
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("batch_rows", [1, 1000, ROW_GROUP_ROWS, 9000])
def test_equal_rows_give_equal_parquet_bytes_however_batched(tmp_path: Path, batch_rows: int) -> None:
    table = pa.table({"x": list(range(9000)), "t": [f"row {i}" for i in range(9000)]})
    write_parquet(tmp_path / "whole.parquet", table)
    assert write_parquet(tmp_path / "batched.parquet", table.to_batches(max_chunksize=batch_rows), table.schema) == 9000
    assert sha256_file(tmp_path / "batched.parquet") == sha256_file(tmp_path / "whole.parquet")
    assert pq.read_table(tmp_path / "batched.parquet").equals(table)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
@pytest.mark.parametrize("batch_rows", [1, 7, 100])
def test_row_groups_are_bounded_by_bytes_however_batched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_rows: int, kind: pa.DataType
) -> None:
    monkeypatch.setattr(files, "ROW_GROUP_BYTES", 1000)
    texts = ["x" * 400, "y" * 400, None, "z" * 400, "long" * 1000, *["w" * 10] * 95]
    table = pa.table({"t": pa.array(texts, kind)})
    write_parquet(tmp_path / "x.parquet", table.to_batches(max_chunksize=batch_rows), table.schema)
    metadata = pq.read_metadata(tmp_path / "x.parquet")
    # 400 + 400 + 0 + 400 reach 1000, 4000 pass it at once, and 95 times 10 do not
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [4, 1, 95]
    assert pq.read_table(tmp_path / "x.parquet").equals(table)


def test_a_batch_is_never_of_two_row_groups(tmp_path: Path) -> None:
    table = pa.table({"x": list(range(ROW_GROUP_ROWS + 10)), "y": ["a"] * (ROW_GROUP_ROWS + 10)})
    write_parquet(tmp_path / "x.parquet", table)
    batches = list(parquet_batches(tmp_path / "x.parquet", columns=["x"], num_rows=3000))
    assert [batch.num_rows for batch in batches] == [3000, ROW_GROUP_ROWS - 3000, 10]
    assert pa.Table.from_batches(batches).equals(table.select(["x"]))


@pytest.mark.parametrize(("folder", "reason"), [("taken", "is a file"), ("taken/x", "cannot be made: not a directory")])
def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path, folder: str, reason: str) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StorageError) as error:
        make_folder(tmp_path / folder)
    assert str(error.value) == f"The folder {tmp_path / folder} {reason}. Set `storage` to another folder."


def test_json_is_readable_and_sorted(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"b": 1, "a": "é"})
    assert (tmp_path / "x.json").read_text() == '{\n "a": "é",\n "b": 1\n}\n'
