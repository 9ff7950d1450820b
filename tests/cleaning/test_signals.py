"""Signals against values counted by hand, and against Python's own counting."""

from __future__ import annotations

import unicodedata

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cleaning.signals import count_letters, measure
from pipeline.cleaning.text import clean_text


def test_texts_counted_by_hand() -> None:
    signals = measure(["a b\na b\n\n1", "春眠不覺曉，\n處處聞啼鳥。", ""], ["en", "", "en"])
    assert signals["num_characters"].tolist() == [10, 13, 0]
    assert signals["num_words"].tolist() == [5, 2, 0]
    assert signals["num_lines"].tolist() == [4, 2, 0]
    assert signals["letter_fraction"] == pytest.approx([4 / 10, 10 / 13, 0])
    assert signals["duplicate_line_fraction"] == pytest.approx([1 / 3, 0, 0])


@given(st.text(max_size=50))
def test_words_are_those_of_python(text: str) -> None:
    cleaned = clean_text(text).text
    (num_words,) = measure([cleaned], ["en"])["num_words"]
    assert num_words == len(cleaned.split())


def test_white_space_letters_and_symbols_are_those_of_python() -> None:
    """Over all of Unicode, but what Python's own tables do not know yet."""
    characters = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cs", "Cn")]
    column = pa.array(characters)
    assert pc.match_substring_regex(column, r"\pL").to_pylist() == [character.isalpha() for character in characters]
    symbols = [unicodedata.category(character)[0] in "PS" for character in characters]
    assert pc.match_substring_regex(column, r"^[\pP\pS]+$").to_pylist() == symbols
    between = pc.utf8_split_whitespace(pa.array([f"a{character}b" for character in characters]))
    assert pc.list_value_length(between).to_pylist() == [1 + character.isspace() for character in characters]


@given(st.text(max_size=50))
def test_letters_are_those_of_unicode(text: str) -> None:
    assert count_letters(text) == sum(unicodedata.category(character)[0] in "LM" for character in text)
