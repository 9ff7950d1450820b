"""Words of any script, and sentences: what word metrics count.

Scripts without spaces (Han, kana) are cut into characters, all others into runs of letters and digits.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_UNSPACED_CHARACTER = re.compile(f"[{_UNSPACED}]")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*|\n+")


def words(text: str) -> list[str]:
    """Lower-cased words without punctuation.

    >>> words("Don't stop: 春望!")
    ['don', 't', 'stop', '春', '望']
    """
    return _WORD.findall(text.lower())


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
