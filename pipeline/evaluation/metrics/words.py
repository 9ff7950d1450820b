"""Words of any script, and sentences: what word metrics count.

Scripts without spaces are cut into characters: Han and kana, and those of South East Asia (Thai, Lao, Khmer, Burmese), each
with its vowel signs and tone marks. All others are cut into runs of letters and digits with their marks, as Unicode's word
boundaries are (UAX 29), but without their exceptions for apostrophes and underscores.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import regex

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_COMPLEX = r"\p{Line_Break=Complex_Context}"
_LETTER = rf"[[\p{{L}}\p{{N}}]--[{_UNSPACED}{_COMPLEX}]]"
_WORD = regex.compile(
    rf"[{_UNSPACED}]"
    rf"|[\p{{L}}&&{_COMPLEX}]\p{{M}}*"
    # the invisible joiners shape the letters around them in Persian, Malayalam and Sinhala
    rf"|{_LETTER}(?:[\u200c\u200d]?[{_LETTER}\p{{M}}])*",
    regex.VERSION1,
)
_UNSPACED_CHARACTER = re.compile(f"[{_UNSPACED}]")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*|\n+")


def words(text: str) -> list[str]:
    """Lower-cased words without punctuation.

    >>> words("Don't stop: 春望!")
    ['don', 't', 'stop', '春', '望']
    >>> words("हिन्दी की किताब")
    ['हिन्दी', 'की', 'किताब']
    """
    return [match.group() for match in _WORD.finditer(text.lower())]


def sentences(text: str) -> list[str]:
    """Sentences, cut after marks that end one and at line ends.

    >>> sentences("It is. Is it? 是。不是。")
    ['It is.', 'Is it?', '是。', '不是。']
    """
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


def is_unspaced(texts: Iterable[str]) -> bool:
    """Whether most letters are of scripts that write no spaces."""
    joined = "".join(texts)
    letters = sum(character.isalpha() for character in joined)
    return 2 * len(_UNSPACED_CHARACTER.findall(joined)) > letters


def ngrams(items: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each run of n items occurs.

    >>> ngrams(["a", "b", "a", "b"], 2)
    Counter({('a', 'b'): 2, ('b', 'a'): 1})
    """
    return Counter(zip(*(items[start:] for start in range(n)), strict=False))
