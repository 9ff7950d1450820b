"""Bytes of a file in chunks, decompressed where it begins like gzip, zstd, bzip2 or xz; damage and bombs are never silent.

In: a path. Out: chunks of bounded size. A truncated `.zst` ends early without an error in python-zstandard's stream
reader, so frames are decompressed one by one and the end of each is required. Formats are told by their first bytes,
not by the file's name.
Trade-off: zstd input is fed in small pieces, because one byte of a bomb can stand for 32 KB of output.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

from pipeline.ingestion.items import EXPANSION_FLOOR_BYTES, MAX_EXPANSION, FileRejected

CHUNK_BYTES = 1 << 20
_ZSTD_INPUT_BYTES = 2048
_GZIP_MAGIC, _ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_BZIP2_MAGIC, _XZ_MAGIC = b"BZh", b"\xfd7zXZ\x00"
_SKIPPABLE_MAGICS = tuple(bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60))
"""Of zstd frames that hold something else than data (RFC 8878, 3.1.2); pzstd begins with one."""
_ZSTD_MAGICS = (_ZSTD_MAGIC, *_SKIPPABLE_MAGICS)
COMPRESSED_MAGICS = (_GZIP_MAGIC, *_ZSTD_MAGICS, _BZIP2_MAGIC, _XZ_MAGIC)
MAX_ZSTD_WINDOW_BYTES = 1 << 31
"""What `zstd --long=31` asks for, as the dumps of Reddit do. Memory is taken as it is filled, so that a small file which
asks for as much takes little."""
MAX_XZ_MEMORY_BYTES = 256_000_000
"""An xz header may ask for a dictionary of gigabytes; `xz -9` needs 65 MB."""
_TOO_MUCH_MEMORY = "requires too much memory"
"""How zstd words it; its binding keeps no number of the error."""
_UNSUPPORTED = {
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"%PDF-": "PDF",
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow IPC",
}


def open_regular(path: Path) -> BinaryIO:
    """Opens a regular file for reading, and never waits on a pipe or a device.

    Raises:
        FileRejected: it is a FIFO, a socket or a device.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileRejected("not_a_file", "It is a pipe, a socket, a device or a folder; only regular files are read.")
    return os.fdopen(descriptor, "rb")


def read_chunks(path: Path) -> Iterator[bytes]:
    """The file's bytes, decompressed, in order.

    Raises:
        FileRejected: `truncated`, `corrupt`, `expansion` (a bomb) or `window_too_large` for compressed files;
            `unsupported_format` for known formats that hold no plain text.
    """
    with open_regular(path) as file:
        compressed_bytes = os.fstat(file.fileno()).st_size
        magic = file.read(8)
        file.seek(0)
        for prefix, name in _UNSUPPORTED.items():
            if magic.startswith(prefix):
                raise FileRejected("unsupported_format", f"It is {name}; decompress or convert it first.")
        if magic.startswith(_GZIP_MAGIC):
            chunks = _gunzip(file)
        elif magic.startswith(_ZSTD_MAGICS):
            chunks = _unzstd(file)
        elif magic.startswith(_BZIP2_MAGIC):
            chunks = _unpack(file, "bzip2", bz2.BZ2Decompressor)
        elif magic.startswith(_XZ_MAGIC):
            chunks = _unpack(file, "xz", lambda: lzma.LZMADecompressor(memlimit=MAX_XZ_MEMORY_BYTES))
        else:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
            return
        limit = max(EXPANSION_FLOOR_BYTES, compressed_bytes * MAX_EXPANSION)
        num_bytes = 0
        for chunk in chunks:
            num_bytes += len(chunk)
            if num_bytes > limit:
                raise FileRejected(
                    "expansion", f"{compressed_bytes} bytes expand to more than {limit}, over {MAX_EXPANSION} times."
                )
            yield chunk


def _gunzip(file: BinaryIO) -> Iterator[bytes]:
    try:
        with gzip.GzipFile(fileobj=file) as unzipped:
            while chunk := unzipped.read(CHUNK_BYTES):
                yield chunk
    except EOFError as error:
        raise FileRejected("truncated", "The gzip data ends before its end mark; copy the file again.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise FileRejected("corrupt", f"The gzip data is damaged ({error}); copy the file again.") from error


def _unzstd(file: BinaryIO) -> Iterator[bytes]:
    decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES)
    frame = None
    try:
        while data := file.read(_ZSTD_INPUT_BYTES):
            while data:
                frame = frame or decompressor.decompressobj()
                chunk = frame.decompress(data)
                data = frame.unused_data if frame.eof else b""
                frame = None if frame.eof else frame
                if chunk:
                    yield chunk
    except zstandard.ZstdError as error:
        if _TOO_MUCH_MEMORY in str(error):
            raise FileRejected(
                "window_too_large",
                f"The zstd data needs a window of more than {MAX_ZSTD_WINDOW_BYTES} bytes; compress it again with "
                "`--long=31` or less.",
            ) from error
        raise FileRejected("corrupt", f"The zstd data is damaged ({error}); copy the file again.") from error
    if frame is not None:
        raise FileRejected("truncated", "The zstd data ends before its frame's end; copy the file again.")


def _unpack(
    file: BinaryIO, name: str, decompressor: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]
) -> Iterator[bytes]:
    """Streams one after another, as bzip2 and xz have them; zero bytes after the last are padding."""
    stream = None
    data = b""
    try:
        while data or (data := file.read(CHUNK_BYTES)):
            if stream is None:
                data = data.lstrip(b"\0")
                if not data:
                    continue
                stream = decompressor()
            chunk = stream.decompress(data, CHUNK_BYTES)
            data = b""
            if chunk:
                yield chunk
            while not stream.eof and not stream.needs_input:
                yield stream.decompress(b"", CHUNK_BYTES)
            if stream.eof:
                data, stream = stream.unused_data, None
    except (OSError, lzma.LZMAError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the file's
        raise FileRejected("corrupt", f"The {name} data is damaged ({error}); copy the file again.") from error
    if stream is not None:
        raise FileRejected("truncated", f"The {name} data ends before its end mark; copy the file again.")
