"""Signals of lines against values counted by hand."""

from __future__ import annotations

import pytest

from pipeline.cleaning.signals import measure


def _measure(text: str) -> dict[str, float]:
    return {name: values[0] for name, values in measure([text], ["en"]).items()}


def test_lines_and_paragraphs_counted_by_hand() -> None:
    """12 characters: paragraphs "ab.", "cd", "ab."; the third repeats 3 characters, and so does the third line."""
    signals = _measure("ab.\n\ncd\n\nab.")
    assert signals["paragraph_repeat_fraction"] == pytest.approx(1 / 3)
    assert signals["paragraph_repeat_character_fraction"] == pytest.approx(3 / 12)
    assert signals["line_repeat_character_fraction"] == pytest.approx(3 / 12)
    assert signals["filled_line_repeat_character_fraction"] == pytest.approx(3 / 8)
    assert signals["terminal_line_fraction"] == pytest.approx(2 / 3)
    assert signals["newlines_per_word"] == pytest.approx(4 / 3)


def test_lines_that_c4_removes() -> None:
    """Two of five lines stay: one has two words, one asks for JavaScript, one is a policy; 3 sentences are left."""
    signals = _measure(
        "Too short\nPlease enable JavaScript now.\nRead our privacy policy here.\nIt is late. We go home.\nA { b c"
    )
    assert signals["c4_removed_line_fraction"] == pytest.approx(3 / 5)
    assert signals["c4_sentences"] == 3
    assert signals["c4_curly_bracket_lines"] == 1


def test_bullets_and_ellipses() -> None:
    signals = _measure("- one\n  • two ...\nthree…\nfour")
    assert (signals["bullet_line_fraction"], signals["ellipsis_line_fraction"]) == (0.5, 0.5)


def test_nothing_is_zero() -> None:
    assert set(_measure("").values()) == {0}
