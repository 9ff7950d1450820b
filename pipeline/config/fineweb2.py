"""FineWeb-2's filter settings by language: thresholds, stop words, and what parts words.

fineweb2.tsv beside this holds a row a language. Its figures and stop words are those of configs/<published_as>.yml in
github.com/huggingface/fineweb-2 at `revision`, as read on 2026-11-27 (Penedo et al. 2025). `marks` are those that part
words where languages differ, as the splitters do for which the figures were found (spaCy 3.8 and the Indic NLP library,
as datatrove 0.10.1 assigns them): `-`, `/` and `:` between letters, `'` after an elided word, `.` after a number.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

TABLE = Path(__file__).with_name("fineweb2.tsv")

THRESHOLDS: dict[str, float | None] = {
    "min_words": 50,
    "max_words": 100_000,
    "min_mean_word_length": None,
    "max_mean_word_length": None,
    "max_hashes_per_word": 0.1,
    "max_ellipses_per_word": 0.1,
    "max_bullet_line_fraction": 0.9,
    "max_ellipsis_line_fraction": 0.3,
    "min_alphabetic_word_fraction": None,
    "min_stop_words": 2,
    "max_line_repeat_fraction": None,
    **{f"max_top_{n}_gram_fraction": None for n in range(2, 5)},
    **{f"max_duplicate_{n}_gram_fraction": None for n in range(5, 11)},
    "min_terminal_line_fraction": None,
    "max_filled_line_repeat_character_fraction": 0.1,
    "max_newlines_per_word": None,
}
"""Threshold -> what it is in every language, or None where each has its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageSettings:
    """One row of the table."""

    published_as: str
    """Language and script by ISO 639-3 and 15924."""
    marks: str
    """Which of `-/:'.` part words."""
    thresholds: Mapping[str, float]
    """All of THRESHOLDS."""
    stop_words: tuple[str, ...]


@lru_cache(maxsize=1)
def fineweb2() -> dict[str, LanguageSettings]:
    """ISO 639-1 code -> settings."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {
            row["language"]: LanguageSettings(
                published_as=row["published_as"],
                marks=row["marks"],
                thresholds={name: float(row[name]) if value is None else value for name, value in THRESHOLDS.items()},
                stop_words=tuple(row["stop_words"].split(" ")),
            )
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        }
