"""The layers of an encoder-decoder Transformer (Vaswani et al. 2017), pre-norm (Xiong et al. 2020, arXiv 2002.04745).

| layer | equation, x (B, S, D) of the source, y (B, T, D) of the target |
|---|---|
| encoder | x = x + self(norm(x)); x = x + feed_forward(norm(x)) |
| decoder | y = y + self(norm(y)); y = y + cross(norm(y), memory); y = y + feed_forward(norm(y)) |

memory = norm(x) after the last encoder layer, and logits = head(norm(y)). Every source token sees every real one; a target token
sees itself, those before it, and every real source token. Norms, SwiGLU and the zero at the end of every part are the
decoder-only family's. Positions are angles of queries and keys within a sequence (rotary; cross-attention has none), or
are added to the embeddings (sinusoidal).

`dropout` acts on embeddings and on what each part adds. The loss is that of every encoder-decoder, see `encoder_decoder.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.encoder_decoder import EncoderDecoder
from pipeline.models.seq2seq_transformer.attention import Angles, Attention, KeysAndValues, sinusoidal_positions
from pipeline.models.seq2seq_transformer.shape import Seq2SeqTransformerShape
from pipeline.models.transformer.network import Linear, RMSNorm, rotary_angles

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

_ROPE_THETA = 10_000.0


class FeedForward(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, shape: Seq2SeqTransformerShape) -> None:
        super().__init__()
        self.gate_proj = Linear(shape.width, shape.feed_forward_width)
        self.up_proj = Linear(shape.width, shape.feed_forward_width)
        self.down_proj = Linear(shape.feed_forward_width, shape.width)

    def forward(self, x: Float[Tensor, "batch seq width"]) -> Float[Tensor, "batch seq width"]:
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class EncoderLayer(nn.Module):
    """Attention to the source itself, then feed-forward."""

    def __init__(self, shape: Seq2SeqTransformerShape) -> None:
        super().__init__()
        self.self_attn_norm = RMSNorm(shape.width)
        self.self_attn = Attention(shape)
        self.mlp_norm = RMSNorm(shape.width)
        self.mlp = FeedForward(shape)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(
        self,
        x: Float[Tensor, "batch source width"],
        mask: Bool[Tensor, "batch 1 1 source"],
        angles: Angles | None,
        dtype: torch.dtype,
    ) -> Float[Tensor, "batch source width"]:
        normed = self.self_attn_norm(x).to(dtype)
        heard, _ = self.self_attn(normed, self.self_attn.keys_and_values(normed, angles), mask, angles)
        x = x + self.dropout(heard)
        out: Tensor = x + self.dropout(self.mlp(self.mlp_norm(x).to(dtype)))
        return out


class DecoderLayer(nn.Module):
    """Attention to the target so far, attention to the source, feed-forward."""

    def __init__(self, shape: Seq2SeqTransformerShape) -> None:
        super().__init__()
        self.self_attn_norm = RMSNorm(shape.width)
        self.self_attn = Attention(shape)
        self.cross_attn_norm = RMSNorm(shape.width)
        self.cross_attn = Attention(shape)
        self.mlp_norm = RMSNorm(shape.width)
        self.mlp = FeedForward(shape)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(
        self,
        y: Float[Tensor, "batch target width"],
        past: KeysAndValues | None,
        memory: KeysAndValues,
        masks: tuple[Tensor | None, Tensor],
        angles: Angles | None,
        dtype: torch.dtype,
        *,
        wants_weights: bool = False,
    ) -> tuple[Float[Tensor, "batch target width"], KeysAndValues, Tensor | None]:
        """The layer's output, the keys and values of the target so far, and the weights over the source."""
        normed = self.self_attn_norm(y).to(dtype)
        seen = self.self_attn.keys_and_values(normed, angles)
        if past is not None:
            seen = (torch.cat((past[0], seen[0]), dim=2), torch.cat((past[1], seen[1]), dim=2))
        heard, _ = self.self_attn(normed, seen, masks[0], angles)
        y = y + self.dropout(heard)
        heard, weights = self.cross_attn(
            self.cross_attn_norm(y).to(dtype), memory, masks[1], None, wants_weights=wants_weights
        )
        y = y + self.dropout(heard)
        return y + self.dropout(self.mlp(self.mlp_norm(y).to(dtype))), seen, weights


class Stack(nn.Module):
    """Embedding, layers and the last norm, of one side."""

    def __init__(self, vocab_size: int, width: int, layers: list[nn.Module]) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab_size, width)
        self.layers = nn.ModuleList(layers)
        self.norm = RMSNorm(width)


@dataclass(slots=True, kw_only=True)
class DecoderState:
    """What the next target token is predicted from, a row a text."""

    memory: list[KeysAndValues]
    """Of each layer: the source's, (B, heads, S, head width)."""
    source_mask: Bool[Tensor, "batch 1 1 source"]
    past: list[KeysAndValues | None]
    """Of each layer: the target's so far."""
    num_tokens: int
    """Of the target so far."""

    def reorder(self, rows: Int[Tensor, " rows"]) -> None:
        """Row i becomes what row `rows[i]` was."""
        self.memory = [(k[rows], v[rows]) for k, v in self.memory]
        self.source_mask = self.source_mask[rows]
        self.past = [None if pair is None else (pair[0][rows], pair[1][rows]) for pair in self.past]


class Seq2SeqTransformer(EncoderDecoder):
    """Source and target ids to logits, or to the mean loss of given targets."""

    shape: Seq2SeqTransformerShape
    cos: Tensor
    sin: Tensor
    places: Tensor

    def __init__(self, shape: Seq2SeqTransformerShape) -> None:
        super().__init__(shape)
        self.encoder = Stack(
            shape.source_vocab_size, shape.width, [EncoderLayer(shape) for _ in range(shape.num_encoder_layers)]
        )
        self.decoder = Stack(
            shape.vocab_size, shape.width, [DecoderLayer(shape) for _ in range(shape.num_decoder_layers)]
        )
        self.lm_head = Linear(shape.width, shape.vocab_size)
        self.dropout = nn.Dropout(shape.dropout)
        self.share_tables(source=self.encoder.embed_tokens, target=self.decoder.embed_tokens, head=self.lm_head)
        cos, sin = rotary_angles(shape.context_tokens, shape.head_width, _ROPE_THETA)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        places = sinusoidal_positions(shape.context_tokens, shape.width)
        self.register_buffer("places", places, persistent=False)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Random weights: matrices uniform with variance 1/inputs, zero where a part writes into the residual stream; tables
        normal with variance 1/width, so that a table that also predicts gives logits of variance 1."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(1.0)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter.zero_()
            elif "embed_tokens" in name or "lm_head" in name:
                parameter.normal_(std=self.shape.width**-0.5, generator=generator)
            else:
                bound = (3.0 / parameter.shape[1]) ** 0.5
                parameter.uniform_(-bound, bound, generator=generator)

    def encode(
        self, source: Int[Tensor, "batch source"], source_lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch source width"], Bool[Tensor, "batch 1 1 source"]]:
        """The memory, and True where a source token is real: the first `source_lengths` of each row."""
        mask = torch.arange(source.shape[1], device=source.device) < source_lengths[:, None]  # (B, S)
        mask = mask[:, None, None, :]
        angles = self._angles(0, source.shape[1])
        x = self._embedded(self.encoder, source, start=0)
        for layer in self.encoder.layers:
            x = layer(x, mask, angles, self.compute_dtype)
        return self.encoder.norm(x).to(self.compute_dtype), mask

    def begin(self, source: Int[Tensor, "batch source"], source_lengths: Int[Tensor, " batch"]) -> DecoderState:
        """The state before the first target token."""
        memory, mask = self.encode(source, source_lengths)
        seen = [layer.cross_attn.keys_and_values(memory, None) for layer in self.decoder.layers]  # type: ignore[union-attr,operator]
        return DecoderState(memory=seen, source_mask=mask, past=[None] * len(seen), num_tokens=0)

    def decode(
        self, target: Int[Tensor, "batch target"], state: DecoderState, *, wants_weights: bool = False
    ) -> tuple[Float[Tensor, "batch target width"], list[Float[Tensor, "batch heads target source"]]]:
        """The last norm's output at each of the given tokens, which go on where the state is; the state moves behind them.
        With `wants_weights`, each layer's attention to the source."""
        start, length = state.num_tokens, target.shape[1]
        causal = None
        if length > 1:
            places = torch.arange(start + length, device=target.device)
            causal = (places <= places[start:, None])[None, None]  # (1, 1, T, start + T)
        y = self._embedded(self.decoder, target, start=start)
        angles = self._angles(start, length)
        found = []
        for number, layer in enumerate(self.decoder.layers):
            y, state.past[number], weights = layer(
                y,
                state.past[number],
                state.memory[number],
                (causal, state.source_mask),
                angles,
                self.compute_dtype,
                wants_weights=wants_weights,
            )
            found += [weights] if wants_weights else []
        state.num_tokens += length
        return self.decoder.norm(y).to(self.compute_dtype), found

    def logits(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch vocab"]:
        """float32."""
        found: Tensor = self.lm_head(hidden).float()
        return found

    def _embedded(self, stack: Stack, token_ids: Int[Tensor, "batch seq"], *, start: int) -> Tensor:
        """Of variance 1, so that what the layers add is of their scale whatever the width."""
        x = stack.embed_tokens(token_ids) * self.shape.width**0.5
        if self.shape.positions == "sinusoidal":
            x = x + self.places[start : start + token_ids.shape[1]]
        out: Tensor = self.dropout(x)
        return out

    def _angles(self, start: int, length: int) -> Angles | None:
        if self.shape.positions != "rotary":
            return None
        return self.cos[start : start + length], self.sin[start : start + length]
