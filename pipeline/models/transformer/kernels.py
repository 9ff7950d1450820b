"""Two parts of the training step in the form a compiler makes fast: causal attention in blocks, and the head with its loss.

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

NUM_BLOCKS = 4
LONGEST_IN_BLOCKS = 512
"""Beyond this many tokens the library's attention, which never holds a matrix of scores, is as fast."""
CHUNK_TOKENS = 512
"""Their logits, 8 MB of bfloat16 at a vocabulary of 8,000, stay in the last cache between four passes."""


def causal_attention(
    q: Float[Tensor, "batch heads seq width"],
    k: Float[Tensor, "batch heads seq width"],
    v: Float[Tensor, "batch heads seq width"],
    hidden_places: Float[Tensor, "seq seq"],
) -> Float[Tensor, "batch heads seq width"]:
    """softmax(q k^T / sqrt(width) + hidden_places) v, four blocks of queries one after the other.

    A block reads only the keys up to its last position, so 5/8 of the scores are computed. `hidden_places` is 0 at and below
    the diagonal and -inf above.
    """
    batch, heads, length, width = q.shape
    q, k, v = (x.reshape(batch * heads, length, width) for x in (q * width**-0.5, k, v))
    size = -(-length // NUM_BLOCKS)
    blocks = []
    for start in range(0, length, size):
        end = min(length, start + size)
        scores = (q[:, start:end] @ k[:, :end].mT).float() + hidden_places[start:end, :end]
        blocks.append(scores.softmax(-1).to(v.dtype) @ v[:, :end])
    return torch.cat(blocks, dim=1).view(batch, heads, length, width)


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
            log_sums = known.logsumexp(-1, keepdim=True)
            total = total + ((log_sums - logits.gather(1, wanted).float()) * counts).sum()
            is_target = torch.arange(len(table), device=known.device) == wanted
            gradient = (((known - log_sums).exp() - is_target.float()) * (counts * weight)).to(hidden.dtype)
            hidden_gradients.append(gradient @ weights)
            table_gradient = table_gradient + gradient.T @ some
        ctx.save_for_backward(torch.cat(hidden_gradients), table_gradient)
        return total * weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden_gradient, table_gradient = ctx.saved_tensors
        return (hidden_gradient * gradient).to(hidden_gradient.dtype), table_gradient * gradient, None, None
