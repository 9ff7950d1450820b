"""How a language model is asked for its training text."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.sections import Section


class ByHeartConfig(Section):
    """The model goes on from the beginnings of documents, always with the likeliest token, and what it writes is compared with
    what stands there: those it gives back word for word can be extracted (Carlini et al. 2023, arXiv 2202.07646)."""

    documents: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Of the training split, spread over its files, and as many of the test split beside them, which no training has read."""
    prompt_tokens: Annotated[int, Field(ge=1, le=100_000)] = 50
    """The beginning that the model reads."""
    continuation_tokens: Annotated[int, Field(ge=1, le=100_000)] = 50
    """What has to follow. Documents with fewer tokens than both together are passed over."""
