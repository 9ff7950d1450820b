"""Which documents a corpus keeps: the published rule sets with their thresholds, and rules of the user's own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from pipeline.config.custom_rules import parse_rule
from pipeline.config.fineweb2 import THRESHOLDS, fineweb2
from pipeline.config.sections import Name, Section

RULES: dict[str, dict[str, float | None]] = {
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
    "fineweb2": THRESHOLDS,
}
"""Rule set -> threshold -> default, or None where each language has its own (fineweb2.tsv). `min_*` keeps what is at least,
`max_*` what is at most."""

EVERY_LANGUAGE = "*"
ENGLISH_RULES = frozenset({"gopher", "gopher_repetition", "c4", "fineweb"})
"""Written for English alone."""


def languages_of(rule_set: str) -> tuple[str, ...]:
    """The languages that a rule set judges, or EVERY_LANGUAGE alone; a document of another is not judged by it."""
    if rule_set in ENGLISH_RULES:
        return ("en",)
    return tuple(fineweb2()) if rule_set == "fineweb2" else (EVERY_LANGUAGE,)


CustomRule = Annotated[
    str, StringConstraints(min_length=1, max_length=2000), AfterValidator(lambda text: parse_rule(text).sql)
]


class QualityConfig(Section):
    """Which documents are kept."""

    rules: tuple[Literal["basic", "gopher", "gopher_repetition", "c4", "fineweb", "fineweb2"], ...] = ("basic",)
    """Named rule sets. `basic` judges every document; `fineweb2` each by the thresholds and stop words that FineWeb-2 has
    for its language, in the languages of [this table](../pipeline/config/fineweb2.tsv); the others English ones."""
    overrides: dict[str, float] = {}
    """Threshold by `ruleset.threshold`, such as `basic.min_characters: 200`; of `fineweb2` for all its languages, or for
    one, such as `fineweb2.de.min_words: 20`."""
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
        of_one = "fineweb2" in self.rules
        for key in self.overrides:
            rule, _, rest = key.partition(".")
            language, _, threshold = rest.partition(".")
            for_one = of_one and rule == "fineweb2" and language in fineweb2() and threshold in THRESHOLDS
            if key not in known and not for_one:
                hint = ", each also for one language, such as fineweb2.de.min_words" if of_one else ""
                raise ValueError(f"overrides {key!r}, which no chosen rule set has. Known: {', '.join(known)}{hint}")
        return self

    def thresholds(self) -> dict[str, dict[str, float]]:
        """Every threshold in force: `ruleset.threshold` -> language, or EVERY_LANGUAGE -> limit."""
        return {
            f"{rule}.{key}": {language: self._limit(rule, language, key, default) for language in languages_of(rule)}
            for rule in self.rules
            for key, default in RULES[rule].items()
        }

    def _limit(self, rule: str, language: str, key: str, default: float | None) -> float:
        """What is set for the language, else for all, else the default."""
        for name in (f"{rule}.{language}.{key}", f"{rule}.{key}"):
            if name in self.overrides:
                return self.overrides[name]
        return fineweb2()[language].thresholds[key] if default is None else default
