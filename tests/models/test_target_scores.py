"""Targets after prompts score as the stream they are part of, whatever the family and however long they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from pipeline.models.recurrent.model import RecurrentModel
from pipeline.models.recurrent.network import Recurrent
from pipeline.models.recurrent.shape import derive_recurrent_shape
from pipeline.models.target_scores import score_in_rows, target_windows
from pipeline.models.transformer.model import TransformerModel
from pipeline.models.transformer.network import Transformer
from pipeline.models.transformer.shape import derive_shape

IDENTITY: dict[str, Any] = {"tokenizer_hash": "0" * 64, "bos_id": 2, "eos_id": 3, "pad_id": 0}


def model_of(family: str) -> Any:
    if family == "transformer":
        network: Any = Transformer(derive_shape(vocab_size=50, context_tokens=16, depth=1, width=16, num_heads=2))
    else:
        network = Recurrent(derive_recurrent_shape(cell="lstm", vocab_size=50, context_tokens=16, depth=1, width=16))
    network.initialise(seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return (TransformerModel if family == "transformer" else RecurrentModel)(network, **IDENTITY)


@pytest.mark.parametrize("family", ["transformer", "lstm"])
def test_targets_score_as_in_their_own_row_and_the_choices_of_a_prompt_add_up_to_one(family: str) -> None:
    model = model_of(family)
    prompts, targets = [[2, 5, 6], [2], [2, 9, 9, 9], [2, 7]], [[7, 8], [4, 4, 4, 4, 4], [], [11]]
    found = model.score_targets(prompts, targets)
    assert [len(scores) for scores in found] == [2, 5, 0, 1]
    for prompt, target, scores in zip(prompts, targets, found, strict=True):
        if target:
            alone = model.score(torch.tensor([prompt + target])).log_probabilities[0, len(prompt) - 1 :]
            np.testing.assert_allclose(scores, alone.numpy(), atol=1e-5)
    every = model.score_targets([[2, 5, 6]] * 50, [[token] for token in range(50)])
    assert sum(float(np.exp(scores[0])) for scores in every) == pytest.approx(1.0, abs=1e-4)
    with pytest.raises(InputError, match="A prompt has no tokens"):
        model.score_targets([[2], []], [[4], [4]])


class Numbered:
    """Scores a position by its token, and refuses what is longer than its context."""

    context_tokens = 6

    def __init__(self) -> None:
        self.least_before = 99

    def score(self, token_ids: torch.Tensor) -> Any:
        assert token_ids.shape[1] <= self.context_tokens

        class Scores:
            log_probabilities = token_ids[:, 1:].float()
            ranks = token_ids[:, 1:]

        return Scores()


@pytest.mark.parametrize(("num_prompt", "num_target"), [(1, 3), (3, 3), (3, 8), (40, 2), (1, 30), (5, 0)])
def test_every_target_is_scored_once_whatever_the_lengths(num_prompt: int, num_target: int) -> None:
    target = list(range(100, 100 + num_target))
    (found,) = score_in_rows(Numbered(), [[1] * num_prompt], [target])
    assert found.tolist() == target
    length = num_prompt + num_target
    for start, end, first in target_windows(num_prompt, length, context_tokens=6):
        assert end - start <= 6 and (start == 0 or first - start >= 3)  # half a context before it, or everything
