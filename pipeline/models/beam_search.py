"""Beam search: the likeliest continuations, followed side by side, batched over prompts, for any model that decodes step by step.

A continuation y of a prompt scores log p(y) / ((5 + |y|) / 6)^penalty (Wu et al. 2016, arXiv 1609.08144, equation 14, without
coverage), where |y| counts the token that ends it. At each step the `num_beams` likeliest one-token extensions of a prompt's
live beams stay; those that end leave, and the others are extended again. A prompt is done when as many continuations have
ended, or when nothing alive can score better than the best of them: log p only falls, and the divisor is largest at the
longest length.
Continuations that are cut at `max_new_tokens` compete with those that ended. What may not come next (constraints.py) has no
probability, and the others keep theirs.

With as many beams as there are continuations this is exhaustive search, with one it is greedy decoding. Prompts share batches
and nothing else: each is done when it would be alone, and its rows leave the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

from pipeline.models.constraints import constrained, is_constrained
from pipeline.models.interface import GenerationParameters

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@runtime_checkable
class Decoding(Protocol):
    """A model in the middle of writing, a row a text."""

    def step(self, tokens: Int[Tensor, " rows"]) -> Float[Tensor, "rows vocab"]:
        """Appends a token to each row; the logits of the one after it."""

    def reorder(self, rows: Int[Tensor, " new_rows"]) -> None:
        """Row i becomes what row `rows[i]` was; there may be more rows than before, or fewer."""


def length_divisor(num_tokens: int, penalty: float) -> float:
    """What a log-probability is divided by: 1 for one token.

    >>> length_divisor(7, 1.0)
    2.0
    """
    return float(((5 + num_tokens) / 6) ** penalty)


def beam_search(
    logits: Float[Tensor, "prompts vocab"], decoding: Decoding, parameters: GenerationParameters
) -> list[list[int]]:
    """The best continuation found of each prompt, without the token that ends it; `logits` are those after the prompts."""
    num_beams, longest = parameters.num_beams, parameters.max_new_tokens
    final_divisor = length_divisor(longest, parameters.length_penalty)
    stops = torch.tensor(parameters.stop_ids, dtype=torch.int64, device=logits.device)
    ended: list[list[tuple[float, list[int]]]] = [[] for _ in range(len(logits))]
    alive = list(range(len(logits)))  # prompts, in the order of the rows
    scores = torch.zeros(len(logits), 1, dtype=torch.float64, device=logits.device)  # (P, beams)
    texts = torch.zeros(len(logits), 1, 0, dtype=torch.int64, device=logits.device)  # (P, beams, length)
    for length in range(1, longest + 1):
        prompts, beams = scores.shape
        log_probabilities = logits.double().log_softmax(-1)
        if is_constrained(parameters):
            log_probabilities = constrained(log_probabilities, texts.flatten(0, 1).tolist(), parameters)
        found = scores[..., None] + log_probabilities.view(prompts, beams, -1)  # (P, beams, V)
        vocab_size = found.shape[-1]
        scores, chosen = found.flatten(1).topk(min(num_beams, beams * vocab_size))  # (P, beams)
        beam, token = chosen // vocab_size, chosen % vocab_size
        texts = torch.cat((texts.gather(1, beam[..., None].expand(-1, -1, length - 1)), token[..., None]), dim=2)
        ends = torch.isin(token, stops)
        divisor = length_divisor(length, parameters.length_penalty)
        done = ends.clone() if length < longest else torch.ones_like(ends)
        for row, place in torch.nonzero(done & scores.isfinite()).tolist():
            text = texts[row, place].tolist()
            score = float(scores[row, place]) / divisor
            ended[alive[row]].append((score, text[:-1] if ends[row, place] else text))
        scores = scores.masked_fill(done, float("-inf"))
        bounds = (scores.amax(1) / final_divisor).tolist()
        going = [row for row, prompt in enumerate(alive) if _goes_on(ended[prompt], bounds[row], num_beams)]
        if not going:
            break
        alive = [alive[row] for row in going]
        kept = torch.tensor(going, device=logits.device)
        decoding.reorder((kept[:, None] * beams + beam[kept]).flatten())
        scores, texts = scores[kept], texts[kept]
        logits = decoding.step(token[kept].flatten())
    return [max(found, key=lambda pair: pair[0])[1] for found in ended]


def _goes_on(ended: Sequence[tuple[float, list[int]]], bound: float, num_beams: int) -> bool:
    """Whether a prompt whose live beams can score `bound` at best may still find something better."""
    if bound == float("-inf"):
        return False
    return len(ended) < num_beams and (not ended or bound > max(score for score, _ in ended))
