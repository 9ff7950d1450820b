"""Cleaning removes what no reader sees and keeps what one does."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cleaning.text import _CONTROL, _INVISIBLE, _OTHER_LINE_ENDS, _has_odd, clean_text, clean_title


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("Cafe\u0301", "Café"),
        ("a\r\nb\rc\u2028d\x0ce", "a\nb\nc\nd\ne"),
        ("Wait\x85", "Wait…"),
        ("a\x00b\x07c\x1b[0m\x7f", "abc[0m"),
        ("\ufeffa\ufeffb", "ab"),
        ("can\xaddi\xadda\xadture", "candidature"),
        ("a \t \nb\u3000\n", "a\nb"),
        ("a\n\n\n\n\n\nb", "a\n\n\nb"),
        ("a\n\n\nb", "a\n\n\nb"),
        ("a\n \n\t\n \n \nb", "a\n\n\nb"),
        ("def f():\n    return\t1", "def f():\n    return\t1"),
        ("    indented first line", "    indented first line"),
        ("\n\na\n\n", "a"),
        ("two  spaces", "two  spaces"),
        ("«Ｆｕｌｌ ｗｉｄｔｈ», “quotes”, ﬁ, &lt;", "«Ｆｕｌｌ ｗｉｄｔｈ», “quotes”, ﬁ, &lt;"),
        ("می\u200cخواهم 👨\u200d👩", "می\u200cخواهم 👨\u200d👩"),
        ("\x00 \n\ufeff", ""),
    ],
)
def test_what_goes_and_what_stays(raw: str, cleaned: str) -> None:
    assert clean_text(raw).text == cleaned


@given(st.text(max_size=200))
def test_the_result_is_plain(raw: str) -> None:
    text = clean_text(raw).text
    assert text == unicodedata.normalize("NFC", text)
    assert "\n\n\n\n" not in text
    assert all(line == line.rstrip() for line in text.split("\n"))
    assert not [c for c in text if unicodedata.category(c) == "Cc" and c not in "\n\t"]


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("C", "Z", "M")), max_size=100))
def test_visible_text_only_changes_by_normalisation_or_repair(raw: str) -> None:
    cleaned = clean_text(raw)
    assert cleaned.repaired or cleaned.text == unicodedata.normalize("NFC", raw)


def test_control_and_replacement_characters_are_counted() -> None:
    assert clean_text("a\x00\x01\ufffdb\n\tc").num_unreadable == 3


def test_megabytes_of_blanks_take_linear_time() -> None:
    started = time.process_time()
    assert clean_text("a" + " " * 3_000_000 + "b" + "\n" * 3_000_000 + "c").text.endswith("b\n\n\nc")
    assert time.process_time() - started < 2


def test_a_title_is_one_line_or_none() -> None:
    assert clean_title(" Chapter\r\n  I\x00 ") == "Chapter I"
    assert clean_title(" \n") is None
    assert clean_title(None) is None


@pytest.mark.slow
def test_the_gate_lets_through_whatever_a_pass_would_change() -> None:
    """Over all of Unicode: what the one look passes over, none of the three passes matches."""
    for code in (*range(0xD800), *range(0xE000, 0x110000)):
        character = chr(code)
        if not _has_odd(character):
            assert not any(pattern.match(character) for pattern in (_OTHER_LINE_ENDS, _INVISIBLE, _CONTROL))
