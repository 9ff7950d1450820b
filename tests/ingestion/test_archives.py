"""Archives are read as their files; bombs, paths that lead out, links, passwords and damage are rejects with a reason."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from pipeline.artifacts import ArtifactStore
from pipeline.config import EngineConfig
from pipeline.config.data import TextSource
from pipeline.ingestion import archives
from pipeline.ingestion.archives import read_archive
from pipeline.ingestion.build import build_raw_documents
from pipeline.ingestion.items import Document, FileRejected, Rejected
from pipeline.ingestion.reading import read_file
from pipeline.progress import SilentProgress

Files = dict[str, bytes]


def zipped(files: Files, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(files: Files, *more: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in more:
            archive.addfile(info)
    return buffer.getvalue()


def read(folder: Path, name: str, data: bytes, members: str | None = None) -> list[Document | Rejected]:
    path, scratch = folder / "archive", folder / "scratch"
    path.write_bytes(data)
    scratch.mkdir(exist_ok=True)
    source = TextSource(reader="text", path="x")

    def items(file: Path, facts: Counter[str]) -> Iterator[Document | Rejected]:
        return read_file(file, source, facts)

    found = read_archive(path, name=name, members=members, read_file=items, scratch=scratch, facts=Counter())
    try:
        return list(found)
    finally:
        assert not list(scratch.iterdir()), "the scratch folder is left empty"


def reasons(items: list[Document | Rejected]) -> dict[str | None, str]:
    return {item.path: item.reason if isinstance(item, Rejected) else item.text for item in items}


FILES = {"a.txt": b"one", "deep/b.txt": b"two", "deep/c.md": b"three", ".hidden": b"x", "__MACOSX/a.txt": b"x"}
PACKED: dict[str, Any] = {
    "x.zip": zipped(FILES),
    "x.tar": tarred(FILES),
    "x.tar.gz": gzip.compress(tarred(FILES)),
    "x.tgz": gzip.compress(tarred(FILES)),
    "x.tar.bz2": bz2.compress(tarred(FILES)),
    "x.tar.xz": lzma.compress(tarred(FILES)),
    "x.tar.zst": zstandard.compress(tarred(FILES)),
}


@pytest.mark.parametrize("name", PACKED)
def test_every_kind_gives_the_same_files(tmp_path: Path, name: str) -> None:
    assert reasons(read(tmp_path, name, PACKED[name])) == {
        f"{name}/a.txt": "one",
        f"{name}/deep/b.txt": "two",
        f"{name}/deep/c.md": "three",
    }
    assert list(reasons(read(tmp_path, name, PACKED[name], "**/*.txt"))) == [f"{name}/a.txt", f"{name}/deep/b.txt"]
    assert list(reasons(read(tmp_path, name, PACKED[name], "*.txt"))) == [f"{name}/a.txt"]


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_names_are_read_as_if_without_parts_that_lead_nowhere(tmp_path: Path, pack: Callable[[Files], bytes]) -> None:
    """`tar -cf x.tar .` writes names such as `./a.txt`."""
    name = "x.zip" if pack is zipped else "x.tar"
    data = pack({"./a.txt": b"one", ".//deep/./b.txt": b"two", "./.git/config": b"x"})
    assert reasons(read(tmp_path, name, data)) == {f"{name}/a.txt": "one", f"{name}/deep/b.txt": "two"}
    assert list(reasons(read(tmp_path, name, data, "deep/*.txt"))) == [f"{name}/deep/b.txt"]


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", "C:\\x", "..\\x", "\\\\host\\x"])
def test_names_that_lead_out_are_rejects(tmp_path: Path, name: str) -> None:
    for kind, data in (
        ("x.zip", zipped({name: b"x", "ok.txt": b"y"})),
        ("x.tar", tarred({name: b"x", "ok.txt": b"y"})),
    ):
        items = read(tmp_path, kind, data)
        assert [getattr(item, "reason", "kept") for item in items] == ["unsafe_name", "kept"]


def test_links_and_devices_are_rejects(tmp_path: Path) -> None:
    kinds = {"s": tarfile.SYMTYPE, "h": tarfile.LNKTYPE, "p": tarfile.FIFOTYPE, "d": tarfile.CHRTYPE}
    entries = []
    for name, kind in kinds.items():
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        entries.append(info)
    found = reasons(read(tmp_path, "x.tar", tarred({}, *entries)))
    assert list(found.values()) == ["link", "link", "not_a_file", "not_a_file"]
    assert reasons(read(tmp_path, "x.tar", tarred({"a.txt": b"one"}, *entries), "*.txt")) == {"x.tar/a.txt": "one"}
    link = zipfile.ZipInfo("s")
    link.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert reasons(read(tmp_path, "x.zip", buffer.getvalue())) == {"x.zip/s": "link"}


def test_a_password_is_a_reject(tmp_path: Path) -> None:
    data = bytearray(zipped({"a.txt": b"secret"}))
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + place] |= 1
    assert reasons(read(tmp_path, "x.zip", bytes(data))) == {"x.zip/a.txt": "encrypted"}


def test_archives_within_archives_up_to_the_limit(tmp_path: Path) -> None:
    data, name = b"deep", "a.txt"
    for _ in range(archives.MAX_DEPTH + 1):
        data, name = zipped({name: data}), "x.zip"
    assert reasons(read(tmp_path, "x.zip", data)) == {"x.zip/x.zip/x.zip/x.zip": "too_deep"}
    inner = gzip.compress(tarred({"a.txt": b"in"}))
    assert reasons(read(tmp_path, "x.zip", zipped({"y.tgz": inner}))) == {"x.zip/y.tgz/a.txt": "in"}


def test_bombs_stop_early(tmp_path: Path) -> None:
    zeros = b"\0" * 40_000_000
    assert reasons(read(tmp_path, "x.zip", zipped({"a": zeros, "b": b"ok"}))) == {
        "x.zip/a": "expansion",
        "x.zip/b": "ok",
    }
    with pytest.raises(FileRejected, match="expand"):
        read(tmp_path, "x.tgz", gzip.compress(tarred({"a": zeros})))
    many = zipped({f"{number}.txt": b"ab" * 7_500_000 for number in range(4)})
    with pytest.raises(FileRejected) as error:
        read(tmp_path, "x.zip", many)
    assert error.value.reason == "expansion"


def test_too_many_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRIES", 2)
    with pytest.raises(FileRejected, match="more than 2 entries"):
        read(tmp_path, "x.zip", PACKED["x.zip"])


@pytest.mark.parametrize("name", PACKED)
def test_every_cut_is_noticed(tmp_path: Path, name: str) -> None:
    data = PACKED[name]
    for length in (0, 1, 30, len(data) // 3, len(data) // 2, len(data) - 1):
        try:
            found = read(tmp_path, name, data[:length])
        except FileRejected as error:
            assert error.reason in ("corrupt", "truncated", "empty")
        else:
            is_whole = name == "x.tar" and length == len(data) - 1  # a tar ends with more zeros than it needs
            assert is_whole or any(isinstance(item, Rejected) for item in found), length


def test_a_damaged_member_is_one_reject(tmp_path: Path) -> None:
    data = bytearray(zipped({"a.txt": b"first text", "b.txt": b"second"}, zipfile.ZIP_STORED))
    data[data.index(b"first")] ^= 1
    assert reasons(read(tmp_path, "x.zip", bytes(data))) == {"x.zip/a.txt": "corrupt", "x.zip/b.txt": "second"}


def test_the_stage_reads_archives_beside_files(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_text("plain")
    (folder / "b.zip").write_bytes(zipped({"c.txt": b"packed", "../d.txt": b"x"}))
    with ArtifactStore(tmp_path / "data").draft(
        stage="raw_documents", name="notes", version="v", code_version="1", literals={}, inputs={}
    ) as draft:
        artifact = build_raw_documents(
            draft,
            name="notes",
            config=TextSource(reader="text", path="notes"),
            folder=tmp_path,
            cache_folder=tmp_path / "data",
            engine=EngineConfig(workers=1),
            progress=SilentProgress(),
        )
    assert artifact.report().figures["num_documents"] == 2
    assert artifact.manifest.counts["ledger"]["rejected"] == {"unsafe_name": {"bytes": 1, "documents": 1}}
    assert not list((tmp_path / "data" / "raw_documents" / "notes" / "parts").glob(".draft-*"))


def test_the_movie_reviews_are_read_whole(corpora: Path, tmp_path: Path) -> None:
    """Pang and Lee's polarity data 2.0: 1000 positive and 1000 negative reviews."""
    items = read(tmp_path, "m.zip", (corpora / "movie_reviews.zip").read_bytes(), "**/*.txt")
    kinds = Counter(str(item.path).split("/")[2] for item in items if isinstance(item, Document))
    assert kinds == {"neg": 1000, "pos": 1000}
