"""Files at addresses (`https://`, `s3://` and others), by fsspec: fetched once and kept under `<storage>/remote/`.

In: an address or a glob of them. Out: local copies, one for each version of the file that its server names (ETag, time
and size); without a name for the version it is fetched every time. A copy appears by a rename, whole.
Trade-off: every look at a source asks the server once a file, and each file is on disk twice: as it came and as parts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import fsspec

from pipeline.errors import InputError
from pipeline.files import fingerprint, fsync_file, storage_errors
from pipeline.ingestion.paths import FoundFile

FOLDER = "remote"
CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
"""Without a byte; a slow server that goes on sending is waited for."""
PROTOCOLS = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
"""Scheme -> the package that speaks it."""

_QUERY_DIGITS = 8

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_MAGIC = re.compile(r"[*?[]")
_VERSION_KEYS = (
    "ETag",
    "etag",
    "e_tag",
    "Last-Modified",
    "LastModified",
    "last_modified",
    "mtime",
    "generation",
    "md5Hash",
)


def is_remote(path: str) -> bool:
    """Whether a path is an address rather than a name on this machine."""
    return _SCHEME.match(path) is not None


def fetch_files(addresses: Sequence[str], *, cache_folder: Path) -> dict[str, FoundFile]:
    """The local copies of every file that `addresses` name, by host and path relative to what they share; the fingerprint
    of a query stands before the last name.

    Raises:
        InputError: a scheme is unknown or its package missing, a server does not answer, or nothing is there.
    """
    found: dict[str, FoundFile] = {}
    for address in addresses:
        scheme, filesystem = _filesystem(address)
        for name in _expand(filesystem, address, scheme):
            location = _fetch(filesystem, name, cache_folder / FOLDER)
            found[_key(name)] = FoundFile(location=location, root=location.parent)
    common = os.path.commonpath([os.path.dirname(name) for name in found])  # noqa: PTH120 - an address is no Path
    return {os.path.relpath(name, common or "."): found[name] for name in sorted(found)}


def _filesystem(address: str) -> tuple[str, Any]:
    match = _SCHEME.match(address)
    assert match is not None, "is_remote said so"
    scheme = match[1].lower()
    if scheme not in PROTOCOLS or "::" in address:
        raise InputError(f"path is {shown(address)!r}; addresses begin with {', '.join(PROTOCOLS)}. Correct it.")
    options: dict[str, Any] = {}
    try:
        if scheme in ("http", "https"):
            import aiohttp

            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
            options = {
                "client_kwargs": {"timeout": timeout, "auto_decompress": False},
                "headers": {"Accept-Encoding": "identity"},
            }
        return scheme, fsspec.filesystem(scheme, **options)
    except ImportError as error:
        raise InputError(
            f"path is {shown(address)!r}, which needs the package {PROTOCOLS[scheme]}. Install it beside textmill."
        ) from error


def _expand(filesystem: Any, address: str, scheme: str) -> list[str]:
    """The addresses that a glob matches."""
    if not _MAGIC.search(address.partition("?")[0] if scheme in ("http", "https") else address):
        return [address]
    with _one_sentence(address):
        names = sorted(filesystem.unstrip_protocol(name) for name in filesystem.glob(address))
    if not names:
        raise InputError(f"path is {shown(address)!r}, which matches no file there. Correct it.")
    return names


def _fetch(filesystem: Any, address: str, folder: Path) -> Path:
    with _one_sentence(address):
        info: Mapping[str, Any] = filesystem.info(address)
    if info.get("type") == "directory":
        raise InputError(
            f"path is {shown(address)!r}, which is a folder. Name its files, such as `{shown(address)}/*`."
        )
    version = {key: str(info[key]) for key in _VERSION_KEYS if info.get(key) is not None}
    name = re.sub(r"[^A-Za-z0-9._-]", "_", urlsplit(address).path.rsplit("/", 1)[-1])[-100:] or "file"
    holder = folder / fingerprint(address)
    target = holder / f"{fingerprint([version, info.get('size')])}-{name}"
    if version and target.is_file():
        return target
    with storage_errors(folder):
        holder.mkdir(parents=True, exist_ok=True)
        draft = holder / f".draft-{uuid.uuid4().hex}"
        try:
            with _one_sentence(address), draft.open("wb") as file:
                filesystem.get_file(address, file)
            size, arrived = info.get("size"), draft.stat().st_size
            if size is not None and arrived != size:
                raise InputError(f"{shown(address)} ended after {arrived} of {size} bytes. Run again.")
            fsync_file(draft)
            for old in holder.iterdir():  # a version that the server no longer has
                if not old.name.startswith(".draft-") and old != target:
                    old.unlink(missing_ok=True)
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)
    return target


@contextlib.contextmanager
def _one_sentence(address: str) -> Iterator[None]:
    """Turns what a file system raises about an address into one sentence."""
    try:
        yield
    except Exception as error:  # each of the libraries behind fsspec has its own errors
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        *_, cause = _causes(error)
        words = " ".join(str(cause).split()).replace(address, shown(address))[:200] or type(cause).__name__
        raise InputError(
            f"path is {shown(address)!r}, which cannot be had ({words}). Check the address and its server, and run "
            "again."
        ) from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


def _key(address: str) -> str:
    """Host and path. A query is part of what an address names but may be secret, and the name's ending tells the format:
    "https://x.org/a/b.zip?id=1" -> "x.org/a/6cf3798f/b.zip"
    """
    parts = urlsplit(address)
    place = f"{parts.hostname or ''}{parts.path}"
    if not parts.query:
        return place
    path = PurePosixPath(place)
    return str(path.parent / fingerprint(parts.query)[:_QUERY_DIGITS] / path.name)


def shown(address: str) -> str:
    """The address without what may be secret: a user's name and password, a query."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
