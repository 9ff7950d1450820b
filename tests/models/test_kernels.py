"""The forms that training compiles give what the library's own functions give."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from pipeline.models.transformer.kernels import CHUNK_TOKENS, causal_attention, mean_cross_entropy
from pipeline.models.transformer.network import Transformer
from pipeline.models.transformer.shape import derive_shape
from pipeline.training.hardware import can_compile
from pipeline.training.warmup import loss_function


@pytest.mark.parametrize("length", [1, 3, 8, 10])
def test_attention_in_halves_is_the_librarys_causal_attention(length: int) -> None:
    generator = torch.Generator().manual_seed(0)
    ours = [torch.randn(2, 3, length, 8, generator=generator).requires_grad_() for _ in range(3)]
    theirs = [tensor.detach().clone().requires_grad_() for tensor in ours]
    hidden_places = torch.full((length, length), float("-inf")).triu(1)
    found = causal_attention(*ours, hidden_places)
    expected = functional.scaled_dot_product_attention(*theirs, is_causal=True)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(found.shape, generator=generator)
    torch.autograd.backward((found * weights).sum())
    torch.autograd.backward((expected * weights).sum())
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our.grad, their.grad)


def test_the_head_with_its_loss_is_a_product_and_the_librarys_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    num_tokens, vocab_size = CHUNK_TOKENS + 88, 50  # a second chunk that is not full, and 14 entries of padding
    hidden = torch.randn(num_tokens, 16, generator=generator).requires_grad_()
    table = torch.randn(64, 16, generator=generator).requires_grad_()
    targets = torch.randint(vocab_size, (num_tokens,), generator=generator)
    found = mean_cross_entropy(hidden, table, targets, vocab_size)
    gradients = torch.autograd.grad(found * 0.5, [hidden, table])
    expected = functional.cross_entropy((hidden @ table.T)[:, :vocab_size], targets)
    wanted = torch.autograd.grad(expected * 0.5, [hidden, table])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients, wanted)
    assert not gradients[1][vocab_size:].any()  # padding learns nothing


@pytest.mark.slow
@pytest.mark.skipif(not can_compile("cpu"), reason="no C++ compiler")
@pytest.mark.filterwarnings("ignore")  # of the compiler itself
@pytest.mark.parametrize("tied", [False, True])
def test_the_compiled_network_has_the_loss_and_the_gradients_of_the_plain_one(tied: bool) -> None:
    shape = derive_shape(
        vocab_size=50, context_tokens=12, depth=2, width=16, num_heads=2, num_kv_heads=1, tie_embeddings=tied
    )
    network = Transformer(shape)
    network.initialise(0)
    with torch.no_grad():  # what begins as zero would hide the layers
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    windows = torch.randint(50, (3, 13), generator=torch.Generator().manual_seed(0))
    found = []
    for compiled in (False, True):
        network.zero_grad(set_to_none=True)
        loss = loss_function(network, compiled=compiled)(windows[:, :-1], windows[:, 1:])
        torch.autograd.backward(loss)
        found.append([loss.detach(), *(parameter.grad for parameter in network.parameters())])
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)


def test_a_target_that_is_ignored_has_no_part_in_the_loss_or_a_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, table = torch.randn(700, 8, generator=generator), torch.randn(64, 8, generator=generator)
    targets = torch.randint(0, 50, (700,), generator=generator)
    targets[torch.rand(700, generator=generator) < 0.7] = -100
    results = []
    for loss_of in (
        lambda h, t: mean_cross_entropy(h, t, targets, 50),
        lambda h, t: torch.nn.functional.cross_entropy((h @ t.T)[:, :50], targets),
    ):
        leaves = [x.clone().requires_grad_() for x in (hidden, table)]
        loss = loss_of(*leaves)
        loss.backward()
        results.append([loss.detach(), *(leaf.grad for leaf in leaves)])
    assert all(torch.allclose(ours, theirs, atol=1e-5) for ours, theirs in zip(*results, strict=True))
    assert not results[0][1][targets == -100].any()
