"""Quality rules as SQL over the signal columns of clean documents.

In: the thresholds in force. Out: for each rule a condition that is true for what is rejected and a text with the value
and the threshold. A document that breaks several rules is rejected by the first. Thresholds are bound as parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.config import CorpusConfig

_COLUMNS = {
    "characters": "num_characters",
    "letter_fraction": "letter_fraction",
    "duplicate_line_fraction": "duplicate_line_fraction",
}
"""What follows `min_` or `max_` in a threshold's name -> the signal it bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One reason for a reject."""

    reason: str
    broken: str
    """SQL condition with the parameters of `values`."""
    detail: str
    """SQL text expression with the same parameters."""
    values: dict[str, float | list[str]]


def rules_of(config: CorpusConfig) -> list[Rule]:
    """The rules of a corpus, in the order in which they are tried."""
    quality = config.quality
    rules = []
    for number, (name, threshold) in enumerate(quality.thresholds().items()):
        bound, _, signal = name.partition(".")[2].partition("_")
        column, parameter = _COLUMNS[signal], f"threshold_{number}"
        sign, words = ("<", "at least") if bound == "min" else (">", "at most")
        unit = signal.replace("_", " ")
        rules.append(
            Rule(
                reason=name,
                broken=f"{column} {sign} ${parameter}",
                detail=f"printf('{unit} %.10g, {words} %.10g', {column}::DOUBLE, ${parameter}::DOUBLE)",
                values={parameter: threshold},
            )
        )
    if quality.languages:
        rules.append(
            Rule(
                reason="language",
                broken="NOT list_contains($languages, language)",
                detail="'language ' || language || ', wanted ' || array_to_string($languages, ', ')",
                values={"languages": list(quality.languages)},
            )
        )
    if quality.min_language_confidence > 0:
        rules.append(
            Rule(
                reason="language_confidence",
                broken="language_confidence < $confidence",
                detail="printf('%.6g, at least %.6g', language_confidence::DOUBLE, $confidence::DOUBLE)",
                values={"confidence": quality.min_language_confidence},
            )
        )
    return rules
