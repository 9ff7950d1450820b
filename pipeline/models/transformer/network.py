"""The layers of a decoder-only Transformer, Qwen3 layout: RMSNorm before each part, per-head query and key norms before
rotary positions, SwiGLU, no biases. Module names are those of Hugging Face, so a state dict is theirs.

Weights are float32. Matrix products run in `compute_dtype` (bfloat16 where the hardware has it); the residual stream, the
norms and the loss stay float32. Sources: Vaswani et al. 2017; RMSNorm, Zhang & Sennrich 2019; RoPE, Su et al. 2021; SwiGLU,
Shazeer 2020; query-key norm, Henry et al. 2020.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.loss import mean_loss
from pipeline.models.products import linear
from pipeline.models.transformer.kernels import LONGEST_IN_HALVES, causal_attention, mean_cross_entropy
from pipeline.models.transformer.shape import TransformerShape

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

VALUE_MIX = 0.5
"""Of the value embeddings, at the beginning; each layer learns its own."""


class RMSNorm(nn.Module):
    """x / rms(x) * weight, over the last dimension, in float32."""

    def __init__(self, width: int, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        x = x.float()
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.epsilon) * self.weight


class Linear(nn.Linear):
    """Without bias; the weight takes the input's type for the product."""

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__(num_inputs, num_outputs, bias=False)

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        return linear(x, self.weight)


def joint_products(x: Float[Tensor, "*batch inputs"], *layers: Linear) -> tuple[Tensor, ...]:
    """What each layer makes of `x`. Compiled, they are one product, whose backward pass is two instead of two each."""
    if torch.compiler.is_compiling() and all(type(layer) is Linear for layer in layers):
        weights = torch.cat([layer.weight for layer in layers]).to(x.dtype)
        return torch.split(functional.linear(x, weights), [layer.out_features for layer in layers], dim=-1)
    return tuple(layer(x) for layer in layers)


def rotary_angles(context_tokens: int, head_width: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines, (T, head width), in the half-split layout: dimension i turns with i + head width / 2."""
    frequencies = theta ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angles = torch.outer(torch.arange(context_tokens, dtype=torch.float64), frequencies).repeat(1, 2)
    return angles.cos().float(), angles.sin().float()


def rotate(
    x: Float[Tensor, "batch heads seq width"],
    cos: Float[Tensor, "*rows seq width"],
    sin: Float[Tensor, "*rows seq width"],
) -> Float[Tensor, "batch heads seq width"]:
    """Turns each pair (i, i + width / 2) by its position's angle; the angles are one table, or (B, 1, T, W) of each row."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def document_mask(starts: Int[Tensor, "batch seq"]) -> tuple[Bool[Tensor, "batch 1 seq seq"], Int[Tensor, "batch seq"]]:
    """Which places may be attended to (those before, of the same document), and each place's position in its document."""
    places = torch.arange(starts.shape[1], device=starts.device)
    is_same = starts[:, None, :, None] == starts[:, None, None, :]
    return is_same & (places[:, None] >= places), places - starts


class Attention(nn.Module):
    """softmax(q k^T / sqrt(head width) + causal mask) v, with grouped key-value heads."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.head_width = shape.head_width
        self.groups = shape.num_heads // shape.num_kv_heads
        self.q_proj = Linear(shape.width, shape.num_heads * shape.head_width)
        self.k_proj = Linear(shape.width, shape.num_kv_heads * shape.head_width)
        self.v_proj = Linear(shape.width, shape.num_kv_heads * shape.head_width)
        if shape.value_embeddings:
            self.value_mix = nn.Parameter(torch.full((1,), VALUE_MIX))
        self.o_proj = Linear(shape.num_heads * shape.head_width, shape.width)
        normed = shape.query_key_norm
        self.q_norm = RMSNorm(shape.head_width, shape.norm_epsilon) if normed else nn.Identity()
        self.k_norm = RMSNorm(shape.head_width, shape.norm_epsilon) if normed else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "batch seq width"],
        cos: Tensor,
        sin: Tensor,
        mask: Tensor | None = None,
        *,
        in_halves: bool = False,
        values: Float[Tensor, "batch seq values_width"] | None = None,
    ) -> Float[Tensor, "batch seq width"]:
        batch, length, _ = x.shape
        q, k, v = joint_products(x, self.q_proj, self.k_proj, self.v_proj)
        q = self.q_norm(q.view(batch, length, -1, self.head_width)).transpose(1, 2)  # (B, H, T, W)
        k = self.k_norm(k.view(batch, length, -1, self.head_width)).transpose(1, 2)
        if values is not None:
            v = (v + self.value_mix * values).to(v.dtype)
        v = v.view(batch, length, -1, self.head_width).transpose(1, 2)
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        if in_halves:
            assert mask is not None
            if self.groups > 1:
                k, v = (x.repeat_interleave(self.groups, dim=1) for x in (k, v))
            heard = causal_attention(q, k, v, mask)
        else:
            heard = functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=self.groups > 1
            )
        out: Tensor = self.o_proj(heard.transpose(1, 2).reshape(batch, length, -1))
        return out


class FeedForward(nn.Module):
    """down(silu(gate(x)) * up(x)), or down(relu(up(x))^2)."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.relu_squared = shape.relu_squared
        if not shape.relu_squared:
            self.gate_proj = Linear(shape.width, shape.feed_forward_width)
        self.up_proj = Linear(shape.width, shape.feed_forward_width)
        self.down_proj = Linear(shape.feed_forward_width, shape.width)

    def forward(self, x: Float[Tensor, "batch seq width"]) -> Float[Tensor, "batch seq width"]:
        if self.relu_squared:
            squared: Tensor = self.down_proj(functional.relu(self.up_proj(x)).square())
            return squared
        gate, up = joint_products(x, self.gate_proj, self.up_proj)
        out: Tensor = self.down_proj(functional.silu(gate) * up)
        return out


class Layer(nn.Module):
    """Attention and feed-forward, each added to the residual stream."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(shape.width, shape.norm_epsilon)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = RMSNorm(shape.width, shape.norm_epsilon)
        self.mlp = FeedForward(shape)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(
        self,
        x: Float[Tensor, "batch seq width"],
        cos: Tensor,
        sin: Tensor,
        dtype: torch.dtype,
        mask: Tensor | None = None,
        *,
        in_halves: bool = False,
        values: Float[Tensor, "batch seq values_width"] | None = None,
    ) -> Float[Tensor, "batch seq width"]:
        normed = self.input_layernorm(x).to(dtype)
        x = x + self.dropout(self.self_attn(normed, cos, sin, mask, in_halves=in_halves, values=values))
        out: Tensor = x + self.dropout(self.mlp(self.post_attention_layernorm(x).to(dtype)))
        return out


class Body(nn.Module):
    """Embedding, layers and the last norm."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.padded_vocab_size, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.num_layers))
        self.norm = RMSNorm(shape.width, shape.norm_epsilon)
        if shape.value_embeddings:
            self.value_embed_tokens = nn.Embedding(shape.padded_vocab_size, shape.values_width)


class Transformer(nn.Module):
    """Token ids to logits, or to the mean loss of given targets."""

    cos: Tensor
    sin: Tensor
    hidden_places: Tensor

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.shape = shape
        self.compute_dtype = torch.float32
        self.model = Body(shape)
        self.lm_head = Linear(shape.width, shape.padded_vocab_size)
        self.dropout = nn.Dropout(shape.dropout)
        if shape.tie_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight
        cos, sin = rotary_angles(shape.context_tokens, shape.head_width, shape.rope_theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        longest = min(shape.context_tokens, LONGEST_IN_HALVES)
        hidden_places = torch.full((longest, longest), float("-inf")).triu(1)
        self.register_buffer("hidden_places", hidden_places, persistent=False)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Random weights: matrices uniform with variance 1/inputs, zero where a part writes into the residual stream, so
        that every layer begins as the identity (Zhang et al. 2019, arXiv 1901.09321); embeddings normal."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name.endswith("value_mix"):
                parameter.fill_(VALUE_MIX)
            elif parameter.ndim == 1:
                parameter.fill_(1.0)
            elif "value_embed_tokens" in name:
                parameter.normal_(generator=generator)  # as large as values are
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter.zero_()
            elif "embed_tokens" in name:
                parameter.normal_(std=0.02 if self.shape.tie_embeddings else 1.0, generator=generator)
            elif "lm_head" in name:
                parameter.normal_(std=0.001, generator=generator)
            else:
                bound = (3.0 / parameter.shape[1]) ** 0.5
                parameter.uniform_(-bound, bound, generator=generator)

    def hidden(self, token_ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq width"]:
        """The last norm's output."""
        return self._layers(self.embedded(token_ids))

    def embedded(self, token_ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch width_and_values"]:
        """What the first layer reads, and behind it, with value embeddings, what all layers add to their values."""
        vectors: Tensor = self.dropout(self.model.embed_tokens(token_ids))
        if self.shape.value_embeddings:
            return torch.cat((vectors, self.model.value_embed_tokens(token_ids)), dim=-1)
        return vectors

    def _layers(
        self,
        x: Float[Tensor, "batch seq width"],
        *,
        positions: Int[Tensor, "batch seq"] | None = None,
        mask: Tensor | None = None,
        in_halves: bool = False,
    ) -> Float[Tensor, "batch seq width"]:
        values: Tensor | None = None
        if self.shape.value_embeddings:
            x, values = x[..., : self.shape.width], x[..., self.shape.width :]
        if positions is None:
            cos, sin = self.cos[: x.shape[1]], self.sin[: x.shape[1]]
        else:
            cos, sin = self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)  # (B, 1, T, W)
        for layer in self.model.layers:
            x = layer(x, cos, sin, self.compute_dtype, mask, in_halves=in_halves, values=values)
        hidden: Tensor = self.model.norm(x).to(self.compute_dtype)
        return hidden

    def logits(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch vocab"]:
        """float32, the vocabulary's padding cut off."""
        padded: Tensor = self.lm_head(hidden)
        logits = padded.float()[..., : self.shape.vocab_size]
        cap = self.shape.softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def loss(
        self, embedded: Float[Tensor, "batch seq width"], *starts_and_targets: Int[Tensor, "batch seq"]
    ) -> Float[Tensor, ""]:
        """Mean cross entropy in nats, given what `embedded` returned. With `starts`, the place where each token's document begins
        in its row, no token attends to another document, and positions count from there.

        This is the part that training compiles. The table lookup stays outside: compiled, its gradient is added up with
        atomics, in no fixed order, and two equal runs would differ in their last bits. Compiled for a CPU, attention and head
        take the form of `kernels.py`.
        """
        *starts, targets = starts_and_targets
        mask = positions = None
        if starts:
            mask, positions = document_mask(starts[0])
        if torch.compiler.is_compiling() and embedded.device.type == "cpu":
            length = embedded.shape[1]
            if length <= LONGEST_IN_HALVES and mask is None:
                hidden = self._layers(embedded, mask=self.hidden_places[:length, :length], in_halves=True)
            else:
                hidden = self._layers(embedded, mask=mask, positions=positions)
            if self.shape.softcap is None:
                flat = hidden.flatten(0, 1)
                return mean_cross_entropy(flat, self.lm_head.weight, targets.flatten(), self.shape.vocab_size)
        else:
            hidden = self._layers(embedded, mask=mask, positions=positions)
        return mean_loss(self.logits, hidden, targets)

    def forward(
        self, token_ids: Int[Tensor, "batch seq"], *starts_and_targets: Int[Tensor, "batch seq"]
    ) -> Float[Tensor, ""]:
        """Mean cross entropy in nats; see `loss`."""
        return self.loss(self.embedded(token_ids), *starts_and_targets)
