"""Hashes of the word n-grams of many texts at once, in numpy.

In: texts. Out: one 64-bit hash a word, and one an n-gram. Words are normalised: lower case, apostrophes and invisible
characters left out, any other punctuation a gap; a character of a script that puts no spaces between words (Chinese,
Japanese, Thai ...) is a word of its own. Both hashes are polynomials modulo 2**64, taken from prefix sums (Karp & Rabin
1987), so that a character costs a constant few operations however long the n-gram is. Two n-grams chosen without malice
share a hash with probability 2**-64; nobody verifies them. Trade-off: a batch needs about 30 bytes a character while it
is hashed, so callers hand over about BATCH_CHARACTERS at once.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

BATCH_CHARACTERS = 1 << 18
"""Enough for numpy's cost per call to vanish, little enough for a processor's cache."""

_GAP, _WORD, _ALONE = 0, 1, 2
_LEFT_OUT = "'’ʼ\u00ad\u200b\u200c\u200d\u2060\ufeff"
_WITHOUT_SPACES = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han, with its extensions and compatibility forms
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x323AF),
)
_NUM_CODES, _NUM_CLASSIFIED = 0x110000, 0x32400
_CHARACTER_BASE, _WORD_BASE = 0x9E3779B97F4A7C15, 0xD1342543DE82EF95
"""Odd, so that their powers have inverses modulo 2**64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The words of several texts, in order."""

    hashes: np.ndarray
    """uint64 (num_words,)."""
    text: np.ndarray
    """int64 (num_words,): which text each word is of."""


def hash_words(texts: Sequence[str]) -> Words:
    """One hash a word; equal words have equal hashes, in whatever text they stand.

    A text longer than a batch is hashed piece by piece, cut at white space where there is any.
    """
    hashes: list[np.ndarray] = []
    text: list[np.ndarray] = []
    for first, batch in _batches([_normalised(text) for text in texts]):
        codes, starts, ends = _word_spans("\n".join(batch))
        values = _tables()[1][codes]
        powers, inverses = _powers(_CHARACTER_BASE, _capacity(codes.size))
        sums = _prefix_sums(values * powers[: codes.size])
        hashes.append(_mixed((sums[ends] - sums[starts]) * inverses[starts]))
        bounds = np.cumsum([len(piece) + 1 for piece in batch])
        num_words = np.diff(np.searchsorted(starts, bounds), prepend=0)
        num_words[0] = np.searchsorted(starts, bounds[0])
        text.append(np.repeat(np.arange(first, first + len(batch)), num_words))
    empty = np.zeros(0, dtype=np.int64)
    return Words(hashes=np.concatenate([empty.astype(np.uint64), *hashes]), text=np.concatenate([empty, *text]))


def hash_ngrams(words: Words, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of the runs of `length` words within one text, uint64, and the position of each one's first word, int64."""
    num_words = words.hashes.size
    if num_words < length:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    powers, inverses = _powers(_WORD_BASE, _capacity(num_words))
    sums = _prefix_sums(words.hashes * powers[:num_words])
    count = num_words - length + 1
    hashes = (sums[length:] - sums[:count]) * inverses[:count]
    within = words.text[length - 1 :] == words.text[:count]
    return hashes[within], np.flatnonzero(within)


def words_of(text: str) -> list[str]:
    """The normalised words themselves: `words_of("The cat’s — 12 hats, 月落")` is the cats 12 hats 月 落."""
    normalised = _normalised(text)
    _, starts, ends = _word_spans(normalised)
    return [normalised[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def _normalised(text: str) -> str:
    text = text.lower()
    for character in _LEFT_OUT if not text.isascii() else "'":
        if character in text:
            text = text.replace(character, "")
    return text


def _batches(texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """The number of a batch's first text, and the texts; a long text comes in pieces, each a batch of its own."""
    first, size = 0, 0
    for number, text in enumerate(texts):
        if number > first and size + len(text) > BATCH_CHARACTERS:
            yield first, list(texts[first:number])
            first, size = number, 0
        if len(text) > BATCH_CHARACTERS:
            for piece in _pieces(text):
                yield number, [piece]
            first, size = number + 1, 0
            continue
        size += len(text) + 1
    if first < len(texts):
        yield first, list(texts[first:])


def _pieces(text: str) -> Iterator[str]:
    """Cuts at the last white space of a batch's length; a word longer than that is cut wherever it has to be."""
    start = 0
    while start < len(text):
        end = start + BATCH_CHARACTERS
        if end < len(text):
            end = max(text.rfind(" ", start + 1, end), text.rfind("\n", start + 1, end), 0) or end
        yield text[start:end]
        start = end


def _word_spans(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Code points of the text, and where its words start and end."""
    if text.isascii():
        codes = np.frombuffer(text.encode("ascii"), dtype=np.uint8)
    else:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    classes = _tables()[0][codes]
    in_word = np.zeros(codes.size + 2, dtype=bool)
    in_word[1:-1] = classes == _WORD
    alone = classes == _ALONE
    starts = np.flatnonzero((in_word[1:-1] & ~in_word[:-2]) | alone)
    ends = np.flatnonzero((in_word[1:-1] & ~in_word[2:]) | alone) + 1
    return codes, starts, ends


@lru_cache(maxsize=1)
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """For every code point its class, uint8, and a random-looking odd value, uint64."""
    classes = np.full(_NUM_CODES, _GAP, dtype=np.uint8)
    for code in range(_NUM_CLASSIFIED):
        if unicodedata.category(chr(code))[0] in "LNM":
            classes[code] = _WORD
    for first, last in _WITHOUT_SPACES:
        span = classes[first : last + 1]
        span[span == _WORD] = _ALONE
    values = _mixed(np.arange(1, _NUM_CODES + 1, dtype=np.uint64)) | np.uint64(1)
    return classes, values


def _capacity(size: int) -> int:
    """The next power of two, so that tables are made for few sizes."""
    return max(1 << 12, 1 << (size - 1).bit_length())


@lru_cache(maxsize=8)
def _powers(base: int, capacity: int) -> tuple[np.ndarray, np.ndarray]:
    """base**i and base**-i modulo 2**64, for i below `capacity`."""

    def powers(of: int) -> np.ndarray:
        factors = np.full(capacity, of, dtype=np.uint64)
        factors[0] = 1
        return np.cumprod(factors, dtype=np.uint64)

    return powers(base), powers(pow(base, -1, 1 << 64))


def _prefix_sums(values: np.ndarray) -> np.ndarray:
    sums = np.zeros(values.size + 1, dtype=np.uint64)
    np.cumsum(values, out=sums[1:])
    return sums


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014): a bijection that spreads every bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = values ^ (values >> np.uint64(31))
    return mixed
