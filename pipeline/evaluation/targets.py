"""How likely a model finds a text after a prompt: for answers of benchmarks, translations, summaries and turns.

In: pairs of prompt and target, and a model that knows how it cuts them into tokens. Out: for each target its bits, tokens, and
whether the model would have written it itself.

A model of running text cuts both as one text, white space at a prompt's end with the target, so that a token that crosses the
boundary is the target's (as lm-evaluation-harness does for decoders). One that learnt pairs cuts each part of its template on its
own, as they stand in its shards. What does not fit the context is told (`was_cut`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pipeline.models.target_scores import score_and_rank_in_rows
from pipeline.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from pipeline.models.interface import LanguageModel
    from pipeline.tokenizer.model import Tokenizer

_BLOCK_PAIRS = 1_024
"""Scored between two signs of progress."""


class Asked(Protocol):
    """Of a `TextModel` or `PairModel`, what is needed here."""

    @property
    def model(self) -> LanguageModel: ...

    def cut(self, prompt: str, target: str) -> tuple[list[int], list[int]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetScores:
    """One row a pair, in the order given."""

    bits: np.ndarray[Any, Any]
    """float64 (N,): minus log2 of the target's probability given its prompt."""
    num_tokens: np.ndarray[Any, Any]
    """int64 (N,): tokens of the target."""
    is_greedy: np.ndarray[Any, Any]
    """bool (N,): every token is the most likely one, so that the model would have written this."""
    was_cut: np.ndarray[Any, Any]
    """bool (N,): prompt and target did not fit the context."""


def split_tokens(tokenizer: Tokenizer, prompt: str, target: str) -> tuple[list[int], list[int]]:
    """Token ids of a prompt and of the target that follows it.

    The prompt's own tokens are kept where the whole text begins with them; else the boundary is where the two diverge.
    """
    kept = prompt.rstrip()
    target = prompt[len(kept) :] + target
    whole, before = tokenizer.encode(kept + target), tokenizer.encode(kept)
    common = 0
    while common < min(len(before), len(whole)) and before[common] == whole[common]:
        common += 1
    return whole[:common], whole[common:]


def score_targets(asked: Asked, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None) -> TargetScores:
    """Scores each target after its prompt, by a model that reads both in one row. Progress counts pairs.

    Raises:
        ValueError: a target without tokens.
    """
    progress = progress or SilentProgress()
    prompts, targets = [], []
    for index, (prompt, target) in enumerate(pairs):
        prompt_ids, target_ids = asked.cut(prompt, target)
        if not target_ids:
            raise ValueError(f"target {index} is {target!r}, which has no tokens")
        prompts.append(prompt_ids)
        targets.append(target_ids)
    found: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = []
    for first in range(0, len(pairs), _BLOCK_PAIRS):
        block = slice(first, first + _BLOCK_PAIRS)
        found += score_and_rank_in_rows(asked.model, prompts[block], targets[block])
        progress.advance(len(prompts[block]))
    lengths = [len(prompt) + len(target) for prompt, target in zip(prompts, targets, strict=True)]
    return TargetScores(
        bits=np.array([total_bits(log_probabilities) for log_probabilities, _ in found]),
        num_tokens=np.array([len(target) for target in targets], dtype=np.int64),
        is_greedy=np.array([not ranks.any() for _, ranks in found], dtype=bool),
        was_cut=np.array(lengths) > asked.model.context_tokens,
    )


def total_bits(log_probabilities: np.ndarray[Any, Any]) -> float:
    """Minus log2 of a text's probability, from its tokens' natural logarithms."""
    return float(log_probabilities.astype(np.float64).sum() / -np.log(2.0))
