"""Multi-head attention of one sequence to itself or to another.

Head h of a query at position i over the keys j that its mask allows (Vaswani et al. 2017, arXiv 1706.03762, with the queries and
keys of each head normed, Henry et al. 2020, arXiv 2010.04245):

    weights[h, i, j] = softmax_j(norm(W_q x_i)_h . norm(W_k y_j)_h / sqrt(head width))
    out_i            = W_o concat_h(sum_j weights[h, i, j] (W_v y_j)_h)

A mask is boolean and True where a query may look: (B, 1, 1, S) for the real tokens of a source, (1, 1, T, T) at and below the
diagonal for a target, whose padding comes last and is therefore never looked at by a real token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.seq2seq_transformer.shape import Seq2SeqTransformerShape
from pipeline.models.transformer.network import Linear, RMSNorm, rotate

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Angles = tuple[Tensor, Tensor]
"""Cosines and sines of the positions, (T, head width)."""
KeysAndValues = tuple[Tensor, Tensor]
"""(B, heads, T, head width) each."""


class Attention(nn.Module):
    """Queries from one sequence, keys and values from it or another."""

    def __init__(self, shape: Seq2SeqTransformerShape) -> None:
        super().__init__()
        self.head_width = shape.head_width
        self.q_proj = Linear(shape.width, shape.width)
        self.k_proj = Linear(shape.width, shape.width)
        self.v_proj = Linear(shape.width, shape.width)
        self.o_proj = Linear(shape.width, shape.width)
        self.q_norm = RMSNorm(shape.head_width)
        self.k_norm = RMSNorm(shape.head_width)

    def keys_and_values(self, y: Float[Tensor, "batch seq width"], angles: Angles | None) -> KeysAndValues:
        """Of what is looked at, turned by its positions where there are `angles`."""
        v = self._heads(self.v_proj(y))
        return self._turned(self.k_norm(self._heads(self.k_proj(y))), angles).to(v.dtype), v

    def forward(
        self,
        x: Float[Tensor, "batch queries width"],
        seen: KeysAndValues,
        mask: Bool[Tensor, "#batch 1 #queries keys"] | None,
        angles: Angles | None,
        *,
        wants_weights: bool = False,
    ) -> tuple[Float[Tensor, "batch queries width"], Float[Tensor, "batch heads queries keys"] | None]:
        """What each query hears, and the weights if they are wanted; without them the library's fused kernel does the work."""
        k, v = seen
        q = self._turned(self.q_norm(self._heads(self.q_proj(x))), angles).to(v.dtype)
        weights = None
        if wants_weights:
            scores = (q @ k.mT).float() * self.head_width**-0.5  # (B, H, T, S)
            if mask is not None:
                scores = scores.masked_fill(~mask, float("-inf"))
            weights = scores.softmax(-1)
            heard = weights.to(v.dtype) @ v
        else:
            heard = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.o_proj(heard.transpose(1, 2).flatten(2))  # (B, T, D)
        return out, weights

    def _heads(self, x: Float[Tensor, "batch seq width"]) -> Float[Tensor, "batch heads seq head_width"]:
        return x.view(*x.shape[:2], -1, self.head_width).transpose(1, 2)

    def _turned(self, x: Float[Tensor, "batch heads seq head_width"], angles: Angles | None) -> Tensor:
        return x if angles is None else rotate(x, *angles)


def sinusoidal_positions(num_positions: int, width: int) -> Float[Tensor, "positions width"]:
    """sin(p / 10000^(2i / width)) in the even and cos of the same in the odd dimensions (Vaswani et al. 2017, section 3.5)."""
    frequencies = 10_000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.outer(torch.arange(num_positions, dtype=torch.float64), frequencies)  # (P, W / 2)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1).float()
