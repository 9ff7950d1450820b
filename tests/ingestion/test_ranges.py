"""A file read in ranges gives what it gives in one piece, record by record and index by index."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from pipeline.config.data import JsonSource, SourceConfig, TextSource
from pipeline.config.file_sources import CsvSource
from pipeline.ingestion import ranges
from pipeline.ingestion.items import Document, Rejected
from pipeline.ingestion.parts import Part, content_now, list_parts
from pipeline.ingestion.reading import read_file


def parts(path: Path, config: SourceConfig) -> list[Part]:
    return list_parts(config, folder=path.parent, cache_folder=path.parent / "data")


def in_ranges(path: Path, config: SourceConfig) -> list[Document | Rejected]:
    items = []
    for part in parts(path, config):
        assert content_now(part, config) == part.content
        items += list(read_file(path, config, Counter(), part.range))
    return items


def jsonl(random_numbers: random.Random) -> str:
    lines = [json.dumps({"text": "é" * random_numbers.randrange(200)}) for _ in range(300)]
    lines[7], lines[9] = "", "broken"
    return "\n".join(lines)


def table(random_numbers: random.Random) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["n", "text"])
    for number in range(300):
        writer.writerow([number, random_numbers.choice(['a "b"\nc', "plain", "", "é,\r\nx" * 9])])
    return buffer.getvalue()


def separated(random_numbers: random.Random) -> str:
    return "".join(random_numbers.choice(["text é ", "\n", "\n\n", "\n\n\n", "x" * 99]) for _ in range(1000))


@pytest.mark.parametrize(
    ("make", "config"),
    [
        (jsonl, JsonSource(reader="json", path="file")),
        (table, CsvSource(reader="csv", path="file")),
        (separated, TextSource(reader="text", path="file", separator="\n\n")),
        (separated, TextSource(reader="text", path="file", separator="\n\n\n")),
        (separated, TextSource(reader="text", path="file", separator="x")),
    ],
)
@pytest.mark.parametrize("range_bytes", [40, 1000, 3001])
@pytest.mark.parametrize("chunk_bytes", [1, 7, 64, 4096])
def test_ranges_give_the_whole(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: object,
    config: SourceConfig,
    range_bytes: int,
    chunk_bytes: int,
) -> None:
    path = tmp_path / "file"
    numbers = random.Random(range_bytes)  # noqa: S311 - not for secrets
    path.write_text(make(numbers), newline="")  # type: ignore[operator]
    whole = list(read_file(path, config, Counter()))
    monkeypatch.setattr(ranges, "RANGE_BYTES", range_bytes)
    monkeypatch.setattr(ranges, "CHUNK_BYTES", chunk_bytes)
    assert len(parts(path, config)) > 2
    assert in_ranges(path, config) == whole


def test_added_lines_leave_the_earlier_parts_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "RANGE_BYTES", 1000)
    path = tmp_path / "file"
    config = JsonSource(reader="json", path="file")
    path.write_text(jsonl(random.Random(0)) + "\n")  # noqa: S311 - not for secrets
    before = [part.key for part in parts(path, config)]
    with path.open("a") as file:
        file.write('{"text": "new"}\n' * 100)
    after = [part.key for part in parts(path, config)]
    assert after[: len(before) - 1] == before[:-1]
    assert len(after) > len(before)


@pytest.mark.parametrize(
    ("data", "config"),
    [
        (b'[{"text": "a"},\n' * 100, JsonSource(reader="json", path="file")),
        (b"\x1f\x8b" + b"x\n" * 2000, JsonSource(reader="json", path="file")),
        (("text\nx\n" * 1000).encode("utf-16"), CsvSource(reader="csv", path="file")),
        (b"text\nsch\xf6n\n" * 500, CsvSource(reader="csv", path="file")),
        (b"text\rx\ry\n" * 500, CsvSource(reader="csv", path="file")),
        (b"a\r\nb|" * 500, TextSource(reader="text", path="file", separator="|")),
        (b"a b " * 500, TextSource(reader="text", path="file")),
    ],
)
def test_what_has_no_safe_cut_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, config: SourceConfig
) -> None:
    monkeypatch.setattr(ranges, "RANGE_BYTES", 100)
    (tmp_path / "file").write_bytes(data)
    assert [part.range for part in parts(tmp_path / "file", config)] == [None]
