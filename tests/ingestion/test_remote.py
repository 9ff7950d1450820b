"""Files at addresses are fetched once a version, from a server on this machine; one that is away is one sentence."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.config.data import JsonSource
from pipeline.errors import InputError
from pipeline.ingestion.parts import Part, list_parts

requests: list[tuple[str, str]] = []


class _Handler(SimpleHTTPRequestHandler):
    def log_request(self, code: object = "-", size: object = "-") -> None:
        requests.append((self.command, self.path))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "x.jsonl.gz").write_bytes(gzip.compress(b'{"text": "far"}\n'))
    requests.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def parts(tmp_path: Path, *paths: str) -> list[Part]:
    return list_parts(JsonSource(reader="json", path=paths), folder=tmp_path, cache_folder=tmp_path / "data")


def test_a_file_is_fetched_once_until_it_changes(tmp_path: Path, server: str) -> None:
    (part,) = parts(tmp_path, f"{server}/x.jsonl.gz")
    assert part.path == "x.jsonl.gz"
    assert gzip.decompress(Path(part.location).read_bytes()) == b'{"text": "far"}\n'
    (again,) = parts(tmp_path, f"{server}/x.jsonl.gz")
    assert again == part
    assert [command for command, _ in requests].count("GET") == 1
    (tmp_path / "served" / "x.jsonl.gz").write_bytes(gzip.compress(b'{"text": "farther"}\n'))
    (changed,) = parts(tmp_path, f"{server}/x.jsonl.gz")
    assert changed.key != part.key
    assert len(list(Path(changed.location).parent.iterdir())) == 1


def test_an_address_and_a_folder_make_one_source(tmp_path: Path, server: str) -> None:
    (tmp_path / "y.jsonl").write_text('{"text": "near"}\n')
    assert [part.path for part in parts(tmp_path, "y.jsonl", f"{server}/x.jsonl.gz")] == ["x.jsonl.gz", "y.jsonl"]


def test_addresses_that_differ_in_their_query_are_two_files(tmp_path: Path, server: str) -> None:
    names = [part.path for part in parts(tmp_path, f"{server}/x.jsonl.gz?id=1", f"{server}/x.jsonl.gz?id=2")]
    assert len(set(names)) == 2
    assert all(name.endswith("/x.jsonl.gz") and "id" not in name for name in names)
    assert [part.path for part in parts(tmp_path, f"{server}/x.jsonl.gz?id=1")] == ["x.jsonl.gz"]


def test_what_cannot_be_had_is_one_sentence_without_secrets(tmp_path: Path, server: str) -> None:
    with pytest.raises(InputError, match="none.jsonl', which cannot be had .*404"):
        parts(tmp_path, f"{server}/none.jsonl")
    with pytest.raises(InputError, match="Check the address and its server, and run again") as error:
        parts(tmp_path, "http://user:secret@127.0.0.1:9/x.jsonl?key=secret")
    assert "secret" not in str(error.value)
    for address in ("gopher://x/y", "file:///etc/passwd", "zip://a::http://x/y.zip"):
        with pytest.raises(InputError, match="addresses begin with http"):
            parts(tmp_path, address)
    with pytest.raises(InputError, match="needs the package s3fs"):
        parts(tmp_path, "s3://bucket/x.jsonl")
