"""Which documents a corpus keeps: the published rule sets with their thresholds, and rules of the user's own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from pipeline.config.custom_rules import parse_rule
from pipeline.config.sections import Name, Section

RULES: dict[str, dict[str, float]] = {
    "basic": {
        "min_characters": 1,
        "max_characters": 10_000_000,
        "min_letter_fraction": 0.3,
        "max_duplicate_line_fraction": 0.7,
    },
    "gopher": {
        "min_words": 50,
        "max_words": 100_000,
        "min_mean_word_length": 3,
        "max_mean_word_length": 10,
        "max_hashes_per_word": 0.1,
        "max_ellipses_per_word": 0.1,
        "max_bullet_line_fraction": 0.9,
        "max_ellipsis_line_fraction": 0.3,
        "min_alphabetic_word_fraction": 0.8,
        "min_stop_words": 2,
    },
    "gopher_repetition": {
        "max_paragraph_repeat_fraction": 0.3,
        "max_paragraph_repeat_character_fraction": 0.2,
        "max_line_repeat_fraction": 0.3,
        "max_line_repeat_character_fraction": 0.2,
        "max_top_2_gram_fraction": 0.2,
        "max_top_3_gram_fraction": 0.18,
        "max_top_4_gram_fraction": 0.16,
        "max_duplicate_5_gram_fraction": 0.15,
        "max_duplicate_6_gram_fraction": 0.14,
        "max_duplicate_7_gram_fraction": 0.13,
        "max_duplicate_8_gram_fraction": 0.12,
        "max_duplicate_9_gram_fraction": 0.11,
        "max_duplicate_10_gram_fraction": 0.1,
    },
    "c4": {"min_c4_sentences": 5, "max_c4_curly_bracket_lines": 0, "max_c4_lorem_ipsum_lines": 0},
    "fineweb": {
        "min_terminal_line_fraction": 0.12,
        "max_short_line_fraction": 0.67,
        "max_filled_line_repeat_character_fraction": 0.01,
        "max_newlines_per_word": 0.3,
    },
    "fineweb2_zh": {
        "min_words": 50,
        "max_words": 100_000,
        "min_mean_word_length": 1,
        "max_mean_word_length": 5,
        "max_hashes_per_word": 0.1,
        "max_ellipses_per_word": 0.1,
        "max_bullet_line_fraction": 0.9,
        "max_ellipsis_line_fraction": 0.3,
        "min_alphabetic_word_fraction": 0.735,
        "min_stop_words": 2,
        "max_line_repeat_fraction": 0.287,
        "max_top_2_gram_fraction": 0.256,
        "max_top_3_gram_fraction": 0.201,
        "max_top_4_gram_fraction": 0.171,
        "max_duplicate_5_gram_fraction": 0.198,
        "max_duplicate_6_gram_fraction": 0.182,
        "max_duplicate_7_gram_fraction": 0.167,
        "max_duplicate_8_gram_fraction": 0.154,
        "max_duplicate_9_gram_fraction": 0.14,
        "max_duplicate_10_gram_fraction": 0.127,
        "min_terminal_line_fraction": 0.106,
        "max_filled_line_repeat_character_fraction": 0.1,
        "max_newlines_per_word": 0.178,
    },
}
"""Rule set -> threshold -> default. `min_*` keeps what is at least, `max_*` what is at most."""

RULE_LANGUAGES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("gopher", "gopher_repetition", "c4", "fineweb"), ("en",)),
    "fineweb2_zh": ("zh",),
}
"""Rule set -> the languages it is written for; a document of another is not judged by it. Absent: every language."""


CustomRule = Annotated[
    str, StringConstraints(min_length=1, max_length=2000), AfterValidator(lambda text: parse_rule(text).sql)
]


class QualityConfig(Section):
    """Which documents are kept."""

    rules: tuple[Literal["basic", "gopher", "gopher_repetition", "c4", "fineweb", "fineweb2_zh"], ...] = ("basic",)
    """Named rule sets. `basic` judges every document, `fineweb2_zh` Chinese ones (with the thresholds of FineWeb-2's
    `cmn_Hani`), the others English ones."""
    overrides: dict[str, float] = {}
    """Threshold by `ruleset.threshold`, such as `basic.min_characters: 200`."""
    languages: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")], ...] = ()
    """ISO 639-1 codes to keep; empty keeps all."""
    min_language_confidence: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Of the language identification, 0 to 1."""
    reject_when: dict[Name, CustomRule] = {}
    """Rules of your own: a name, and a DuckDB condition over the columns of clean documents that is true for what is
    rejected, such as `shouting: "letter_fraction < 0.6 and language = 'en'"`. Where it is null the document is kept."""

    @model_validator(mode="after")
    def _known_thresholds(self) -> QualityConfig:
        known = [f"{rule}.{threshold}" for rule in self.rules for threshold in RULES[rule]]
        for key in self.overrides:
            if key not in known:
                raise ValueError(f"overrides {key!r}, which no chosen rule set has. Known: {', '.join(known)}")
        return self

    def thresholds(self) -> dict[str, float]:
        """Every threshold in force, by `ruleset.threshold`."""
        chosen = {f"{rule}.{key}": value for rule in self.rules for key, value in RULES[rule].items()}
        return chosen | self.overrides
