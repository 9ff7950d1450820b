"""Ten thousand damaged inputs over every reader: none crashes or hangs, and every record is kept or has a reason."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_archives import tarred, zipped
from test_html_reader import ARTICLE
from test_markdown_reader import PAGE
from test_pairs import SQUAD
from test_warc_reader import ARCHIVE
from test_wikipedia_reader import HEAD, page

from pipeline.config.data import JsonSource, ParquetSource, PythonDocsSource, SourceConfig, TextSource
from pipeline.config.file_sources import CsvSource, MarkdownSource, ParallelSource, SquadSource, WikipediaSource
from pipeline.config.web_sources import HtmlSource, WarcSource
from pipeline.ingestion import wikipedia
from pipeline.ingestion.build import _build_part, _Task
from pipeline.ingestion.parts import list_parts
from pipeline.ingestion.wikitext import plain_text

MUTATIONS_EACH = 590
GENERATED_EACH = 70
MAX_SECONDS = 5.0


def _parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": ["one", "zwei é", None], "title": ["a", "b", "c"]}), buffer)
    return buffer.getvalue()


JSONL = b'{"text": "one", "title": "t"}\n{"text": ["a", "b"]}\n{"text": "\\u00e9\\ud83d\\ude00"}\n' * 3
CSV = 'text,title\n"a\nb",1\n"é ""x""",2\nc,3\n'.encode()
WIKI = (
    HEAD + page("A", "'''x''' [[b|c]] {{d|[[e]]}} <ref>f</ref> {| g |} == h ==") + page("B", "#R") + "</mediawiki>"
).encode()
TEXT = "Grüße.\n---\nZwei.\n---\n".encode()
MODULE = b'''"""Sails: what to do with them when the wind turns to the north, and what to leave for the morning."""
class Sail:
    """A sail of some size, which the crew sets at dawn and takes in again when a storm is seen far off."""
    def reef(self, rows: int = 1) -> "Sail":
        """Takes in some rows of the sail, so that the ship lies better in the water and nobody is hurt."""
        return self
'''
SEEDS: dict[str, tuple[str, SourceConfig, bytes]] = {
    "text": ("in.txt", TextSource(reader="text", path="in.txt", separator="---"), TEXT),
    "heading": ("in.txt", TextSource(reader="text", path="in.txt", heading="^Z", start_after="G"), TEXT),
    "gzip": ("in.gz", TextSource(reader="text", path="in.gz"), gzip.compress(TEXT)),
    "bzip2": ("in.bz2", TextSource(reader="text", path="in.bz2"), bz2.compress(TEXT)),
    "jsonl": ("in.jsonl", JsonSource(reader="json", path="in.jsonl", title="title"), JSONL),
    "array": ("in.json", JsonSource(reader="json", path="in.json"), json.dumps([{"text": "é"}] * 4).encode()),
    "zstd": ("in.zst", JsonSource(reader="json", path="in.zst"), zstandard.compress(JSONL)),
    "parquet": ("in.parquet", ParquetSource(reader="parquet", path="in.parquet", title="title"), _parquet()),
    "csv": ("in.csv", CsvSource(reader="csv", path="in.csv", title="title"), CSV),
    "markdown": ("in.md", MarkdownSource(reader="markdown", path="in.md", split_level=2, code="drop"), PAGE.encode()),
    "squad": ("in.json", SquadSource(reader="squad", path="in.json", documents="pairs"), json.dumps(SQUAD).encode()),
    "parallel": ("in.en", ParallelSource(reader="parallel", path="in.en", target_path="in.de"), "a\nb\né\n".encode()),
    "wikipedia": ("in.xml", WikipediaSource(reader="wikipedia", path="in.xml"), WIKI),
    "html": (
        "in.html",
        HtmlSource(reader="html", path="in.html", extraction="fast", min_document_characters=200),
        ARTICLE.encode(),
    ),
    "precise html": ("in.html", HtmlSource(reader="html", path="in.html"), ARTICLE.encode()),
    "warc": ("in.warc", WarcSource(reader="warc", path="in.warc", extraction="fast"), ARCHIVE),
    "python": ("fuzzed_package.py", PythonDocsSource(reader="python_docs", packages=("fuzzed_package",)), MODULE),
    "zip": ("in.zip", TextSource(reader="text", path="in.zip"), zipped({"a.txt": TEXT, "d/b.gz": gzip.compress(TEXT)})),
    "tar": ("in.tgz", JsonSource(reader="json", path="in.tgz"), gzip.compress(tarred({"a.jsonl": JSONL}))),
    "plain tar": (
        "in.tar",
        TextSource(reader="text", path="in.tar"),
        tarred({"a.txt": TEXT, "b.zip": zipped({"c": TEXT})}),
    ),
}
PIECES = [
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3", b"\xed\xa0\x80", b"\\ud800", b'"', b"\r", b"\n\n", b"{{", b"[[", b"]]>"),
    *(b"<!--", b"<![CDATA[", b"&x;", b"NaN", b"1e999", b"[" * 3000, b"{" * 50, b"---\n", b"```\n", b"\x80" * 9, b"9" * 5000),
    *(b"(" * 300, b"\n\t", b"-" * 5000 + b"1", b'"""', b"f'{", b"\xef\xbb\xbf# coding: utf-7\n", b"#coding:x\n", b"lambda:" * 99),
    *(b"PK\x03\x04", b"\x1f\x8b\x08", b"../", b"\xff" * 8, "é".encode("utf-16"), b"\x1b", b"\x7f\xff\xff\xff"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process for each of a thousand dumps would take minutes; its own tests cover the process."""

    class InProcess:
        def __init__(self, function: object, *, timeout_seconds: float) -> None: ...

        def __enter__(self) -> object:
            return plain_text

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(wikipedia, "KillableFunction", InProcess)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # most of an input's time, and no power cut is tested


def mutated(seed: bytes, numbers: random.Random) -> bytes:
    """The bytes after one to four flips, cuts, insertions, repetitions or exchanges."""
    data = bytearray(seed)
    for _ in range(numbers.randint(1, 4)):
        place = numbers.randrange(len(data) + 1)
        stop = min(len(data), place + numbers.randint(1, 40))
        match numbers.randrange(6):
            case 0 if place < len(data):
                data[place] ^= 1 << numbers.randrange(8)
            case 1:
                del data[place:stop]
            case 2:
                data[place:place] = numbers.choice(PIECES)
            case 3:
                data[place:place] = data[place:stop] * numbers.randint(1, 200)
            case 4:
                del data[place:]
            case _:
                data[place:stop] = numbers.randbytes(stop - place)
    return bytes(data)


def account(folder: Path, kind: str, data: bytes) -> Counter[str]:
    """What became of one input, by way of the stage's own worker; its ledger is checked when the part is written."""
    name, config, seed = SEEDS[kind]
    (folder / name).write_bytes(data)
    if isinstance(config, ParallelSource):
        (folder / "in.de").write_bytes(seed)
    start = time.monotonic()
    outcome: Counter[str] = Counter()
    for part in list_parts(config, folder=folder, cache_folder=folder / "data"):
        built = _build_part(_Task(parts=(part,), config=config, source="fuzz", parts_folder=folder / "parts"))
        built.ledger.check(kind)
        outcome["kept"] += built.ledger.kept.documents
        outcome.update({reason: count.documents for reason, count in built.ledger.rejected.items()})
    assert time.monotonic() - start < MAX_SECONDS, kind
    if (expected := num_records(kind, data)) is not None and outcome.total() != 1:  # one reject may stand for the file
        assert outcome.total() == expected, (kind, data)
    shutil.rmtree(folder / "parts")
    return outcome


def num_records(kind: str, data: bytes) -> int | None:
    """How many records there are by a count that shares nothing with the readers; None where bytes alone do not say."""
    if kind == "jsonl" and not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        return sum(bool(line.strip(b" \t\r")) for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"))
    if kind == "text" and b"\0" not in data:
        return data.count(b"---") + 1
    return None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)  # where packages are looked for
    yield tmp_path


tally: Counter[str] = Counter()


@pytest.mark.parametrize("kind", SEEDS)
def test_whole_inputs_are_kept(folder: Path, kind: str) -> None:
    assert account(folder, kind, SEEDS[kind][2])["kept"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", SEEDS)
def test_mutated_inputs_are_accounted_for(folder: Path, kind: str) -> None:
    numbers = random.Random(kind)  # noqa: S311 - not for secrets
    outcome: Counter[str] = Counter()
    for _ in range(MUTATIONS_EACH):
        outcome.update(account(folder, kind, mutated(SEEDS[kind][2], numbers)))
        tally["inputs"] += 1
    assert outcome["kept"] > 0
    assert len(outcome) > 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", SEEDS)
def test_generated_inputs_are_accounted_for(folder: Path, kind: str) -> None:
    seed = SEEDS[kind][2]
    pieces = st.sampled_from([*PIECES, seed, seed[: len(seed) // 2], seed[len(seed) // 2 :]])

    @settings(
        max_examples=GENERATED_EACH, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.lists(pieces | st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode()), max_size=8))
    def run(found: list[bytes]) -> None:
        account(folder, kind, b"".join(found))
        tally["inputs"] += 1

    run()


@pytest.mark.slow
def test_ten_thousand_inputs_were_tried() -> None:
    """Counts what the two tests above did in this process: with less, the promise was not tested."""
    if not tally["inputs"]:
        pytest.skip("the fuzz tests did not run before this one")
    assert tally["inputs"] >= 10_000
