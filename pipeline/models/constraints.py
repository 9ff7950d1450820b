"""What may not come next in a text: its end before it is long enough, and a token that would repeat a run of tokens.

In: scores of the next tokens (logits, or log-probabilities that are not normed again, as fairseq and transformers have it in beam
search) and what each row has written. Out: the same scores, those that may not be at minus infinity. Prompts are not looked at: a
summary may say what its text says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pipeline.models.interface import GenerationParameters

if TYPE_CHECKING:
    from jaxtyping import Float


def is_constrained(parameters: GenerationParameters) -> bool:
    """Whether anything may not come next."""
    return parameters.min_new_tokens > 0 or parameters.no_repeat_ngram > 0


def constrained(
    scores: Float[Tensor, "rows vocab"], texts: Sequence[Sequence[int]], parameters: GenerationParameters
) -> Float[Tensor, "rows vocab"]:
    """The scores without what may not follow each text; a row of which nothing would be left keeps them all."""
    masked = scores.clone()
    for row, text in enumerate(texts):
        banned = repeating(text, parameters.no_repeat_ngram)
        if len(text) < parameters.min_new_tokens:
            banned |= set(parameters.stop_ids)
        if banned:
            masked[row, torch.tensor(sorted(banned), device=scores.device)] = float("-inf")
    nothing_left = masked.isneginf().all(-1, keepdim=True)
    return torch.where(nothing_left, scores, masked)


def repeating(text: Sequence[int], ngram: int) -> set[int]:
    """The tokens that would make the last `ngram` tokens of a text a run that it has already; 0 is none.

    >>> repeating([5, 6, 7, 5, 6], 3)
    {7}
    """
    if not 0 < ngram <= len(text):
        return set()
    last = list(text[len(text) - ngram + 1 :])
    return {
        text[start + ngram - 1]
        for start in range(len(text) - ngram + 1)
        if list(text[start : start + ngram - 1]) == last
    }
