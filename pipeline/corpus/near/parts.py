"""Band hashes of each part of the clean documents, computed by workers and cached by the part's content.

In: the Parquet files of clean documents, and which of their rows the rules keep. Out: for each a cached part with a row a
document: its row number in the file and its band hashes, none for a document shorter than one shingle. 1 % more documents
cost 1 % more sketches; a rule that keeps others costs those of the parts where it does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.near import CODE_VERSION
from pipeline.corpus.near.arrays import Numbers, int64_of, to_arrow, to_lists
from pipeline.corpus.near.shingles import shingle_hashes, text_of
from pipeline.corpus.near.sketch import Bands, band_hashes, sketch
from pipeline.files import fingerprint
from pipeline.part_cache import CachedPart, PartWriter, write_part

SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),  # file_row_number of the document in its clean file
        pa.field("num_bytes", pa.int64(), nullable=False),
        pa.field("bands", pa.list_(pa.uint64()), nullable=False),
    ]
)
_READ_ROWS = 512
_BATCH_CHARACTERS = 2_000_000
_COLUMNS = ["text", "target", "num_bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SketchTask:
    """One file of clean documents to sketch."""

    key: str
    clean: Path
    num_bytes: int
    parts_folder: Path
    where: str
    num_tokens: int
    bands: Bands
    judged: Path | None
    """Parquet with the `file_row_number` of the documents that the rules keep; None: all of them."""

    @property
    def description(self) -> str:
        return f"{self.where} {self.clean}"


def sketch_key(content: str, judged: str | None, *, num_tokens: int, bands: Bands) -> str:
    """Names the sketches of a file with this sha256, of whose documents the rules keep those of a file with that one."""
    return fingerprint(["near", CODE_VERSION, content, judged, num_tokens, bands.bands, bands.rows])


def build_sketches(task: SketchTask) -> CachedPart:
    """Sketches one file; run by a worker."""
    return write_part(
        task.parts_folder,
        task.key,
        schema=SCHEMA,
        bytes_column="num_bytes",
        where=task.where,
        fill=lambda writer: _fill(writer, task),
    )


def _fill(writer: PartWriter, task: SketchTask) -> Mapping[str, Any]:
    kept = (
        None
        if task.judged is None
        else int64_of(pq.read_table(task.judged, columns=["file_row_number"]), "file_row_number")
    )
    num_rows = 0
    for texts, sizes in read_texts(task.clean, kept):
        writer.take(documents=len(texts), num_bytes=sum(sizes))
        shingles, counts = shingle_hashes(texts, num_tokens=task.num_tokens)
        bands = band_hashes(sketch(shingles, counts, num_slots=task.bands.num_slots), task.bands)
        widths = np.where(counts > 0, task.bands.bands, 0)
        numbers = np.arange(num_rows, num_rows + len(texts), dtype=np.int64)
        columns = [
            to_arrow(numbers if kept is None else kept[numbers]),
            to_arrow(np.array(sizes, np.int64)),
            to_lists(bands[counts > 0].ravel(), widths),
        ]
        writer.keep(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
        num_rows += len(texts)
    return {}


def read_texts(clean: Path, rows: Sequence[int] | Numbers | None = None) -> Iterator[tuple[list[str], list[int]]]:
    """The texts of a file, or those at `rows` (ascending), in lists of about 2 MB, and their `num_bytes`.

    A pair's halves are joined.
    """
    texts: list[str] = []
    sizes: list[int] = []
    length = 0
    for batch in _batches(clean, rows):
        columns = [batch[name].to_pylist() for name in _COLUMNS]
        for text, target, num_bytes in zip(*columns, strict=True):
            texts.append(text_of(text, target))
            sizes.append(num_bytes)
            length += len(texts[-1])
            if length >= _BATCH_CHARACTERS:
                yield texts, sizes
                texts, sizes, length = [], [], 0
    if texts:
        yield texts, sizes


def _batches(clean: Path, rows: Sequence[int] | Numbers | None) -> Iterator[pa.RecordBatch]:
    """Row groups are of bounded size; a batch never spans two, and a group without a wanted row is not read."""
    wanted = None if rows is None else np.asarray(rows, np.int64)
    first = 0
    with pq.ParquetFile(clean) as file:
        for index in range(file.num_row_groups):
            end = first + file.metadata.row_group(index).num_rows
            if wanted is None or bool(((wanted >= first) & (wanted < end)).any()):
                position = first
                for batch in file.iter_batches(
                    batch_size=_READ_ROWS, row_groups=[index], columns=_COLUMNS, use_threads=False
                ):
                    if wanted is None:
                        yield batch
                    else:
                        inside = wanted[(wanted >= position) & (wanted < position + batch.num_rows)] - position
                        if len(inside):
                            yield batch.take(to_arrow(inside))
                    position += batch.num_rows
            first = end
