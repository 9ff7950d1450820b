"""Quality rules as SQL over the signal columns of clean documents.

In: the thresholds in force, and conditions of the user's own. Out: for each rule a condition that is true for what is
rejected and a text with the value and the threshold. A document that breaks several rules is rejected by the first.
Thresholds are bound as parameters, and compared in the column's own precision, so that a value at the threshold is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from pipeline.config import CorpusConfig
from pipeline.config.columns import SIGNAL_COUNTS, SIGNAL_FRACTIONS
from pipeline.config.custom_rules import parse_rule
from pipeline.config.quality import EVERY_LANGUAGE
from pipeline.corpus.pair_rules import pair_rules
from pipeline.corpus.rule import Rule, RuleValue

_SIGNALS = {
    "characters": ("num_characters", "BIGINT", "%.0f characters"),
    "letter_fraction": ("letter_fraction", "FLOAT", "letter fraction %.6g"),
    "duplicate_line_fraction": ("duplicate_line_fraction", "FLOAT", "duplicate line fraction %.6g"),
    "words": ("num_word_tokens", "BIGINT", "%.0f words"),
    **{name: (name, "BIGINT", f"{name.replace('_', ' ')} %.0f") for name in SIGNAL_COUNTS},
    **{name: (name, "FLOAT", f"{name.replace('_', ' ')} %.6g") for name in SIGNAL_FRACTIONS},
}
"""What follows `min_` or `max_` in a threshold's name -> the signal it bounds, its type, and how its value reads."""

CUSTOM = "reject_when"
"""What the reasons of custom rules begin with."""

JUDGED = """
CREATE TABLE judged AS
SELECT filename, file_row_number, id, source, path, "index", text_hash, num_bytes,
       {reason} AS rule, {detail} AS rule_detail, {value} AS value, {threshold} AS threshold
FROM read_parquet($files, filename = true, file_row_number = true, hive_partitioning = false)
"""

_EVERY_ROW = "SELECT * FROM read_parquet($files, hive_partitioning = false)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unjudged:
    """Documents that a rule set was not written for: their number in one language."""

    rule_set: str
    language: str
    documents: int


def column_of(signal: str) -> tuple[str, str]:
    """The column of a signal as thresholds name it, and its SQL type."""
    if signal == "language_confidence":
        return signal, "FLOAT"
    column, kind, _ = _SIGNALS[signal]
    return column, kind


def rules_of(config: CorpusConfig) -> list[Rule]:
    """The rules of a corpus, in the order in which they are tried."""
    quality = config.quality
    rules = []
    for number, (name, limits) in enumerate(quality.thresholds().items()):
        bound, _, signal = name.partition(".")[2].partition("_")
        column, kind, reads = _SIGNALS[signal]
        limit, values = _limit(f"threshold_{number}", limits)
        sign, words = ("<", "at least") if bound == "min" else (">", "at most")
        where = " || ' in ' || language" if len(limits) > 1 else ""
        rules.append(
            Rule(
                reason=name,
                broken=f"{column} {sign} {limit}::{'FLOAT' if kind == 'FLOAT' else 'DOUBLE'}",
                detail=f"printf('{reads}, {words} %.10g', {column}::DOUBLE, {limit}::DOUBLE){where}",
                values=values,
                value=f"{column}::DOUBLE",
                threshold=f"{limit}::DOUBLE",
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
                broken="language_confidence < $confidence::FLOAT",
                detail="printf('confidence %.6g, at least %.10g', language_confidence::DOUBLE, $confidence::DOUBLE)",
                values={"confidence": quality.min_language_confidence},
                value="language_confidence::DOUBLE",
                threshold="$confidence::DOUBLE",
            )
        )
    if config.pairs is not None:
        rules = [*pair_rules(config.pairs), *rules]
    return rules + [_custom_rule(name, condition) for name, condition in quality.reject_when.items()]


def _limit(parameter: str, limits: Mapping[str, float]) -> tuple[str, dict[str, RuleValue]]:
    """SQL of the limit for a document's language, null where it has none, and the parameters."""
    if EVERY_LANGUAGE in limits:
        return f"${parameter}", {parameter: limits[EVERY_LANGUAGE]}
    known = f"{parameter}_languages"
    return (
        f"list_extract(${parameter}, list_position(${known}, language))",
        {parameter: list(map(float, limits.values())), known: list(limits)},
    )


def _custom_rule(name: str, condition: str) -> Rule:
    parsed = parse_rule(condition)
    reason, detail = f"{CUSTOM}.{name}", f"custom_{name}"
    if parsed.column is None or parsed.threshold is None:
        return Rule(reason=reason, broken=parsed.sql, detail=f"${detail}", values={detail: parsed.sql})
    column = f'"{parsed.column}"'
    return Rule(
        reason=reason,
        broken=parsed.sql,
        detail=f"${detail} || ', and it is ' || {column}",
        values={detail: parsed.sql, f"{detail}_limit": parsed.threshold},
        value=f"{column}::DOUBLE",
        threshold=f"${detail}_limit::DOUBLE",
    )


def failing(connection: duckdb.DuckDBPyConnection, config: CorpusConfig, files: list[str]) -> str:
    """The first condition of the user's own that fails when it is computed alone."""
    for name, condition in config.quality.reject_when.items():
        try:
            connection.sql(_EVERY_ROW, params={"files": files}).filter(condition).fetchall()
        except duckdb.DataError:
            return f"{CUSTOM}.{name}"
    return CUSTOM


def judging(rules: list[Rule]) -> tuple[str, dict[str, Any]]:
    """The statement that makes `judged`, and its parameters beside $files."""

    def first_broken(texts: list[str]) -> str:
        cases = " ".join(f"WHEN {rule.broken} THEN {text}" for rule, text in zip(rules, texts, strict=True))
        return f"CASE {cases} END" if cases else "NULL"

    statement = JUDGED.format(
        reason=first_broken([f"'{rule.reason}'" for rule in rules]) + "::VARCHAR",
        detail=first_broken([rule.detail for rule in rules]) + "::VARCHAR",
        value=first_broken([rule.value for rule in rules]) + "::DOUBLE",
        threshold=first_broken([rule.threshold for rule in rules]) + "::DOUBLE",
    )
    values: dict[str, Any] = {}
    for rule in rules:
        values |= rule.values
    return statement, values
