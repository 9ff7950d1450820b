"""Batches, their micro-batches and their processes' parts, each against the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import spec_of
from torch import Tensor, nn
from torch.nn import functional

from pipeline.shards.loader import TokenLoader
from pipeline.shards.pair_batches import IGNORED
from pipeline.training.data import Batch, WindowData
from pipeline.training.step import accumulate


def uneven() -> Batch:
    """Six rows with 1 to 5 targets of 7."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(0, 9, (6, 7), generator=generator)
    for row, count in enumerate((5, 1, 3, 2, 5, 4)):
        targets[row, count:] = IGNORED
    return Batch.of((torch.randn(6, 7, 4, generator=generator), torch.arange(6)), targets)


class Scorer(nn.Module):
    """Logits linear in the first input; the second says which row is read."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 9)

    def forward(self, x: Tensor, row: Tensor, targets: Tensor) -> Tensor:
        logits = self.linear(x + row[:, None, None])
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def test_targets_are_counted_where_they_are_not_ignored() -> None:
    batch = uneven()
    assert batch.targets_of_row.tolist() == [5, 1, 3, 2, 5, 4]
    assert (batch.num_rows, batch.num_targets, batch.tokens_per_row) == (6, 20, 7)
    shares = [share for _, share in batch.split(4)]
    assert shares == [11 / 20, 9 / 20]


@pytest.mark.parametrize("rows", [1, 2, 4, 5])
def test_micro_batches_of_unequal_targets_give_the_loss_and_gradients_of_the_whole(rows: int) -> None:
    torch.manual_seed(0)
    network = Scorer()
    whole = accumulate(network, network, uneven(), micro_rows=6)
    expected = [parameter.grad.clone() for parameter in network.parameters()]
    found = accumulate(network, network, uneven(), micro_rows=rows)
    assert torch.allclose(torch.stack(found), torch.stack(whole), rtol=1e-5)
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)


@pytest.mark.parametrize("world", [2, 3])
def test_the_parts_of_processes_add_up_to_the_gradient_of_the_whole(world: int) -> None:
    torch.manual_seed(0)
    network, batch = Scorer(), uneven()
    accumulate(network, network, batch, micro_rows=6)
    expected = network.linear.weight.grad.clone()
    total = torch.zeros_like(expected)
    for rank in range(world):
        own = batch.rows(rank, world)
        assert own.inputs[1].tolist() == list(range(rank, 6, world))
        network.zero_grad()
        for micro, share in own.split(1, num_targets=batch.num_targets):
            (network(*micro.inputs, micro.targets) * share).backward()
        total += network.linear.weight.grad
    assert torch.allclose(total, expected, atol=1e-6)


def test_windows_are_the_loaders_and_are_not_copied(tiny_data: Path, tmp_path: Path) -> None:
    spec = spec_of(tiny_data, tmp_path)
    data = WindowData(spec, context_tokens=32)
    loader = TokenLoader(tiny_data, split="train", context_tokens=32, seed=spec.seed)
    for step in (7, 0, 5):  # in any order; step 5 crosses an epoch
        batch, windows = data.batch(step), loader.batch(step * 16, 16)
        (token_ids,) = batch.inputs
        assert np.array_equal(token_ids.numpy(), windows[:, :-1])
        assert np.array_equal(batch.targets.numpy(), windows[:, 1:])
        assert token_ids.untyped_storage().data_ptr() == batch.targets.untyped_storage().data_ptr()
        assert (batch.num_targets, batch.tokens_per_row) == (16 * 32, 32)
    (first,), (again,) = data.validation(), data.validation()
    assert first.num_rows == 5 and torch.equal(first.targets, again.targets)


def test_views_of_one_tensor_travel_as_one() -> None:
    moved = Batch.of_windows(torch.arange(12).view(2, 6)).to("meta")
    (token_ids,) = moved.inputs
    assert token_ids.device.type == moved.targets.device.type == "meta"
    assert token_ids._base is moved.targets._base is not None
    assert (token_ids.storage_offset(), moved.targets.storage_offset()) == (0, 1)
    assert token_ids.shape == moved.targets.shape == (2, 5)


def test_views_of_a_tensor_with_gaps_travel_each_alone() -> None:
    batch = Batch.of_windows(torch.arange(28).view(2, 14)[:, ::2])
    sent = batch.sent(torch.clone)
    assert torch.equal(sent.targets, batch.targets) and torch.equal(sent.inputs[0], batch.inputs[0])
    gaps = torch.from_numpy(np.arange(14).reshape(2, 7)[:, :-1])  # its base is NumPy's, so torch sees none
    sent = Batch.of((gaps[:, :-1],), gaps[:, 1:]).sent(torch.clone)
    assert sent.targets.tolist() == [[1, 2, 3, 4, 5], [8, 9, 10, 11, 12]]
