"""Zip and tar archives (`.zip`, `.tar`, `.tar.gz`, `.tgz`, `.tar.bz2`, `.tar.xz`, `.tar.zst`) as the files they hold.

In: an archive and the reader of its files. Out: the items of each member, in the archive's order, with their path
`archive.zip/member.txt`. Members are never extracted by name: each is written to one scratch file, read, and removed.
What a member's name, kind or size makes suspicious is a reject with a reason (`unsafe_name`, `link`, `not_a_file`,
`encrypted`, `expansion`, `too_deep`); an archive that is damaged, or expands beyond reason as a whole, is one reject.
Names that begin with a dot are left out, as in folders.
Trade-off: a compressed tar is decompressed to the scratch folder first, since its members cannot be reached otherwise.
"""

from __future__ import annotations

import contextlib
import io
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from pipeline.ingestion.decompress import CHUNK_BYTES, open_regular, read_chunks
from pipeline.ingestion.items import (
    EXPANSION_FLOOR_BYTES,
    MAX_EXPANSION,
    Document,
    FileRejected,
    Rejected,
)
from pipeline.ingestion.paths import compile_glob

MAX_ENTRIES = 200_000
MAX_DEPTH = 3
"""Archives within archives, the outermost counted."""
MAX_DIRECTORY_BYTES = 64_000_000
"""Of a zip's list of entries, which is read in one piece."""
MAX_HEADER_BYTES = 1_000_000
"""Of one name or attribute list in a tar; real ones have hundreds."""
MAX_NAME_CHARACTERS = 4096

_ZIP = (".zip",)
_TAR = (".tar",)
_COMPRESSED_TAR = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tzst")
_END_OF_DIRECTORY = b"PK\x05\x06"
_END_OF_DIRECTORY_64 = b"PK\x06\x06"

Item = Document | Rejected
ReadFile = Callable[[Path, Counter[str]], Iterator[Item]]
"""The items of one plain file."""

_ZIP_DAMAGE = (
    zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, OverflowError, IndexError, RuntimeError,
    NotImplementedError, UnicodeError,
)  # fmt: skip
_TAR_DAMAGE = (tarfile.TarError, EOFError, ValueError, OverflowError, IndexError, RecursionError, UnicodeError)


def is_archive(name: str) -> bool:
    """Whether a file of this name is read as an archive."""
    return name.lower().endswith((*_ZIP, *_TAR, *_COMPRESSED_TAR))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """One entry of an archive."""

    name: str
    num_bytes: int
    """As the archive declares it."""
    problem: tuple[str, str] | None
    """Reason and detail where it is not read."""
    open: Callable[[], IO[bytes]]


@dataclass(slots=True, kw_only=True)
class _Budget:
    """What may still be written, over all members and nested archives."""

    left: int
    limit: int


def read_archive(
    path: Path, *, name: str, members: str | None, read_file: ReadFile, scratch: Path, facts: Counter[str]
) -> Iterator[Item]:
    """The items of every member that the glob `members` wants.

    `name` is what the items' paths begin with; `scratch` is an empty folder of this call's own.

    Raises:
        FileRejected: the archive is damaged or expands beyond reason.
    """
    limit = max(2 * EXPANSION_FLOOR_BYTES, path.stat().st_size * MAX_EXPANSION)
    wanted = None if members is None else compile_glob(members.split("/"))
    reader = _Reader(wanted, read_file, scratch, facts, _Budget(left=limit, limit=limit))
    yield from reader.read(path, name=name, depth=1)


class _Reader:
    """Walks an archive and those within it."""

    def __init__(
        self,
        wanted: re.Pattern[str] | None,
        read_file: ReadFile,
        scratch: Path,
        facts: Counter[str],
        budget: _Budget,
    ) -> None:
        self._wanted, self._read_file, self._scratch = wanted, read_file, scratch
        self._facts, self._budget = facts, budget
        self._num_entries = 0

    def read(self, path: Path, *, name: str, depth: int) -> Iterator[Item]:
        """The items of the archive at `path`, which is called `name`."""
        with contextlib.ExitStack() as stack:
            file: IO[bytes] = stack.enter_context(open_regular(path))
            if name.lower().endswith(_ZIP):
                entries = _zip_members(file)
            else:
                if name.lower().endswith(_COMPRESSED_TAR):
                    plain = self._scratch / f"{depth}.tar"
                    stack.callback(plain.unlink, missing_ok=True)
                    self._spool(read_chunks(path), plain, "The archive")
                    file = stack.enter_context(plain.open("rb"))
                entries = _tar_members(file)
            for member in entries:
                self._num_entries += 1
                if self._num_entries > MAX_ENTRIES:
                    raise FileRejected("too_large", f"It has more than {MAX_ENTRIES} entries. Divide it.")
                yield from self._read_member(member, name, depth)

    def _read_member(self, member: _Member, archive: str, depth: int) -> Iterator[Item]:
        name = _plain_name(member.name)
        path = f"{archive}/{_shown(name)}"
        is_nested = is_archive(name)
        problem = _name_problem(member.name)
        if problem is None:
            if any(part.startswith(".") or part == "__MACOSX" for part in name.split("/")):
                self._facts["hidden names in archives left out"] += 1
                return
            if not is_nested and self._wanted is not None and not self._wanted.fullmatch(name):
                return
            problem = member.problem
        if problem is None and is_nested and depth >= MAX_DEPTH:
            problem = "too_deep", f"It is an archive within {depth} others; at most {MAX_DEPTH - 1} are opened."
        if problem is not None:
            yield Rejected(index=0, path=path, reason=problem[0], detail=problem[1], num_bytes=max(member.num_bytes, 0))
            return
        copy = self._scratch / f"{depth}.member"
        try:
            yield from self._read_copy(member, copy, path, depth, is_nested)
        finally:
            copy.unlink(missing_ok=True)

    def _read_copy(self, member: _Member, copy: Path, path: str, depth: int, is_nested: bool) -> Iterator[Item]:
        """The items of a member by way of its copy."""
        try:
            self._spool(_chunks(member), copy, "The member")
            items = self.read(copy, name=path, depth=depth + 1) if is_nested else self._read_file(copy, self._facts)
            if is_nested:
                yield from items
                return
            for item in _all_or_reason(items):
                # a member may be compressed once more, so what comes out of it counts too
                self._budget.left -= len(item.text) if isinstance(item, Document) else item.num_bytes
                if self._budget.left <= 0:
                    raise FileRejected("expansion", f"It expands to more than {self._budget.limit} bytes.")
                yield replace(item, path=path if item.path is None else f"{path}/{item.path}")
        except FileRejected as error:
            if error.reason == "expansion" and self._budget.left <= 0:
                raise
            yield Rejected(
                index=0, path=path, reason=error.reason, detail=str(error), num_bytes=max(member.num_bytes, 0)
            )

    def _spool(self, chunks: Iterator[bytes], target: Path, what: str) -> None:
        with target.open("wb") as file:
            for chunk in chunks:
                self._budget.left -= len(chunk)
                if self._budget.left <= 0:
                    raise FileRejected(
                        "expansion",
                        f"{what} expands to more than the {self._budget.limit} bytes allowed to its archive.",
                    )
                file.write(chunk)


def _all_or_reason(items: Iterator[Item]) -> Iterator[Item]:
    """The items as they come. A file that is found to be damaged on the way adds its reject after what was read."""
    num_items = 0
    try:
        for item in items:
            num_items = item.index + 1
            yield item
    except FileRejected as error:
        yield Rejected(index=num_items, reason=error.reason, detail=str(error), num_bytes=0)


def _chunks(member: _Member) -> Iterator[bytes]:
    try:
        with member.open() as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except NotImplementedError as error:
        raise FileRejected("unsupported_format", f"It is packed in a way that is not read: {error}.") from error
    except (*_ZIP_DAMAGE, *_TAR_DAMAGE) as error:
        raise FileRejected("corrupt", f"The archive is damaged here ({error}); copy it again.") from error
    except OSError as error:
        if error.errno is not None and error.errno != 22:  # EINVAL: a place before the file's beginning
            raise
        raise FileRejected("corrupt", f"The archive is damaged here ({error}); copy it again.") from error


def _plain_name(name: str) -> str:
    """The name without parts that lead nowhere, as `tar -cf x.tar .` writes them: "./a//b.txt" -> "a/b.txt"."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _name_problem(name: str) -> tuple[str, str] | None:
    """Reason and detail where a name leads out of the archive or is none."""
    parts = re.split(r"[/\\]", name)
    if not _plain_name(name) or "\0" in name or len(name) > MAX_NAME_CHARACTERS:
        return "unsafe_name", "Its name is empty, too long or holds a NUL."
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        return "unsafe_name", f"Its name {name[:200]!r} is absolute."
    if ".." in parts:
        return "unsafe_name", f"Its name {name[:200]!r} leads out of the archive."
    return None


def _shown(name: str) -> str:
    """A name as a path: surrogates and control characters are written as escapes."""
    name = name[:MAX_NAME_CHARACTERS].encode("utf-8", "backslashreplace").decode()
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in name)


def _zip_members(file: IO[bytes]) -> Iterator[_Member]:
    try:
        _require_small_directory(file)
        archive = zipfile.ZipFile(file)
    except _ZIP_DAMAGE as error:
        raise FileRejected("corrupt", f"It cannot be read as zip ({error}); copy it again.") from error
    except OSError as error:
        raise FileRejected("corrupt", f"It cannot be read as zip ({error}); copy it again.") from error
    with archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            mode = info.external_attr >> 16
            problem = None
            if info.flag_bits & 0x1:
                problem = "encrypted", "It is protected by a password; decrypt it first."
            elif stat.S_ISLNK(mode):
                problem = "link", "It is a link; put the file itself into the archive."
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                problem = "not_a_file", "It is a device or a pipe."
            elif info.file_size > max(EXPANSION_FLOOR_BYTES, info.compress_size * MAX_EXPANSION):
                problem = "expansion", f"{info.compress_size} bytes expand to {info.file_size}."
            yield _Member(
                name=info.filename,
                num_bytes=info.file_size,
                problem=problem,
                open=lambda info=info: archive.open(info),  # type: ignore[misc]
            )


def _require_small_directory(file: IO[bytes]) -> None:
    """A zip's list of entries is read in one piece, so its size is looked at first.

    Raises:
        FileRejected: it is too large, or there is none.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 66_000))  # the record, a comment of 65,535 bytes, and the larger record before it
    tail = file.read()
    place = tail.rfind(_END_OF_DIRECTORY)
    if place < 0 or len(tail) < place + 22:
        raise zipfile.BadZipFile("it has no list of entries")
    (directory_bytes,) = struct.unpack_from("<L", tail, place + 12)
    larger = tail.rfind(_END_OF_DIRECTORY_64, 0, place)
    if larger >= 0 and len(tail) >= larger + 56:
        directory_bytes = max(directory_bytes % 0xFFFFFFFF, struct.unpack_from("<Q", tail, larger + 40)[0])
    if directory_bytes > MAX_DIRECTORY_BYTES:
        raise FileRejected("too_large", f"Its list of entries has {directory_bytes} bytes. Divide the archive.")
    file.seek(0)


class _TarFile(io.RawIOBase):
    """The bytes of a tar; headers that ask for megabytes are refused before they are read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise FileRejected("corrupt", f"It has a header of {size} bytes; real ones have hundreds.")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _tar_members(file: IO[bytes]) -> Iterator[_Member]:
    source = _TarFile(file)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    last = -1
    try:
        with tarfile.open(fileobj=source, mode="r:", errorlevel=2) as archive:
            while (info := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined] # it keeps every header otherwise
                if info.offset <= last or info.size < 0:
                    raise tarfile.ReadError("its headers lead backwards")
                last = info.offset
                if info.isdir():
                    continue
                problem = None
                if info.issym() or info.islnk():
                    problem = "link", "It is a link; put the file itself into the archive."
                elif info.issparse():
                    problem = "unsupported_format", "It is a sparse file; pack it again without holes."
                elif not info.isreg():
                    problem = "not_a_file", "It is a device or a pipe."
                elif info.offset_data + info.size > size:
                    problem = "truncated", f"It ends {info.offset_data + info.size - size} bytes after the archive."

                def extract(info: tarfile.TarInfo = info) -> IO[bytes]:
                    return io.BufferedReader(_Slice(file, info.offset_data, info.size))

                yield _Member(name=info.name, num_bytes=info.size, problem=problem, open=extract)
            file.seek(archive.offset)
            if file.read(tarfile.BLOCKSIZE) != tarfile.NUL * tarfile.BLOCKSIZE:
                raise tarfile.ReadError("it ends, or breaks off, without its end mark")
    except _TAR_DAMAGE as error:
        raise FileRejected("corrupt", f"It cannot be read as tar ({error}); copy it again.") from error


class _Slice(io.RawIOBase):
    """A range of a file."""

    def __init__(self, file: IO[bytes], start: int, num_bytes: int) -> None:
        self._file, self._position, self._stop = file, start, start + num_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._file.seek(self._position)
        data = self._file.read(min(len(buffer), self._stop - self._position))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
