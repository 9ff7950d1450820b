"""Text -> token hashes, for many documents in one pass of numpy.

A token is a run of letters, digits and marks, lower-cased and NFKC-normalised character by character; everything else
separates, so that punctuation, emphasis and line breaks change nothing. A character of a script written without spaces
(Han, kana, Thai, Lao, Burmese, Khmer) is a token by itself, whatever the document's language is said to be.

A token's hash is a polynomial in its characters' 64-bit weights, modulo 2**64: with prefix sums S of weight * P**i, the
token [s, e) has (S[e] - S[s]) * P**-s, and no loop runs over characters or tokens. Trade-off: someone who writes words
of thousands of letters for the purpose can make two that collide; they would only lose their own text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]

PIECE_CHARACTERS = 1 << 16
"""Worked on at once: the arrays stay in the processor's cache, and memory does not grow with a document."""
_MIXED_ROWS = 1 << 13

_BASE = 0x9E3779B97F4A7C15
_NO_SPACES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # ideographic iteration mark and zero
    (0x3040, 0x30FF),  # hiragana, katakana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x1B000, 0x1B16F),
    (0x20000, 0x323AF),
)
_THEMSELVES = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x20000, 0x2F7FF), (0x2FA20, 0x323AF))
"""Han and Hangul: letters without case or compatibility forms, taken as blocks because they are half of all letters."""


def mix(values: Hashes) -> Hashes:
    """Scrambles 64-bit values one to one, in place: the finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    for start in range(0, len(values), _MIXED_ROWS):  # a block stays in the processor's cache through all five steps
        block = values[start : start + _MIXED_ROWS]
        block ^= block >> np.uint64(30)
        block *= np.uint64(0xBF58476D1CE4E5B9)
        block ^= block >> np.uint64(27)
        block *= np.uint64(0x94D049BB133111EB)
        block ^= block >> np.uint64(31)
    return values


def fold(character: str) -> str | None:
    """The character that stands for this one, or None for a separator: `fold("É") == "é"`, `fold("-") is None`."""
    if unicodedata.category(character)[0] not in "LNM":
        return None
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", character).casefold())
    if len(folded) == 1:
        return folded
    lower = character.lower()
    return lower if len(lower) == 1 else character


@lru_cache(maxsize=1)
def _weights() -> Hashes:
    """Code point -> weight; 0 for separators."""
    weights = np.zeros(0x110000, np.uint64)
    edges = [-1, *(edge for block in _THEMSELVES for edge in block), 0x323B0]
    others = [code for end, start in zip(edges[::2], edges[1::2], strict=True) for code in range(end + 1, start)]
    folded = [(code, ord(known)) for code in others if (known := fold(chr(code))) is not None]
    folded += [(code, code) for first, last in _THEMSELVES for code in range(first, last + 1)]
    table = np.array(folded, np.int64)
    weights[table[:, 0]] = mix((table[:, 1].astype(np.uint64) + np.uint64(1)) * np.uint64(_BASE)) | np.uint64(1)
    return weights


@lru_cache(maxsize=1)
def _alone() -> npt.NDArray[np.bool_]:
    """Code point -> whether it is a token by itself."""
    alone = np.zeros(0x110000, np.bool_)
    for first, last in _NO_SPACES:
        alone[first : last + 1] = True
    return alone


def _any_alone(codes: npt.NDArray[np.uint32]) -> bool:
    """Looks up the few that can be: curly quotes and dashes stand among these numbers, and nearly all text has them."""
    high = np.flatnonzero(codes >= _NO_SPACES[0][0])
    return bool(_alone()[codes[high]].any())


@lru_cache(maxsize=1)
def _powers() -> tuple[Hashes, Hashes]:
    """P**i and P**-i for the positions of a piece and its margins."""
    length = 2 * PIECE_CHARACTERS + 4
    forward = np.full(length, _BASE, np.uint64)
    backward = np.full(length, pow(_BASE, -1, 1 << 64), np.uint64)
    forward[0] = backward[0] = 1
    return np.cumprod(forward, dtype=np.uint64), np.cumprod(backward, dtype=np.uint64)


def token_hashes(texts: Sequence[str]) -> tuple[Hashes, Counts]:
    """The token hashes of all texts, one after the other, and how many each text has.

    `token_hashes(["A cat", "", "the cat"])` gives 4 hashes of which the second equals the fourth, and counts [2, 0, 2].
    """
    counts = np.zeros(len(texts), np.int64)
    found = [np.empty(0, np.uint64)]
    for joined, starts, numbers in _joined(texts):
        hashes, positions = _hash_tokens(joined)
        found.append(hashes)
        np.add.at(counts, numbers, np.diff(np.searchsorted(positions, starts), append=len(positions)))
    return np.concatenate(found), counts


def _joined(texts: Sequence[str]) -> Iterator[tuple[str, Counts, Counts]]:
    """Pieces of texts joined by newlines up to about PIECE_CHARACTERS, where each starts, and whose it is."""
    pieces: list[str] = []
    numbers: list[int] = []
    length = 0
    for number, text in enumerate(texts):
        for piece in _pieces(text):
            if length + len(piece) > PIECE_CHARACTERS and pieces:
                yield _join(pieces, numbers)
                pieces, numbers, length = [], [], 0
            pieces.append(piece)
            numbers.append(number)
            length += len(piece) + 1
    if pieces:
        yield _join(pieces, numbers)


def _join(pieces: list[str], numbers: list[int]) -> tuple[str, Counts, Counts]:
    lengths = np.array([len(piece) + 1 for piece in pieces], np.int64)
    return "\n".join(pieces), np.cumsum(lengths) - lengths, np.array(numbers, np.int64)


def _pieces(text: str) -> Iterator[str]:
    """A long text is cut where white space allows it, and only without any in the middle of a word."""
    start = 0
    while len(text) - start > PIECE_CHARACTERS:
        end = start + PIECE_CHARACTERS
        cut = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
        cut = end if cut <= start else cut
        yield text[start:cut]
        start = cut
    yield text[start:]


def _hash_tokens(text: str) -> tuple[Hashes, Counts]:
    """Hash and position of each token."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    weights = np.zeros(len(codes) + 2, np.uint64)  # a separator before and after
    np.take(_weights(), codes, out=weights[1:-1], mode="clip")
    inside = weights != 0
    if not text.isascii() and _any_alone(codes):
        alone = np.zeros(len(weights), np.bool_)
        np.take(_alone(), codes, out=alone[1:-1], mode="clip")
        apart = ~inside[:-1] | alone[:-1] | alone[1:]
        starts = np.flatnonzero(inside[1:] & apart) + 1
        ends = np.flatnonzero(inside[:-1] & (~inside[1:] | alone[:-1] | alone[1:])) + 1
    else:
        edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
        starts, ends = edges[0::2], edges[1::2]
    forward, backward = _powers()
    weights *= forward[: len(weights)]
    sums = np.zeros(len(weights) + 1, np.uint64)
    np.cumsum(weights, out=sums[1:])
    hashes = sums[ends]
    hashes -= sums[starts]
    hashes *= backward[starts]
    return mix(hashes), starts - 1
