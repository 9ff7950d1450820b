"""Log-probabilities of given targets after given prompts, for models that read one stream: each pair becomes rows of `score`.

A pair longer than the context is read through windows: each scores up to half a context of the target and has before it what
still fits, so that no token is predicted from less than half a context. Rows of like length share a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import InputError

if TYPE_CHECKING:
    from pipeline.models.interface import TokenScores

_BATCH_TOKENS = 2_048
"""At a vocabulary of 8,000 their logits take 64 MB."""


class Scorer(Protocol):
    """Of a `LanguageModel`, what is needed here."""

    @property
    def context_tokens(self) -> int: ...

    def score(self, token_ids: Tensor) -> TokenScores: ...


def score_in_rows(model: Scorer, prompts: list[list[int]], targets: list[list[int]]) -> list[np.ndarray[Any, Any]]:
    """For each target float32 (its length,): natural logarithms.

    Raises:
        InputError: an empty prompt.
        ValueError: not as many targets as prompts.
    """
    return [log_probabilities for log_probabilities, _ in score_and_rank_in_rows(model, prompts, targets)]


def score_and_rank_in_rows(
    model: Scorer, prompts: list[list[int]], targets: list[list[int]]
) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """For each target its natural logarithms, float32, and int64 how many tokens were more likely, both (its length,).

    Raises:
        InputError: an empty prompt.
        ValueError: not as many targets as prompts.
    """
    if any(not prompt for prompt in prompts):
        raise InputError("A prompt has no tokens; begin it with the BOS token.")
    found = [(np.zeros(len(target), np.float32), np.zeros(len(target), np.int64)) for target in targets]
    texts = [[*prompt, *target] for prompt, target in zip(prompts, targets, strict=True)]
    rows = [
        (number, *window)
        for number, (prompt, text) in enumerate(zip(prompts, texts, strict=True))
        for window in target_windows(len(prompt), len(text), context_tokens=model.context_tokens)
    ]
    rows.sort(key=lambda row: row[2] - row[1], reverse=True)
    while rows:
        longest = rows[0][2] - rows[0][1]
        count = max(1, _BATCH_TOKENS // longest)
        batch, rows = rows[:count], rows[count:]
        inputs = np.zeros((len(batch), longest), dtype=np.int64)  # what follows a row changes none of its scores
        for line, (number, start, end, _) in zip(inputs, batch, strict=True):
            line[: end - start] = texts[number][start:end]
        scores = model.score(torch.from_numpy(inputs))
        log_probabilities, ranks = scores.log_probabilities.float().cpu().numpy(), scores.ranks.cpu().numpy()
        for row, (number, start, end, first) in enumerate(batch):
            offset = len(prompts[number])
            kept, columns = slice(first - offset, end - offset), slice(first - start - 1, end - start - 1)
            found[number][0][kept] = log_probabilities[row, columns]
            found[number][1][kept] = ranks[row, columns]
    return found


def target_windows(num_prompt: int, length: int, *, context_tokens: int) -> Iterator[tuple[int, int, int]]:
    """Windows (start, end, first position scored) that together score the positions num_prompt .. length - 1 once.

    >>> list(target_windows(3, 11, context_tokens=6))
    [(0, 6, 3), (3, 9, 6), (5, 11, 9)]
    >>> list(target_windows(3, 6, context_tokens=6))
    [(0, 6, 3)]
    """
    if length <= context_tokens:
        if num_prompt < length:
            yield 0, length, num_prompt
        return
    stride = max(1, context_tokens // 2)
    for first in range(num_prompt, length, stride):
        end = min(length, first + stride)
        yield max(0, end - context_tokens), end, first
