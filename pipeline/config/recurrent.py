"""What only recurrent language models have: averaged gradient descent, and a cache of recent states in evaluation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.sections import Section


class AveragedSgdConfig(Section):
    """Gradient descent at a constant rate, whose weights are averaged from the first validation whose loss is above the best of
    all before it but the last few: NT-ASGD (Merity et al. 2017, arXiv 1708.02182), with that paper's values."""

    learning_rate: Annotated[float, Field(gt=0, le=1000)] = 30.0
    """Of all weights, at every step."""
    gradient_clip: Annotated[float, Field(gt=0)] = 0.25
    """Largest gradient norm."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1.2e-6
    """Of all weights, added to their gradients."""
    patience: Annotated[int, Field(ge=1)] = 5
    """The last validations, which may be worse than those before them without averaging to begin; by default there are 30."""


IN_PLACE_OF = (
    "matrix_learning_rate",
    "embedding_learning_rate",
    "head_learning_rate",
    "vector_learning_rate",
    "weight_decay",
    "cautious_weight_decay",
    "schedule",
    "warmup_fraction",
    "cooldown_fraction",
    "gradient_clip",
    "ema_decay",
    "spike_sigma",
    "max_skipped_steps",
)
"""Keys of `train` that mean nothing beside `averaged_sgd`."""


class CacheConfig(Section):
    """p = (1 - weight) p_model + weight p_cache, where p_cache gives each token that followed one of the last states h_i of the
    document exp(theta h . h_i), over their sum: the continuous cache of Grave et al. 2017 (arXiv 1612.04426)."""

    tokens: Annotated[int, Field(ge=1, le=2000)] = 500
    """States remembered, of the same document."""
    theta: Annotated[float, Field(ge=0, le=100)] = 0.3
    """How much a state like the present one counts for more; 0 counts how often a token occurred."""
    weight: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Of the cache in the mixture."""
