"""How likely a model finds a text after a prompt: for answers of benchmarks, translations, summaries and turns.

In: pairs of prompt and target as texts, a model and its tokenizer. Out: for each target its bits, tokens, and whether the model
would have written it itself.

- White space at a prompt's end belongs to the target, and both are cut into tokens as one text, so that a token that crosses
  the boundary is the target's (as lm-evaluation-harness does for decoders).
- A prompt that leaves too little room is cut at its beginning; a target longer than the context is read through windows that
  overlap by half. Both are told (`was_cut`).
- Pairs of like length share a batch that holds at most `MAX_LOGITS` numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.evaluation.scoring import MAX_LOGITS, windows
from pipeline.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from pipeline.models.interface import LanguageModel
    from pipeline.tokenizer.model import Tokenizer


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


def score_targets(
    model: LanguageModel,
    tokenizer: Tokenizer,
    pairs: Sequence[tuple[str, str]],
    *,
    max_logits: int = MAX_LOGITS,
    progress: Progress | None = None,
) -> TargetScores:
    """Scores each target after its prompt; the result depends on `max_logits` by rounding only. Progress counts pairs.

    Raises:
        ValueError: a target without tokens.
    """
    progress = progress or SilentProgress()
    size = len(pairs)
    scores = TargetScores(
        bits=np.zeros(size),
        num_tokens=np.zeros(size, dtype=np.int64),
        is_greedy=np.ones(size, dtype=bool),
        was_cut=np.zeros(size, dtype=bool),
    )
    plan: list[tuple[int, list[int], int]] = []  # (pair, ids of a window, first position of it that is scored)
    for index, (prompt, target) in enumerate(pairs):
        prompt_ids, target_ids = split_tokens(tokenizer, prompt, target)
        if not target_ids:
            raise ValueError(f"target {index} is {target!r}, which has no tokens")
        scores.num_tokens[index] = len(target_ids)
        found = _windows([tokenizer.bos_id, *prompt_ids], target_ids, context_tokens=model.context_tokens)
        scores.was_cut[index] = len(found) > 1 or len(found[0][0]) <= len(prompt_ids) + len(target_ids)
        plan += [(index, ids, first) for ids, first in found]
    plan.sort(key=lambda entry: (-len(entry[1]), entry[0]))
    position = 0
    while position < len(plan):
        longest = len(plan[position][1])
        batch = plan[position : position + max(1, max_logits // (longest * tokenizer.vocab_size))]
        _score_batch(model, tokenizer, batch, longest, scores)
        progress.advance(len({entry[0] for entry in batch}))
        position += len(batch)
    return scores


def _windows(prompt_ids: list[int], target_ids: list[int], *, context_tokens: int) -> list[tuple[list[int], int]]:
    """Rows of at most a context, each with the first of its positions that is scored; `prompt_ids` begins with BOS."""
    room = context_tokens - len(target_ids)
    if room >= 1:
        bos, rest = prompt_ids[:1], prompt_ids[1:]
        kept = bos + rest[max(0, len(rest) - (room - 1)) :]
        return [(kept + target_ids, len(kept))]
    whole = prompt_ids[:1] + target_ids
    return [
        (whole[start:end], first - start) for start, end, first in windows(len(whole), context_tokens=context_tokens)
    ]


def _score_batch(
    model: LanguageModel,
    tokenizer: Tokenizer,
    batch: list[tuple[int, list[int], int]],
    longest: int,
    scores: TargetScores,
) -> None:
    inputs = np.full((len(batch), longest), max(tokenizer.pad_id, 0), dtype=np.int64)  # (B, T)
    counted = np.zeros((len(batch), longest - 1), dtype=bool)  # (B, T - 1)
    for row, (_, ids, first) in enumerate(batch):
        inputs[row, : len(ids)] = ids
        counted[row, first - 1 : len(ids) - 1] = True
    with torch.inference_mode():
        found = model.score(torch.from_numpy(inputs))
    of_pair = np.repeat([entry[0] for entry in batch], counted.sum(axis=1))
    bits = found.log_probabilities.cpu().numpy()[counted].astype(np.float64) / -np.log(2.0)
    np.add.at(scores.bits, of_pair, bits)
    np.logical_and.at(scores.is_greedy, of_pair, found.ranks.cpu().numpy()[counted] == 0)
