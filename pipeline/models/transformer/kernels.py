"""Two parts of the training step in the form a compiler makes fast: causal attention in halves, and the head with its loss.

Both are measured on CPUs, where the library's fused attention has a slow backward pass, and where logits of a whole forward
pass leave the caches. Neither adds anything up in an order that could change: equal runs give equal bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pipeline.models.loss import IGNORED

if TYPE_CHECKING:
    from jaxtyping import Float, Int

LONGEST_IN_HALVES = 512
"""Beyond this many tokens the library's attention, which never holds a matrix of scores, is as fast."""
CHUNK_TOKENS = 512
"""Their logits, 8 MB of bfloat16 at a vocabulary of 8,000, stay in the last cache between four passes."""


def causal_attention(
    q: Float[Tensor, "batch heads seq width"],
    k: Float[Tensor, "batch heads seq width"],
    v: Float[Tensor, "batch heads seq width"],
    hidden_places: Float[Tensor, "seq seq"],
) -> Float[Tensor, "batch heads seq width"]:
    """softmax(q k^T / sqrt(width) + hidden_places) v; `hidden_places` is 0 at and below the diagonal and -inf above.

    The first half of the queries reads only the first half of the keys, so 3/4 of the scores are computed. The backward pass is
    written out, because the derived one adds up padded halves.
    """
    batch, heads, length, width = q.shape
    rows = (x.reshape(batch * heads, length, width) for x in (q, k, v))
    heard: Tensor = _HalvesAttention.apply(*rows, hidden_places)  # type: ignore[no-untyped-call]
    return heard.view(batch, heads, length, width)


class _HalvesAttention(torch.autograd.Function):
    """Of q, k, v (B, T, W)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, hidden_places: Tensor) -> Tensor:
        half = -(-q.shape[1] // 2)
        early_q, late_q = q[:, :half].contiguous(), q[:, half:].contiguous()
        early_k, early_v = k[:, :half].contiguous(), v[:, :half].contiguous()
        early = _weights(early_q, early_k, hidden_places[:half, :half])
        late = _weights(late_q, k, hidden_places[half:])
        ctx.save_for_backward(early_q, late_q, early_k, k, early_v, v, early, late)
        return torch.cat((early @ early_v, late @ v), dim=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        early_q, late_q, early_k, k, early_v, v, early, late = ctx.saved_tensors
        half = early_q.shape[1]
        early_gradient, late_gradient = gradient[:, :half].contiguous(), gradient[:, half:].contiguous()
        early_scores = _score_gradient(early, early_gradient @ early_v.mT, early_q.shape[2])
        late_scores = _score_gradient(late, late_gradient @ v.mT, early_q.shape[2])
        q_gradient = torch.cat((early_scores @ early_k, late_scores @ k), dim=1)
        # what the first half adds is an operand of the second's product, which the compiler therefore writes out by itself:
        # fused into what follows, it would be read through a mask, element by element
        nothing = torch.zeros_like(late_q)
        k_gradient = torch.baddbmm(torch.cat((early_scores.mT @ early_q, nothing), dim=1), late_scores.mT, late_q)
        v_gradient = torch.baddbmm(torch.cat((early.mT @ early_gradient, nothing), dim=1), late.mT, late_gradient)
        return q_gradient, k_gradient, v_gradient, None


def _weights(q: Tensor, k: Tensor, hidden_places: Tensor) -> Tensor:
    scores = (q @ k.mT).float() * q.shape[-1] ** -0.5 + hidden_places
    weights: Tensor = scores.softmax(-1).to(q.dtype)
    return weights


def _score_gradient(weights: Tensor, gradient: Tensor, width: int) -> Tensor:
    """Of q k^T, given the gradient of the softmax."""
    known, above = weights.float(), gradient.float()
    found: Tensor = (known * (above - (above * known).sum(-1, keepdim=True)) * width**-0.5).to(weights.dtype)
    return found


def mean_cross_entropy(
    hidden: Float[Tensor, "tokens width"],
    table: Float[Tensor, "padded_vocab width"],
    targets: Int[Tensor, " tokens"],
    vocab_size: int,
) -> Float[Tensor, ""]:
    """Mean cross entropy in nats of the logits hidden table^T over the first `vocab_size` entries; differentiable. Targets of
    -100 do not count.

    Forward and backward of the head happen together, chunk by chunk, so that logits never exist for all tokens: each chunk's
    become their own gradient, softmax less the target (Liger kernel, Hsu et al. 2024, arXiv 2410.10989).
    """
    loss: Tensor = _HeadLoss.apply(hidden, table, targets, vocab_size)  # type: ignore[no-untyped-call]
    return loss


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, table: Tensor, targets: Tensor, vocab_size: int) -> Tensor:
        weights = table.to(hidden.dtype)
        total = torch.zeros((), device=hidden.device)
        weight = 1 / (targets != IGNORED).sum()
        table_gradient = torch.zeros_like(table)
        hidden_gradients = []
        for some, wanted in zip(torch.split(hidden, CHUNK_TOKENS), torch.split(targets, CHUNK_TOKENS), strict=True):
            logits = some @ weights.T
            known = logits.float()
            if vocab_size < len(table):
                known = known.masked_fill(torch.arange(len(table), device=known.device) >= vocab_size, float("-inf"))
            counts = (wanted != IGNORED)[:, None]
            wanted = wanted.clamp(min=0)[:, None]
            greatest = known.amax(-1, keepdim=True)
            powers = (known - greatest).exp()
            sums = powers.sum(-1, keepdim=True)
            total = total + ((greatest + sums.log() - logits.gather(1, wanted).float()) * counts).sum()
            is_target = torch.arange(len(table), device=known.device) == wanted
            share = counts * weight
            gradient = (powers * (share / sums) - is_target * share).to(hidden.dtype)
            hidden_gradients.append(gradient @ weights)
            table_gradient = table_gradient + gradient.T @ some
        ctx.save_for_backward(torch.cat(hidden_gradients), table_gradient)
        return total * weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden_gradient, table_gradient = ctx.saved_tensors
        return (hidden_gradient * gradient).to(hidden_gradient.dtype), table_gradient * gradient, None, None
