"""The loss is torch's cross entropy over every place, whichever places the head is computed for."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from pipeline.models.loss import IGNORED, mean_loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignored", [[], [0, 1, 2, 4, 5, 9]])
def test_loss_and_gradients_are_those_of_the_whole(ignored: list[int], smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 5, 6, generator=generator, requires_grad=True)
    table = torch.randn(11, 6, generator=generator, requires_grad=True)
    targets = torch.randint(0, 11, (2, 5), generator=generator)
    targets.view(-1)[ignored] = IGNORED
    heads = []

    def head(flat: torch.Tensor) -> torch.Tensor:
        heads.append(len(flat))
        return flat @ table.T

    found = mean_loss(head, hidden, targets, label_smoothing=smoothing)
    logits = (hidden @ table.T).flatten(0, 1)
    expected = functional.cross_entropy(logits, targets.flatten(), label_smoothing=smoothing)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, [hidden, table]), torch.autograd.grad(expected, [hidden, table])
    )
    assert heads == [10 - len(ignored)]
