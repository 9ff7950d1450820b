"""How a model of pairs writes while it is measured, where the task's preset is not to hold."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from pipeline.config.sections import Section

_Count = Annotated[int, Field(ge=0)]


class GenerationConfig(Section):
    """What is set goes before the task's preset; who sets how tokens are drawn, and no beams, gets draws."""

    num_beams: Annotated[int, Field(ge=1)] | None = None
    """More than 1: beam search for the likeliest text; 1 takes or draws a token at a time."""
    length_penalty: Annotated[float, Field(ge=0)] | None = None
    """Beams are compared by log-probability / ((5 + length) / 6)^penalty (Wu et al. 2016, arXiv 1609.08144)."""
    temperature: Annotated[float, Field(ge=0, le=10)] | None = None
    """0 always takes the most likely token."""
    top_k: _Count | None = None
    """Only so many of the most likely tokens are drawn from; 0 is all."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Only the most likely tokens that together have this probability are drawn from."""
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None
    """Tokens of a text at most; a decoder-only model reads as many fewer of the text before it."""
    min_new_tokens: _Count | None = None
    """A text does not end before it has so many tokens."""
    no_repeat_ngram: _Count | None = None
    """No run of so many tokens stands twice in a text, such as 3 for summaries (Paulus et al. 2018, arXiv 1705.04304); 0 lets
    all."""

    @model_validator(mode="after")
    def _a_range(self) -> GenerationConfig:
        least, most = self.min_new_tokens, self.max_new_tokens
        if least is not None and most is not None and least > most:
            raise ValueError("has min_new_tokens above max_new_tokens. Swap them")
        return self

    def chosen(self) -> dict[str, Any]:
        """What is set, by name."""
        return {key: value for key in type(self).model_fields if (value := getattr(self, key)) is not None}
