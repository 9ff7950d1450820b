"""Compressed files are read whole or refused with a reason; a cut, a flip or a bomb is never silent."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from pipeline.ingestion.decompress import read_chunks
from pipeline.ingestion.items import FileRejected

TEXT = b"".join(b"line %d of a text that compresses\n" % number for number in range(2000))


def read(folder: Path, data: bytes) -> bytes:
    path = folder / "file"
    path.write_bytes(data)
    return b"".join(read_chunks(path))


def reason(folder: Path, data: bytes) -> str:
    with pytest.raises(FileRejected) as caught:
        read(folder, data)
    return caught.value.reason


@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress])
def test_bzip2_and_xz_are_read_whole_or_refused(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    whole = compress(TEXT)
    assert read(tmp_path, whole) == TEXT
    assert read(tmp_path, compress(b"a\n") + compress(b"b\n") + b"\0" * 8) == b"a\nb\n"
    for length in (7, 30, len(whole) // 2, len(whole) - 1):
        assert reason(tmp_path, whole[:length]) == "truncated", length
    middle = len(whole) // 2
    assert reason(tmp_path, whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]) in (
        "corrupt",
        "truncated",
    )
    assert reason(tmp_path, whole + b"garbage after the end") == "corrupt"
    assert reason(tmp_path, compress(b"\0" * 40_000_000)) == "expansion"


def test_plain_gzip_and_zstd_give_the_same_bytes(tmp_path: Path) -> None:
    assert read(tmp_path, TEXT) == TEXT
    assert read(tmp_path, gzip.compress(TEXT)) == TEXT
    assert read(tmp_path, zstandard.compress(TEXT)) == TEXT


def test_several_members_or_frames_are_one_text(tmp_path: Path) -> None:
    assert read(tmp_path, gzip.compress(b"a\n") + gzip.compress(b"b\n")) == b"a\nb\n"
    assert read(tmp_path, zstandard.compress(b"a\n") + zstandard.compress(b"b\n")) == b"a\nb\n"


def test_zstd_frames_that_hold_no_text_are_skipped(tmp_path: Path) -> None:
    """RFC 8878, 3.1.2: one of sixteen magic numbers, a size of 4 bytes, and as many bytes."""
    frame = zstandard.compress(b"a\n")
    for first in (0x50, 0x5F):
        skipped = bytes([first]) + b"\x2a\x4d\x18" + (5000).to_bytes(4, "little") + b"x" * 5000
        assert read(tmp_path, skipped + frame) == b"a\n"
        assert read(tmp_path, frame + skipped + frame) == b"a\na\n"
        assert reason(tmp_path, skipped[:-1]) == "truncated"


@pytest.mark.parametrize("log", [28, 31])
def test_zstd_with_a_long_window_is_read(tmp_path: Path, log: int) -> None:
    """`zstd --long=28` and `--long=31`, written by hand, since a compressor with such a window takes gigabytes.

    RFC 8878, 3.1.1: magic number, descriptor 0, the exponent of the window less 10 in the upper five bits, and a last block
    of three bytes as they are.
    """
    data = b"\x28\xb5\x2f\xfd\x00" + bytes([log - 10 << 3]) + (3 << 3 | 1).to_bytes(3, "little") + b"abc"
    assert read(tmp_path, data) == b"abc"


def test_zstd_with_a_window_beyond_the_bound_is_refused_as_such(tmp_path: Path) -> None:
    data = b"\x28\xb5\x2f\xfd\x00" + bytes([32 - 10 << 3]) + (3 << 3 | 1).to_bytes(3, "little") + b"abc"
    with pytest.raises(FileRejected, match="a window of more than 2147483648 bytes") as caught:
        read(tmp_path, data)
    assert caught.value.reason == "window_too_large"


def test_a_gzip_file_cut_anywhere_is_truncated(tmp_path: Path) -> None:
    whole = gzip.compress(TEXT)
    for length in (3, 9, 11, len(whole) // 2, len(whole) - 9, len(whole) - 8, len(whole) - 1):
        assert reason(tmp_path, whole[:length]) == "truncated", length


def test_a_zstd_file_cut_anywhere_is_truncated(tmp_path: Path) -> None:
    whole = zstandard.ZstdCompressor(write_checksum=True).compress(TEXT)
    for length in (5, 20, len(whole) // 2, len(whole) - 4, len(whole) - 1):
        assert reason(tmp_path, whole[:length]) == "truncated", length


def test_flipped_bytes_and_a_tail_of_garbage_are_corrupt(tmp_path: Path) -> None:
    for whole in (gzip.compress(TEXT), zstandard.ZstdCompressor(write_checksum=True).compress(TEXT)):
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]
        assert reason(tmp_path, flipped) in ("corrupt", "truncated")
        assert reason(tmp_path, whole + b"garbage after the end") == "corrupt"


def test_zero_padding_after_gzip_is_accepted(tmp_path: Path) -> None:
    assert read(tmp_path, gzip.compress(TEXT) + b"\0" * 512) == TEXT


def test_bombs_stop_at_the_expansion_cap(tmp_path: Path) -> None:
    zeros = b"\0" * 40_000_000
    assert reason(tmp_path, gzip.compress(zeros)) == "expansion"
    assert reason(tmp_path, zstandard.compress(zeros)) == "expansion"


def test_other_formats_are_named(tmp_path: Path) -> None:
    assert reason(tmp_path, b"PK\x03\x04rest of a zip") == "unsupported_format"
    assert reason(tmp_path, b"%PDF-1.7") == "unsupported_format"
