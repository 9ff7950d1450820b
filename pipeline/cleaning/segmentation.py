"""Words as the splitters find them that FineWeb-2's thresholds assume: Chinese by rjieba, marks as words of their own.

Chinese, which puts no white space between words, is cut before words are split at it (`space_words`). In the other
languages of FineWeb-2's table the marks are taken off afterwards (`part_words`), once for each distinct word: at its edges
all but those that names, paths and options are made of, and between letters those that the table names. Addresses stay.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.config.fineweb2 import fineweb2

Integers = NDArray[np.int64]

SEGMENTED_LANGUAGES = frozenset({"zh"})

_HAS_MARK = r"[\pP\pS]"
_JOINERS = frozenset("-/\\@|^+~")
"""Marks that stay at a word's edge."""
_RUN = re.compile(r"\.{2,}|.", re.DOTALL)
"""Dots in a row are one mark."""
_LETTER = r"[^\W\d_]"
_ELISION = re.compile(rf"(?<={_LETTER}['’])(?={_LETTER})")


@lru_cache(maxsize=1)
def _segmenter() -> Any:
    """With its dictionary of 350,000 words, which takes a quarter of a second to load."""
    import rjieba

    return rjieba


def space_words(lines: pa.StringArray, chosen: NDArray[np.bool_]) -> pa.StringArray:
    """The lines; in the chosen ones one space stands between words.

    "我来到北京清华大学" -> "我 来到 北京 清华大学"
    """
    if not chosen.any():
        return lines
    cut = _segmenter().cut
    texts = lines.to_pylist()
    for index in np.flatnonzero(chosen).tolist():
        texts[index] = " ".join(word for word in cut(texts[index]) if not word.isspace())
    return pa.array(texts, pa.string())


def part_words(
    words: Integers, texts: Integers, vocabulary: pa.StringArray, languages: Sequence[str]
) -> tuple[Integers, pa.StringArray, Integers] | None:
    """The words and marks, their vocabulary, and of how many each word was made; None if nothing is to be parted.

    `words` are numbers in `vocabulary`, `texts` says which text each is of, and `languages` in which each text is.
    """
    kinds: dict[str | None, int] = {None: 0}
    kind_of_text = np.array(
        [kinds.setdefault(_marks_of(language), len(kinds)) for language in languages], dtype=np.int64
    )
    if len(kinds) == 1:
        return None
    kind_of_word = kind_of_text[texts]
    occurs = np.zeros((len(kinds), len(vocabulary)), dtype=bool)
    occurs[kind_of_word, words] = True
    occurs &= pc.match_substring_regex(vocabulary, _HAS_MARK).to_numpy(zero_copy_only=False)
    # a word's pieces stand together in a row of strings that begins with the vocabulary: an unparted word is its own
    begins = np.tile(np.arange(len(vocabulary)), (len(kinds), 1))
    counts = np.ones_like(begins)
    added: list[str] = []
    for marks, kind in kinds.items():
        if marks is None:
            continue
        numbers = np.flatnonzero(occurs[kind])
        for number, word in zip(numbers.tolist(), vocabulary.take(pa.array(numbers)).to_pylist(), strict=True):
            pieces = pieces_of(word, marks)
            if len(pieces) > 1:
                begins[kind, number], counts[kind, number] = len(vocabulary) + len(added), len(pieces)
                added += pieces
    strings = pa.concat_arrays([vocabulary, pa.array(added, pa.string())]).dictionary_encode()
    num_pieces = counts[kind_of_word, words]
    offsets = np.cumsum(num_pieces) - num_pieces
    places = np.repeat(begins[kind_of_word, words] - offsets, num_pieces) + np.arange(num_pieces.sum())
    return strings.indices.to_numpy().astype(np.int64)[places], strings.dictionary, num_pieces


def pieces_of(word: str, marks: str) -> list[str]:
    """A word without white space as its parts: marks at its edges, and what those in `marks` part.

    ("(l'homme-là),", "'") -> ["(", "l'", "homme-là", ")", ","]
    """
    if len(word) > 2 and word[:-1].isalpha():  # most are a word and one mark
        return [word[:-1], word[-1]] if _is_mark(word[-1]) else [word]
    start, stop = 0, len(word)
    while start < stop and _is_mark(word[start]):
        start += 1
    while stop > start and _is_mark(word[stop - 1]):
        stop -= 1
    core = word[start:stop]
    if core and word[stop : stop + 1] == "." and _keeps_dot(core, marks):
        core += "."
        stop += 1
    pieces = _RUN.findall(word[:start]) if start else []
    if core.isalpha():
        pieces.append(core)
    elif core:
        inner = [core] if "://" in core else _inner(marks).split(core)
        pieces += [part for piece in inner for part in _ELISION.split(piece)] if "'" in marks else inner
    if stop < len(word):
        pieces += _RUN.findall(word[stop:])
    return pieces


def _is_mark(character: str) -> bool:
    return not character.isalnum() and unicodedata.category(character)[0] in "PS" and character not in _JOINERS


def _keeps_dot(core: str, marks: str) -> bool:
    """Initials keep it everywhere, numbers where it makes ordinals of them."""
    return (len(core) == 1 and core.isupper()) or ("." not in marks and core[-1].isdigit())


@lru_cache(maxsize=16)
def _inner(marks: str) -> re.Pattern[str]:
    """The marks that part two letters, as words of their own."""
    parting = ",<>=" + "".join(mark for mark in marks if mark in "/:") + ("–—-" if "-" in marks else "")
    return re.compile(rf"(?<={_LETTER})([{re.escape(parting)}])(?={_LETTER})")


def _marks_of(language: str) -> str | None:
    """None where marks stay with their words."""
    settings = None if language in SEGMENTED_LANGUAGES else fineweb2().get(language)
    return None if settings is None else settings.marks
