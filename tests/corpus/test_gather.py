"""Rows in another order are the rows that were asked for, whatever they lie in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.corpus import gather
from pipeline.corpus.gather import rows_in_order

SCHEMA = pa.schema(
    [pa.field("text", pa.large_string()), pa.field("other", pa.string()), pa.field("number", pa.int64())]
)


@pytest.mark.parametrize("batch_bytes", [1, 3000, 8_000_000])
def test_rows_of_many_files_and_row_groups_come_in_the_order_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_bytes: int
) -> None:
    monkeypatch.setattr(gather, "BATCH_BYTES", batch_bytes)
    generator = np.random.default_rng(0)
    everything: list[tuple[str, int, dict[str, object]]] = []
    for number in range(9):
        rows = [
            {"text": "x" * int(size), "other": None if size % 2 else f"é {index}", "number": 100 * number + index}
            for index, size in enumerate(generator.integers(0, 200, 37))
        ]
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path, row_group_size=10)
        everything += [(str(path), index, row) for index, row in enumerate(rows)]
    wanted = [everything[place] for place in generator.permutation(len(everything))[:200]]
    names, numbers = [name for name, _, _ in wanted], [index for _, index, _ in wanted]
    places = pa.table({"filename": names, "file_row_number": pa.array(numbers, pa.int64())})
    batches = list(rows_in_order(places, SCHEMA, tmp_path))
    assert [row for batch in batches for row in batch.to_pylist()] == [row for _, _, row in wanted]
    assert all(batch.num_rows == 1 or batch["text"].nbytes < 2 * batch_bytes + 200 * 8 for batch in batches)
    assert (len(batches) == 1) == (batch_bytes == 8_000_000)


def test_no_rows_are_no_batches(tmp_path: Path) -> None:
    none = pa.table({"filename": pa.array([], pa.string()), "file_row_number": pa.array([], pa.int64())})
    assert list(rows_in_order(none, SCHEMA, tmp_path)) == []
