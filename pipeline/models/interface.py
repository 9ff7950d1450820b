"""What every family answers: how likely given tokens are, how a prompt goes on, and how to save itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScores:
    """What a model thought of the tokens at positions 1..T-1, given those before each."""

    log_probabilities: Float[Tensor, "batch targets"]
    """Natural logarithms, float32."""
    ranks: Int[Tensor, "batch targets"]
    """How many tokens were more likely: 0 is the most likely one."""
    confidences: Float[Tensor, "batch targets"]
    """Probability of the most likely token, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationParameters:
    """How a continuation is drawn."""

    max_new_tokens: int = 100
    temperature: float = 0.8
    """0 takes the most likely token every time."""
    top_k: int | None = 50
    """Only the k most likely tokens; None is all."""
    top_p: float = 0.95
    """Only the most likely tokens that together have this probability (Holtzman et al. 2020, arXiv 1904.09751)."""
    seed: int = 0
    stop_ids: tuple[int, ...] = ()
    """A continuation ends before the first of these."""
    num_beams: int = 1
    """Continuations followed at once; more than 1 is beam search for the most likely one, and draws nothing."""
    length_penalty: float = 0.6
    """Beams are compared by log-probability / ((5 + length) / 6)^penalty (Wu et al. 2016, arXiv 1609.08144); 0 compares sums."""
    min_new_tokens: int = 0
    """A continuation does not end before it has so many tokens."""
    no_repeat_ngram: int = 0
    """No run of so many tokens stands twice in a continuation (Paulus et al. 2018, arXiv 1705.04304); 0 lets all."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}; it must be at least 1")
        if not self.temperature >= 0:
            raise ValueError(f"temperature is {self.temperature}; it must be 0 or more")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k is {self.top_k}; it must be at least 1, or None for all")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it must lie in (0, 1]")
        if self.num_beams < 1:
            raise ValueError(f"num_beams is {self.num_beams}; it must be at least 1")
        if not self.length_penalty >= 0:
            raise ValueError(f"length_penalty is {self.length_penalty}; it must be 0 or more")
        if not 0 <= self.min_new_tokens <= self.max_new_tokens:
            raise ValueError(f"min_new_tokens is {self.min_new_tokens}; it must lie in 0 to {self.max_new_tokens}")
        if self.no_repeat_ngram < 0:
            raise ValueError(f"no_repeat_ngram is {self.no_repeat_ngram}; it must be at least 1, or 0 for none")


class LanguageModel(Protocol):
    """A trained model."""

    @property
    def family(self) -> str: ...

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether a prompt is a source that is read whole, and what is written begins anew."""

    @property
    def context_tokens(self) -> int:
        """The longest sequence that `score` takes."""

    @property
    def num_parameters(self) -> int: ...

    def score(self, token_ids: Int[Tensor, "batch seq"]) -> TokenScores:
        """Scores positions 1..T-1 of each row; what stands after a position never changes its score."""

    def score_targets(self, prompts: list[list[int]], targets: list[list[int]]) -> list[np.ndarray[Any, np.dtype[Any]]]:
        """For each target float32 (its length,): the natural logarithm of each token's probability, given the prompt (which
        must not be empty; the source, for an encoder-decoder) and the target's tokens before it."""

    def kept_of_prompt(self, length: int, parameters: GenerationParameters) -> int:
        """Of a prompt with so many tokens, how many of its last ones `generate` goes on from."""

    def generate(self, prompts: list[list[int]], parameters: GenerationParameters) -> list[list[int]]:
        """Continues each prompt (which must not be empty); the prompts themselves are not in the result."""

    def save(self, folder: Path) -> None:
        """Writes `config.json`, `model.safetensors`, `generation_config.json` and `textmill.json`."""
