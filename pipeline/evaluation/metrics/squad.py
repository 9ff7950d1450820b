"""Exact match and F1 as SQuAD's evaluation has them (Rajpurkar et al. 2016, arXiv 1606.05250): the best of all references.

Both texts are lower-cased and lose punctuation, the articles a, an and the, and doubled white space; F1 is that of their bags
of words. Punctuation is ASCII's, as in SQuAD, its full-width forms, and whatever Unicode calls so, as in MLQA's evaluation (Lewis
et al. 2020, arXiv 1910.07475). Chinese and Japanese are compared by characters, as CMRC 2018 does (Cui et al. 2019).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np
import regex

from pipeline.evaluation.metrics.scored import Summed, mean_of

_UNSPACED = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WIDE = "".join(chr(ord(mark) + 0xFEE0) for mark in string.punctuation)
_PUNCTUATION = regex.compile(rf"[\p{{P}}{regex.escape(string.punctuation + _WIDE)}]")


def normalised_answer(text: str) -> list[str]:
    """The words that count.

    >>> normalised_answer("The  U.S. Congress!")
    ['us', 'congress']
    >>> normalised_answer("公元 1926年。")
    ['公', '元', '1926', '年']
    """
    bare = _ARTICLES.sub(" ", _PUNCTUATION.sub("", text.lower()))
    return _UNSPACED.sub(r" \1 ", bare).split()


def answer_f1(output: str, reference: str) -> float:
    """Harmonic mean of precision and recall over words, 0 to 1; an empty answer equals only another empty one."""
    given, wanted = normalised_answer(output), normalised_answer(reference)
    if not given or not wanted:
        return float(given == wanted)
    common = sum((Counter(given) & Counter(wanted)).values())
    return 2 * common / (len(given) + len(wanted))


def exact_match(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[Summed, str]:
    """Percentage of outputs equal to a reference."""
    values = [
        max(float(normalised_answer(output) == normalised_answer(reference)) for reference in group)
        for output, group in zip(outputs, references, strict=True)
    ]
    return mean_of(100 * np.array(values)), "SQuAD 1.1, unspaced scripts by characters"


def f1(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[Summed, str]:
    """Mean F1, 0 to 100."""
    values = [
        max(answer_f1(output, reference) for reference in group)
        for output, group in zip(outputs, references, strict=True)
    ]
    return mean_of(100 * np.array(values)), "SQuAD 1.1, unspaced scripts by characters"
