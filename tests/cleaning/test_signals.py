"""Signals against values counted by hand, and against Python's own counting."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cleaning.signals import count_letters, measure


def test_a_text_counted_by_hand() -> None:
    signals = measure("a b\na b\n\n1")
    assert (signals.num_characters, signals.num_words, signals.num_lines) == (10, 5, 4)
    assert signals.letter_fraction == pytest.approx(4 / 10)
    assert signals.duplicate_line_fraction == pytest.approx(1 / 3)


def test_chinese_counted_by_hand() -> None:
    signals = measure("春眠不覺曉，\n處處聞啼鳥。")
    assert (signals.num_characters, signals.num_words, signals.num_lines) == (13, 2, 2)
    assert signals.letter_fraction == pytest.approx(10 / 13)


def test_nothing_is_zero() -> None:
    signals = measure("")
    assert (signals.num_characters, signals.num_words, signals.num_lines) == (0, 0, 0)
    assert (signals.letter_fraction, signals.duplicate_line_fraction) == (0, 0)


@given(st.text(max_size=50))
def test_letters_are_those_of_unicode(text: str) -> None:
    assert count_letters(text) == sum(unicodedata.category(character)[0] in "LM" for character in text)
