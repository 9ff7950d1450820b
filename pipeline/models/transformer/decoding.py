"""Token after token out of a Transformer, from keys and values that are kept: the same logits as reading everything anew.

A prepared copy of the weights and a cache of fixed size. What a step costs beside the products of matrices is the number of
operations, so there are few of them:

- queries, keys and values are one product, and so are gate and up; matrices lie transposed, and the head in blocks, which is
  how products with few rows are fastest; each norm's weight is multiplied into the matrix behind it;
- rotary positions are one product of complex numbers: a head's dimensions are reordered so that those that turn together are
  neighbours, which changes no product of a query with a key;
- the cache is allocated once, and a step writes its place in it; rows of unequal length are padded on the left, and the padding
  is masked out, so that all rows write at the same place.

The copy takes as much memory as the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.models.transformer.network import Attention, FeedForward, Layer, Transformer

if TYPE_CHECKING:
    from jaxtyping import Float, Int

HEAD_BLOCKS = 8
ONE_THREAD_BYTES = 32 << 20
"""Weights up to this stay in a processor's caches, and a step's products are so short that a second thread costs more to wake
than it does: at 21 MB and 8 rows, 1.9 ms on one thread and 2.4 ms on two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _LayerWeights:
    """Of one layer, ready for x @ weight."""

    queries_keys_values: Float[Tensor, "width heads_and_twice_kv_heads_times_head_width"]
    norm_weights: Float[Tensor, "heads_and_kv_heads head_width"] | None
    """Of queries and keys, where they are normed."""
    value_mix: Float[Tensor, " 1"] | None
    """How much of the value embeddings the values get, where there are any."""
    output: Float[Tensor, "heads_times_head_width width"]
    gate_up: Float[Tensor, "width feed_forward_width_or_twice_that"]
    """Up alone, where its square is taken in place of a gate."""
    down: Float[Tensor, "feed_forward_width width"]


@dataclass(slots=True, kw_only=True)
class Cache:
    """What the rows have said so far; each call of `read` makes one, so that texts can be continued beside each other."""

    keys: list[Float[Tensor, "batch kv_heads most_tokens head_width"]]
    """Of each layer."""
    values: list[Float[Tensor, "batch kv_heads most_tokens head_width"]]
    length: int
    """Places filled, padding included."""
    padding: Int[Tensor, " batch"] | None
    """Places at the left of each row that hold nothing; None where no row has any."""
    hidden_places: Float[Tensor, "batch 1 1 most_tokens"] | None
    """-inf at the padding and 0 elsewhere."""

    @property
    def is_full(self) -> bool:
        """No place is left for another step."""
        return self.length == self.keys[0].shape[2]


class Decoder:
    """Reads prompts together, then takes one token of each row at a time. The network's weights must not change any more."""

    def __init__(self, network: Transformer) -> None:
        self._network, self._dtype = network, network.compute_dtype
        shape = network.shape
        self._epsilon = shape.norm_epsilon
        self._num_heads, self._num_kv_heads, self._head_width = shape.num_heads, shape.num_kv_heads, shape.head_width
        with torch.inference_mode():
            self._order = torch.arange(shape.head_width, device=network.cos.device).view(2, -1).T.flatten()
            half = shape.head_width // 2
            self._angles = torch.complex(network.cos[:, :half], network.sin[:, :half])  # (T, head width / 2)
            self._layers = [self._prepared(layer) for layer in network.model.layers]  # type: ignore[arg-type]
            head = network.lm_head.weight.to(self._dtype)
            num_blocks = HEAD_BLOCKS if len(head) % HEAD_BLOCKS == 0 else 1
            self._head = head.view(num_blocks, -1, shape.width).mT.contiguous()  # (blocks, width, vocabulary / blocks)

    def _prepared(self, layer: Layer) -> _LayerWeights:
        attention, feed_forward = layer.self_attn, layer.mlp
        assert isinstance(attention, Attention) and isinstance(feed_forward, FeedForward)
        before = layer.input_layernorm.weight
        q, k = (self._reordered(projection.weight) for projection in (attention.q_proj, attention.k_proj))
        norm_weights = None
        if self._network.shape.query_key_norm:
            counts = ((attention.q_norm, self._num_heads), (attention.k_norm, self._num_kv_heads))
            norm_weights = torch.cat(
                [norm.get_parameter("weight")[self._order].expand(count, -1) for norm, count in counts]
            )
        gate_up = feed_forward.up_proj.weight
        if not feed_forward.relu_squared:
            gate_up = torch.cat((feed_forward.gate_proj.weight, gate_up))
        return _LayerWeights(
            queries_keys_values=self._transposed(torch.cat((q, k, attention.v_proj.weight)) * before),
            norm_weights=norm_weights,
            value_mix=attention.value_mix if self._network.shape.value_embeddings else None,
            output=self._transposed(attention.o_proj.weight),
            gate_up=self._transposed(gate_up * layer.post_attention_layernorm.weight),
            down=self._transposed(feed_forward.down_proj.weight),
        )

    def _reordered(self, weight: Float[Tensor, "heads_times_head_width width"]) -> Tensor:
        """Each head's outputs 0, h/2, 1, h/2 + 1, ...: those that turn together are neighbours."""
        return weight.view(-1, self._head_width, weight.shape[1])[:, self._order].flatten(0, 1)

    def _transposed(self, weight: Float[Tensor, "outputs inputs"]) -> Float[Tensor, "inputs outputs"]:
        return weight.to(self._dtype).T.contiguous()

    @contextmanager
    def threads(self) -> Iterator[None]:
        """Within, as many threads as steps of this size can use."""
        before = torch.get_num_threads()
        weights = [
            tensor for layer in self._layers for tensor in (layer.queries_keys_values, layer.gate_up, layer.down)
        ]
        if sum(tensor.nbytes for tensor in (*weights, self._head)) <= ONE_THREAD_BYTES:
            torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    @torch.inference_mode()
    def read(
        self, prompts: list[list[int]], *, num_steps: int, pad_id: int
    ) -> tuple[Float[Tensor, "batch vocab"], Cache]:
        """The logits after each prompt, read in one pass; the cache has place for so many steps, if the context has."""
        longest, device = max(map(len, prompts)), self._head.device
        token_ids = torch.tensor([[pad_id] * (longest - len(p)) + p for p in prompts], device=device)
        most_tokens = min(self._network.shape.context_tokens, longest + num_steps)
        padding = hidden_places = positions = mask = None
        if any(len(prompt) < longest for prompt in prompts):
            padding = torch.tensor([longest - len(prompt) for prompt in prompts], device=device)
            places = torch.arange(most_tokens, device=device)
            is_padding = places < padding[:, None]  # (B, T)
            hidden_places = torch.zeros(is_padding.shape, dtype=self._dtype, device=device)
            hidden_places = hidden_places.masked_fill(is_padding, float("-inf"))[:, None, None]
            positions = (places[:longest] - padding[:, None]).clamp(min=0)
            causal = places[:longest, None] >= places[:longest]
            # a padded query sees itself alone: no row of the softmax is empty, and nobody reads its answer
            itself = torch.eye(longest, dtype=torch.bool, device=device)
            mask = (causal & (~is_padding[:, None, :longest] | itself))[:, None]
        hidden, seen = self._network.hidden(token_ids, positions=positions, mask=mask)
        size = (len(prompts), self._num_kv_heads, most_tokens, self._head_width)
        cache = Cache(
            keys=[torch.empty(size, dtype=self._dtype, device=device) for _ in seen],
            values=[torch.empty(size, dtype=self._dtype, device=device) for _ in seen],
            length=longest,
            padding=padding,
            hidden_places=hidden_places,
        )
        for number, (keys, values) in enumerate(seen):
            cache.keys[number][:, :, :longest] = keys[..., self._order]
            cache.values[number][:, :, :longest] = values
        return self._logits(hidden[:, -1]), cache

    @torch.inference_mode()
    def step(self, cache: Cache, latest: Int[Tensor, " batch"]) -> Float[Tensor, "batch vocab"]:
        """The logits after one more token in each row, which the cache then holds."""
        assert not cache.is_full, "whoever reads says how many steps will follow"
        place, batch = cache.length, len(latest)
        cache.length += 1
        hidden_places = None if cache.hidden_places is None else cache.hidden_places[..., : cache.length]
        angles = self._angles[place] if cache.padding is None else self._angles[place - cache.padding][:, None]
        num_turning = self._num_heads + self._num_kv_heads
        shape = self._network.shape
        x, added_values = self._network.embedded(latest[:, None])[:, 0].tensor_split([shape.width], dim=-1)  # float32
        added_values = added_values.view(batch, -1, self._head_width)
        for weights, keys, values in zip(self._layers, cache.keys, cache.values, strict=True):
            made = (self._normed(x) @ weights.queries_keys_values).view(batch, -1, self._head_width)
            turning = made[:, :num_turning].float()
            if weights.norm_weights is not None:
                turning = functional.rms_norm(turning, (self._head_width,), eps=self._epsilon) * weights.norm_weights
            pairs = torch.view_as_complex(turning.reshape(batch, num_turning, -1, 2))
            turned = torch.view_as_real(pairs * angles).flatten(-2).to(self._dtype)
            keys[:, :, place] = turned[:, self._num_heads :]
            said = made[:, num_turning:]
            if weights.value_mix is not None:
                said = said + weights.value_mix * added_values
            values[:, :, place] = said
            heard = functional.scaled_dot_product_attention(
                turned[:, : self._num_heads].view(batch, self._num_kv_heads, -1, self._head_width),  # (B, kv, group, W)
                keys[:, :, : cache.length],
                values[:, :, : cache.length],
                attn_mask=hidden_places,
            )
            x = self._added(x, heard.reshape(batch, -1), weights.output)
            wide = self._normed(x) @ weights.gate_up
            if shape.relu_squared:
                inner = functional.relu(wide).square()
            else:
                gate, up = wide.chunk(2, dim=-1)
                inner = functional.silu(gate) * up
            x = self._added(x, inner, weights.down)
        return self._logits(functional.rms_norm(x, x.shape[-1:], self._network.model.norm.weight, self._epsilon))

    def _normed(self, x: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        """Without the norm's weight, which is part of the matrix that follows."""
        return functional.rms_norm(x, x.shape[-1:], eps=self._epsilon).to(self._dtype)

    def _added(self, x: Tensor, inputs: Tensor, weight: Tensor) -> Float[Tensor, "batch width"]:
        """x + inputs @ weight; the stream stays float32."""
        return torch.addmm(x, inputs, weight) if self._dtype == x.dtype else x + inputs @ weight

    def _logits(self, hidden: Float[Tensor, "batch width"]) -> Float[Tensor, "batch vocab"]:
        blocks = hidden.to(self._dtype) @ self._head  # (blocks, B, vocabulary / blocks)
        logits = blocks.transpose(0, 1).flatten(1).float()[:, : self._network.shape.vocab_size]
        cap = self._network.shape.softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)
