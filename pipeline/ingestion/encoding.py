"""Text from bytes of unknown encoding, or a refusal: a wrong guess would train a model on mojibake.

Order: byte order mark, UTF-8, then a guess. UTF-8 with a damaged place is refused as such, since any one-byte encoding
would "decode" it and spoil every other character. In other alphabets than the Latin one, charset-normalizer tells the
encodings apart. In Latin text it cannot (it takes most French for cp1250), since nearly all letters are ASCII; there the
language, told by those letters, says which encoding was used for the rest. Line ends become `\\n`, as in Python's text
mode.
Trade-off: rare languages and encodings are refused rather than guessed; the source's `encoding` names them.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from charset_normalizer import from_bytes

from pipeline.ingestion.items import FileRejected

SAMPLE_BYTES = 200_000
LANGUAGE_SAMPLE_CHARACTERS = 4000
MAX_MESS = 0.1
"""charset-normalizer's share of implausible characters; a right guess is nearly always below."""

MIN_CONFIDENCE = 0.9
"""That the language of a Latin text is one of those an encoding is for."""

_LATIN_ENCODINGS = {
    "cp1252": "af ca cy da de en es eu fi fr ga gl id is it lb ms nb nl nn no oc pt sq sv sw",
    "cp1250": "bs cs hr hu pl ro sh sk sl sr",
    "cp1254": "tr",
    "cp1257": "et lt lv",
}
"""Windows encoding -> languages written with it."""
_OTHER_ENCODINGS = [
    *("cp1251", "koi8_r", "koi8_u", "cp866", "iso8859_5"),
    *("cp1253", "iso8859_7", "cp1255", "cp1256"),
    *("gb18030", "big5", "cp932", "euc_jp", "cp949"),
]
_CENTRAL_EUROPEAN_CONTROLS = re.compile(rb"[\x80-\x9f]")
_HIGH_RUN = re.compile(rb"[\x80-\xff]{2,}")

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
    name = encoding if encoding != "detect" else detect(data)
    try:
        text = data.decode(name)
    except UnicodeError as error:
        reason = "invalid_utf8" if name in ("utf-8", "utf-8-sig") else "undecodable"
        raise FileRejected(
            reason, f"It is not {name}: {error}. Set the source's `encoding` or repair the file."
        ) from error
    if encoding == "detect" and name not in ("utf-8", "utf-8-sig"):
        facts[f"encoding {name}"] += 1
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def detect(data: bytes) -> str:
    """The codec of `data`.

    Raises:
        FileRejected: `invalid_utf8`, `unknown_encoding` or `binary`.
    """
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
    guess = _guess_latin(data) if _looks_latin(data) else _guess_other(data)
    if guess is None:
        raise FileRejected("unknown_encoding", "Its encoding cannot be told. Set the source's `encoding`.")
    return guess


def _looks_latin(data: bytes) -> bool:
    """Whether it is mostly ASCII letters with single others between them."""
    sample = data[:SAMPLE_BYTES]
    num_high = len(_NON_ASCII.findall(sample))
    num_in_runs = sum(len(run) for run in _HIGH_RUN.findall(sample))
    num_letters = sum(sample.count(letter) for letter in b"etaoinsrhldcumfpgwybvkjxqz")
    return num_letters > num_high and num_in_runs * 2 <= num_high


def _guess_latin(data: bytes) -> str | None:
    sample = data[:SAMPLE_BYTES]
    confidences = dict(_identifier().rank(sample.decode("latin-1")[:LANGUAGE_SAMPLE_CHARACTERS]))
    by_encoding = {
        name: sum(confidences.get(language, 0.0) for language in languages.split())
        for name, languages in _LATIN_ENCODINGS.items()
    }
    name = max(by_encoding, key=lambda name: by_encoding[name])
    if by_encoding[name] < MIN_CONFIDENCE:
        return None
    if name == "cp1250" and not _CENTRAL_EUROPEAN_CONTROLS.search(data):
        name = "iso8859_2"  # the two differ in five letters, which cp1250 has where ISO 8859-2 has controls
    return name if _is_plausible(sample, [name]) else None


def _guess_other(data: bytes) -> str | None:
    for sample in _samples(data):
        best = from_bytes(sample, cp_isolation=_OTHER_ENCODINGS).best()
        if best is not None and best.chaos <= MAX_MESS and best.language:
            return best.encoding
    return None


def _samples(data: bytes) -> Iterator[bytes]:
    """Beginnings of `data`, one of which cuts no character in two: up to a line's end, else at each of the four places
    where a character of at most four bytes may end."""
    if len(data) < SAMPLE_BYTES:  # as many may be the head of a longer file
        yield data
    elif (line_end := data.rfind(b"\n", SAMPLE_BYTES // 2, SAMPLE_BYTES)) >= 0:
        yield data[: line_end + 1]
    else:
        yield from (data[: SAMPLE_BYTES - shorter] for shorter in range(4))


def _is_plausible(sample: bytes, names: list[str]) -> bool:
    best = from_bytes(sample, cp_isolation=names).best()
    return best is not None and best.chaos <= MAX_MESS


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
