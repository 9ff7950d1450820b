"""One rule of a corpus, as SQL over the columns of clean documents."""

from __future__ import annotations

from dataclasses import dataclass

RuleValue = float | str | list[str] | list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One reason for a reject."""

    reason: str
    broken: str
    """SQL condition with the parameters of `values`."""
    detail: str
    """SQL text expression with the same parameters."""
    values: dict[str, RuleValue]
    value: str = "NULL::DOUBLE"
    """SQL number: what is compared; null where it is no number."""
    threshold: str = "NULL::DOUBLE"
    """SQL number: with what."""
