"""Which pairs a corpus keeps, and what of them must stay on one side of a split."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from pipeline.config.sections import Section

LanguageCode = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]


class PairsConfig(Section):
    """Rules for documents with a target; a document without one is rejected where this section is there."""

    min_length_ratio: Annotated[float, Field(gt=0)] | None = None
    """Characters of the target per character of the text, at least: less is half a translation. Null: any."""
    max_length_ratio: Annotated[float, Field(gt=0)] | None = None
    """At most."""
    languages: tuple[LanguageCode, ...] = ()
    """ISO 639-1 codes of the text; empty allows all."""
    target_languages: tuple[LanguageCode, ...] = ()
    """ISO 639-1 codes of the target."""
    sure: Annotated[float, Field(ge=0, le=1)] = 0.9
    """A side is in a wrong language where that language was told with at least this confidence; of sentences too short to tell,
    both sides are believed."""
    max_target_characters: Annotated[int, Field(ge=1)] | None = None
    """A longer target is a reject."""
    max_target_repeats: Annotated[int, Field(ge=1)] | None = None
    """Of the pairs of the training split with one target, such as `Yes.`, so many are kept. Null: all."""
    joined_by: Literal["either", "text", "target", "group"] = "either"
    """Pairs that share this are in one split: the same text or target, whatever its case and punctuation. What a reader says
    belongs together (the turns of a conversation, the questions of a context) always is; `group` looks at that alone. Short
    answers that many pairs share join nearly all of them: then write `text`."""

    @model_validator(mode="after")
    def _a_range(self) -> PairsConfig:
        low, high = self.min_length_ratio, self.max_length_ratio
        if low is not None and high is not None and low > high:
            raise ValueError("has min_length_ratio above max_length_ratio. Swap them")
        return self
