"""Text from bytes of unknown encoding, or a refusal: a wrong guess would train a model on mojibake.

Order: byte order mark, UTF-8, then charset-normalizer. UTF-8 with a damaged place is refused as such, since any
one-byte encoding would "decode" it and spoil every other character. Line ends become `\\n`, as in Python's text mode.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter

from charset_normalizer import from_bytes

from pipeline.ingestion.items import FileRejected

SAMPLE_BYTES = 200_000
MAX_MESS = 0.1
"""charset-normalizer's share of implausible characters; a right guess is nearly always below."""

_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MULTIBYTE_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_NON_ASCII = re.compile(rb"[\x80-\xff]")


def decode(data: bytes, *, encoding: str, facts: Counter[str]) -> str:
    """The text of `data`; `encoding` is `detect` or a codec's name. What was detected is counted in `facts`.

    Raises:
        FileRejected: `invalid_utf8`, `undecodable`, `unknown_encoding` or `binary`.
    """
    name = encoding if encoding != "detect" else _detect(data)
    try:
        text = data.decode(name)
    except UnicodeError as error:
        raise FileRejected(
            "undecodable", f"It is not {name}: {error}. Set the source's `encoding` or repair the file."
        ) from error
    if encoding == "detect" and name not in ("utf-8", "utf-8-sig"):
        facts[f"encoding {name}"] += 1
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _detect(data: bytes) -> str:
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    try:
        data.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError as error:
        problem = error
    num_multibyte_bytes = sum(len(match) for match in _MULTIBYTE_UTF8.findall(data))
    num_other = len(_NON_ASCII.findall(data)) - num_multibyte_bytes
    if num_multibyte_bytes >= num_other:
        line = data.count(b"\n", 0, problem.start) + 1
        raise FileRejected(
            "invalid_utf8",
            f"It is UTF-8 with damaged places, the first at byte {problem.start} (line {line}): "
            f"{data[problem.start : problem.start + 4].hex(' ')}. Repair the file.",
        )
    if b"\0" in data[:SAMPLE_BYTES]:
        raise FileRejected(
            "binary", "It holds NUL bytes and no byte order mark: binary data, or UTF-16 without a mark."
        )
    best = from_bytes(data[:SAMPLE_BYTES]).best()
    if best is None or best.chaos > MAX_MESS:
        raise FileRejected("unknown_encoding", "Its encoding cannot be told. Set the source's `encoding`.")
    return best.encoding
