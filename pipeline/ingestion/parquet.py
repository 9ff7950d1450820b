"""Parquet files with text columns.

In: a file. Out: a document for each row, or a reject with its row. Only the named columns are read, in small batches;
they stay dictionary-encoded while in Arrow, so a repeated value cannot expand to more than the file's pages hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.data import ParquetSource
from pipeline.ingestion.decompress import open_regular
from pipeline.ingestion.fields import BadField, read_fields, text_fields
from pipeline.ingestion.items import EXPANSION_FLOOR_BYTES, MAX_EXPANSION, Document, FileRejected, Rejected

BATCH_ROWS = 256


def read_parquet(path: Path, config: ParquetSource) -> Iterator[Document | Rejected]:
    """The file's documents and rejects.

    Raises:
        FileRejected: it is no Parquet, is damaged, expands beyond reason, or lacks the text column.
    """
    with open_regular(path) as raw:
        try:
            yield from _read_rows(raw, path.stat().st_size, config)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's fault, not the file's
            raise FileRejected("corrupt", f"It cannot be read as Parquet ({error}); copy or write it again.") from error


def _read_rows(raw: Any, file_bytes: int, config: ParquetSource) -> Iterator[Document | Rejected]:
    texts = [*text_fields(config), *([config.target] if config.target is not None else [])]
    columns = list(dict.fromkeys([*texts, *(name for name in (config.title, config.group) if name is not None)]))
    schema = pq.ParquetFile(raw).schema_arrow
    for name in texts:
        if name not in schema.names:
            raise FileRejected("missing_text", f"It has no column {name!r}; it has {', '.join(schema.names)}.")
        if not _holds_text(schema.field(name).type):
            raise FileRejected("wrong_type", f"The column {name!r} holds {schema.field(name).type}, not text.")
    if config.group is not None and config.group not in schema.names:
        raise FileRejected("missing_group", f"It has no column {config.group!r}; it has {', '.join(schema.names)}.")
    columns = [name for name in columns if name in schema.names]
    plain = [name for name in columns if _is_string(schema.field(name).type)]
    file = pq.ParquetFile(raw, read_dictionary=plain)
    limit = max(EXPANSION_FLOOR_BYTES, file_bytes * MAX_EXPANSION)
    index = num_bytes = 0
    for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=columns):
        values = {name: _values(batch.column(name)) for name in columns}
        for row in range(batch.num_rows):
            item = _from_row({name: column[row] for name, column in values.items()}, index, config)
            num_bytes += len(item.text) if isinstance(item, Document) else item.num_bytes
            if num_bytes > limit:
                raise FileRejected("expansion", f"{file_bytes} bytes expand to more than {limit} characters.")
            yield item
            index += 1


def _is_string(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _holds_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return _is_string(kind) or bool(pa.types.is_string_view(kind) or pa.types.is_null(kind))


def _values(column: pa.Array) -> list[Any]:
    """The column's Python values; one that is no UTF-8 becomes its bytes."""
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        values = [_value(column[row]) for row in range(len(column))]
    return values


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        return error.object


def _from_row(record: dict[str, Any], index: int, config: ParquetSource) -> Document | Rejected:
    try:
        for name in record:
            if isinstance(record[name], bytes):
                raise BadField("invalid_utf8", f"The column {name!r} is no UTF-8.")
        fields = read_fields(record, config)
    except BadField as error:
        return Rejected(
            index=index, reason=error.reason, detail=f"Row {index + 1}: {error}", num_bytes=_num_bytes(record, config)
        )
    return Document(index=index, text=fields.text, title=fields.title, target=fields.target, group=fields.group)


def _num_bytes(record: dict[str, Any], config: ParquetSource) -> int:
    """Bytes of the text that is there, though it makes no document."""
    total = 0
    for name in text_fields(config):
        value = record[name]
        for piece in value if isinstance(value, list) else [value]:
            if isinstance(piece, str):
                total += len(piece.encode("utf-8", "surrogatepass"))
            elif isinstance(piece, bytes):
                total += len(piece)
    return total
