"""Repeated n-grams against values counted by hand and against a plain count of joined strings."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cleaning.signals import measure
from pipeline.cleaning.signals_repetition import repeated_ngrams


def test_ngrams_counted_by_hand() -> None:
    """ "a b" occurs 3 times with 3 characters in 11; five words twice are 5 of 19 characters."""
    columns = measure(["a b a b a b", "a b c d e a b c d e"], ["en", "en"])
    assert columns["top_2_gram_fraction"] == pytest.approx([9 / 11, 6 / 19])
    assert columns["top_4_gram_fraction"] == pytest.approx([14 / 11, 14 / 19])
    assert columns["duplicate_5_gram_fraction"] == pytest.approx([0, 5 / 19])
    assert columns["duplicate_6_gram_fraction"] == pytest.approx([0, 0])


def test_gopher_quality_counted_by_hand() -> None:
    """Of 9 words "-" and "#" are symbols; the other 7 have 27 characters and a letter each; 4 of them are stop words."""
    columns = measure(["- the cat, walks to be\n# with me..."], ["en"])
    assert columns["num_word_tokens"].tolist() == [7]
    assert columns["mean_word_length"] == pytest.approx([(3 + 4 + 5 + 2 + 2 + 4 + 5) / 7])
    assert columns["hashes_per_word"] == pytest.approx([1 / 9])
    assert columns["ellipses_per_word"] == pytest.approx([1 / 9])
    assert columns["alphabetic_word_fraction"] == pytest.approx([7 / 9])
    assert columns["stop_words"].tolist() == [4]


def test_chinese_words_are_those_of_the_segmenter() -> None:
    """The example of jieba's own documentation: 我 来到 北京 清华大学; a full stop is a symbol, 是 and 的 are stop words."""
    columns = measure(["我来到北京清华大学。", "a b", "我来到北京清华大学。\n是我的"], ["zh", "en", "zh"])
    assert columns["num_words"].tolist() == [5, 2, 8]
    assert columns["num_word_tokens"].tolist() == [4, 2, 7]
    assert columns["mean_word_length"][:2] == pytest.approx([9 / 4, 1])
    assert columns["stop_words"].tolist() == [0, 0, 2]
    assert columns["num_characters"].tolist() == [10, 3, 14]


def test_nothing_is_zero() -> None:
    assert all(np.all(values == 0) for values in measure([""], ["zh"]).values())


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=60), min_size=1, max_size=4))
def test_any_text_as_joined_strings_say(texts: list[list[str]]) -> None:
    columns = measure([" ".join(words) for words in texts], ["en"] * len(texts))
    for document, words in enumerate(texts):
        characters = max(2 * len(words) - 1, 1)
        for n in (2, 3, 4):
            grams = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
            expected = max(grams.values(), default=0) * (2 * n - 1) / characters
            assert columns[f"top_{n}_gram_fraction"][document] == pytest.approx(expected)
        for n in range(5, 11):
            assert columns[f"duplicate_{n}_gram_fraction"][document] == pytest.approx(_plain(words, n) / characters)


def test_numbers_too_large_for_one_key_give_the_same() -> None:
    rng = np.random.default_rng(0)
    words, lengths = rng.integers(0, 3, 200), np.ones(200, dtype=np.int64)
    documents, characters = np.zeros(200, dtype=np.int64), np.array([399])
    small = repeated_ngrams(words, lengths, documents, characters)
    large = repeated_ngrams(words + 2**31 - 4, lengths, documents, characters)
    assert small == large
    assert small["duplicate_5_gram_fraction"] > 0


def _plain(words: list[str], n: int) -> int:
    seen: set[str] = set()
    total = index = 0
    while index <= len(words) - n:
        gram = "".join(words[index : index + n])
        if gram in seen:
            total += n
            index += n
        else:
            seen.add(gram)
            index += 1
    return total
