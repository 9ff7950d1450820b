"""Benchmarks of the `evaluate` section: files of questions whose answers a model finds more or less likely."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.config.sections import PathText, Section

BenchmarkKind = Literal["choices", "contexts", "last_word", "minimal_pair", "lettered", "cause_effect"]


class BenchmarkConfig(Section):
    """One file of examples, a JSON object a line."""

    not_in_fingerprint: ClassVar[frozenset[str]] = frozenset({"path"})

    path: PathText
    """A JSON Lines file."""
    kind: BenchmarkKind
    """The fields of a line. `choices`: query, choices, gold (PIQA, ARC, COPA, BoolQ). `contexts`: context_options, continuation,
    gold (WinoGrande). `last_word`: context, continuation (LAMBADA). `minimal_pair`: sentence_good, sentence_bad (BLiMP).
    `lettered`: question, choices, answer as a letter (CMMLU). `cause_effect`: premise, choice1, choice2, question, label
    (XCOPA)."""
    few_shot: Annotated[int, Field(ge=0, le=64)] = 0
    """Solved examples before each question: others of the file, drawn by `seed`; where lines have a `split`, those of `dev`."""
    separator: str = " "
    """Between a question and its answer, such as `"\\nAnswer: "`."""
    max_examples: Annotated[int, Field(ge=2)] | None = None
    """The first so many; null takes all."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Which examples are shown as solved."""

    @model_validator(mode="after")
    def _has_a_prompt(self) -> BenchmarkConfig:
        if self.few_shot and self.kind == "minimal_pair":
            raise ValueError(
                f"has few_shot {self.few_shot}, but a minimal pair is two whole sentences with no question before them. "
                "Set few_shot to 0"
            )
        return self
