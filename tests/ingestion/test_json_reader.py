"""JSON Lines, arrays and objects become documents; every bad record is a reject with its line and a reason."""

from __future__ import annotations

import gzip
import json
import resource
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.data import JsonSource
from pipeline.ingestion.items import MAX_DOCUMENT_BYTES, Document, FileRejected, Rejected
from pipeline.ingestion.json_documents import read_json
from pipeline.ingestion.json_stream import array_elements, split_lines
from pipeline.ingestion.json_values import JsonParser


def read(folder: Path, data: bytes | str, **options: Any) -> list[Document | Rejected]:
    path = folder / "data.jsonl"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(read_json(path, JsonSource(reader="json", path="x", **options), Counter()))


def outcome(item: Document | Rejected) -> tuple[int, str]:
    return item.index, item.text if isinstance(item, Document) else item.reason


def test_json_lines_an_array_and_an_object_are_told_apart(tmp_path: Path) -> None:
    expected = [(0, "a"), (1, "b")]
    assert list(map(outcome, read(tmp_path, '{"text": "a"}\n{"text": "b"}\n'))) == expected
    assert list(map(outcome, read(tmp_path, '[\n {"text": "a"},\n {"text": "b"}\n]\n'))) == expected
    assert list(map(outcome, read(tmp_path, '{\n "text": "a"\n}\n'))) == [(0, "a")]
    assert list(map(outcome, read(tmp_path, '{"text": "a"}'))) == [(0, "a")]
    assert read(tmp_path, "[]") == []


def test_compression_marks_blank_lines_and_carriage_returns_do_not_matter(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbf\n{"text": "a"}\r\n\r\n{"text": "b"}'
    assert list(map(outcome, read(tmp_path, data))) == [(1, "a"), (3, "b")]
    assert list(map(outcome, read(tmp_path, gzip.compress(data)))) == [(1, "a"), (3, "b")]


def test_fields_are_joined_and_a_list_is_its_lines(tmp_path: Path) -> None:
    poem = {"title": "Moon", "lines": ["bright", "moon"], "author": "Li Bai"}
    (item,) = read(tmp_path, json.dumps(poem), text=["title", "lines"], title="title", join="\n\n")
    assert item == Document(index=0, text="Moon\n\nbright\nmoon", title="Moon")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "cut', "invalid_json"),
        ('{"text": "a"} {"text": "b"}', "invalid_json"),
        ('{"text": "a", "score": NaN}', "json_nan"),
        ('{"text": "a", "text": "b"}', "duplicate_key"),
        ('{"text": "a", "meta": {"k": 1, "k": 2}}', "duplicate_key"),
        ('{"body": "a"}', "missing_text"),
        ('{"text": null}', "missing_text"),
        ('{"text": 7}', "wrong_type"),
        ('{"text": ["a", 7]}', "wrong_type"),
        ('"just a string"', "wrong_type"),
        ("[1, 2]", "wrong_type"),
        ('{"text": "  "}', "empty"),
        ('{"text": ' + "[" * 100_000 + "]" * 100_000 + "}", "too_deep"),
        ('{"text": "a", "n": ' + "9" * 5000 + "}", "wrong_type"),
    ],
)
def test_a_bad_line_is_a_reject_and_its_neighbours_are_kept(tmp_path: Path, line: str, reason: str) -> None:
    items = read(tmp_path, f'{{"text": "before"}}\n{line}\n{{"text": "after"}}\n')
    assert list(map(outcome, items)) == [(0, "before"), (1, reason), (2, "after")]
    reject = items[1]
    assert isinstance(reject, Rejected)
    assert "Line 2" in reject.detail
    assert reject.num_bytes == len(line.encode())


def test_a_line_that_is_no_utf8_is_a_reject(tmp_path: Path) -> None:
    items = read(tmp_path, b'{"text": "a"}\n{"text": "caf\xe9"}\n{"text": "b"}')
    assert list(map(outcome, items)) == [(0, "a"), (1, "invalid_utf8"), (2, "b")]


@pytest.mark.parametrize(
    ("element", "reason"),
    [('{"text": "a", "text": "b"}', "duplicate_key"), ('{"text": 1}', "wrong_type"), ("NaN", "json_nan")],
)
def test_a_bad_element_of_an_array_is_a_reject_and_its_neighbours_are_kept(
    tmp_path: Path, element: str, reason: str
) -> None:
    items = read(tmp_path, f'[{{"text": "x"}}, {element}, {{"text": "y"}}]')
    assert list(map(outcome, items)) == [(0, "x"), (1, reason), (2, "y")]


def test_a_broken_array_keeps_what_came_before_and_counts_the_rest(tmp_path: Path) -> None:
    rest = '{"text": oops}, {"text": "lost"}]'
    items = read(tmp_path, '[{"text": "x"}, ' + rest)
    assert list(map(outcome, items)) == [(0, "x"), (1, "invalid_json")]
    assert isinstance(items[1], Rejected)
    assert items[1].num_bytes == len(rest)
    for cut in ('[{"text": "x"}', '[{"text": "x"},', '[{"text": "x"}, {"te'):
        assert list(map(outcome, read(tmp_path, cut))) == [(0, "x"), (1, "invalid_json")], cut
    assert list(map(outcome, read(tmp_path, '[{"text": "x"}] more'))) == [(0, "x"), (1, "invalid_json")]


@pytest.mark.parametrize("data", ["", "  \n", "plain prose,\nnot JSON at all\n", '{\n "text": \n}\n', "\xff\xfe"])
def test_a_file_that_is_no_json_is_refused_as_a_whole(tmp_path: Path, data: str) -> None:
    with pytest.raises(FileRejected):
        read(tmp_path, data.encode("latin-1"))


def test_a_line_of_50_mb_is_a_reject_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "a"}\n{"text": "')
        for _ in range(50):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n{"text": "b"}\n')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    items = list(read_json(path, JsonSource(reader="json", path="x"), Counter()))
    grown_kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert list(map(outcome, items)) == [(0, "a"), (1, "line_too_long"), (2, "b")]
    assert isinstance(items[1], Rejected)
    assert items[1].num_bytes == 50_000_012
    assert grown_kilobytes < 3 * MAX_DOCUMENT_BYTES / 1000


@given(st.binary(max_size=60).map(lambda data: data.replace(b"\r", b"\n")), st.integers(1, 7), st.integers(1, 9))
@settings(max_examples=200, deadline=None)
def test_lines_are_those_of_the_whole_however_it_is_cut(data: bytes, chunk_bytes: int, max_bytes: int) -> None:
    chunks = [data[start : start + chunk_bytes] for start in range(0, len(data), chunk_bytes)]
    whole = data.split(b"\n")
    if whole[-1] == b"":
        whole.pop()
    found = list(split_lines(chunks, max_bytes=max_bytes))
    assert [line.num_bytes for line in found] == [len(line) for line in whole]
    assert [line.index for line in found] == list(range(len(whole)))
    for line, expected in zip(found, whole, strict=True):
        if len(expected) > max_bytes:
            assert line.data is None
            assert expected.startswith(line.beginning)
        else:
            assert line.data == expected


@given(
    st.lists(
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False), st.lists, max_leaves=8
        ),
        max_size=6,
    ),
    st.integers(1, 9),
)
@settings(max_examples=100, deadline=None)
def test_array_elements_are_those_of_the_whole_however_it_is_cut(values: list[Any], chunk_bytes: int) -> None:
    values = [value for value in values if "Infinity" not in json.dumps(value)]
    data = json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogatepass")
    chunks = [data[start : start + chunk_bytes] for start in range(0, len(data), chunk_bytes)]
    found = list(array_elements(chunks, JsonParser(), max_characters=1_000_000))
    assert [element.value for element in found] == values
    assert all(element.error is None for element in found)


def test_poems_of_a_real_array(corpora: Path) -> None:
    path = corpora / "tang_poems" / "poet.tang.0.json"
    source = JsonSource(reader="json", path="x", text=("title", "paragraphs"), title="title")
    items = list(read_json(path, source, Counter()))
    poems = json.loads(path.read_text())
    assert [item.text for item in items if isinstance(item, Document)] == [
        "\n".join([poem["title"], *poem["paragraphs"]]) for poem in poems
    ]
