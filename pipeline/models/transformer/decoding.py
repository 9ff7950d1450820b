"""Token after token out of a Transformer, from keys and values that are kept: the same logits as reading everything anew.

A prepared copy of the weights and a cache of fixed size. What a step costs beside the products of matrices is the number of
operations, so there are few of them:

- queries, keys and values are one product, and so are gate and up; matrices lie as products with few rows are fastest
  (`../products.py`); each norm's weight is multiplied into the matrix behind it;
- rotary positions are one product of complex numbers: a head's dimensions are reordered so that those that turn together are
  neighbours, which changes no product of a query with a key;
- the cache is allocated once, and a step writes its place in it; rows of unequal length are padded on the left, and the padding
  is masked out, so that all rows write at the same place;
- a small network on a CPU takes one row on one thread.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.products import Product, Products
from pipeline.models.transformer.network import Attention, FeedForward, Layer, Transformer

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True, slots=True, kw_only=True)
class _LayerWeights:
    """Of one layer."""

    queries_keys_values: Product
    norm_weights: Float[Tensor, "heads_and_kv_heads head_width"] | None
    """Of queries and keys, where they are normed."""
    value_mix: Float[Tensor, " 1"] | None
    """How much of the value embeddings the values get, where there are any."""
    output: Product
    gate_up: Product
    """Up alone, where its square is taken in place of a gate."""
    down: Product


@dataclass(slots=True, kw_only=True)
class Cache:
    """What the rows have said so far; each call of `read` makes one, so that texts can be continued beside each other."""

    kept: Float[Tensor, "layers batch twice_kv_heads most_tokens head_width"]
    """Keys, and behind them as many heads of values."""
    length: int
    """Places filled, padding included."""
    padding: Int[Tensor, " batch"] | None
    """Places at the left of each row that hold nothing; None where no row has any."""
    hidden_places: Float[Tensor, "batch 1 1 most_tokens"] | None
    """-inf at the padding and 0 elsewhere."""

    @property
    def is_full(self) -> bool:
        """No place is left for another step."""
        return self.length == self.kept.shape[3]


class Decoder:
    """Reads prompts together, then takes one token of each row at a time. The network's weights must not change any more."""

    def __init__(self, network: Transformer) -> None:
        self._network, self._dtype = network, network.compute_dtype
        shape, device = network.shape, network.cos.device
        self._num_heads, self._num_kv_heads, self._head_width = shape.num_heads, shape.num_kv_heads, shape.head_width
        num_weights = shape.num_matrix_parameters + shape.width * shape.padded_vocab_size
        self._products = Products(num_weights, dtype=self._dtype, device=device)
        with torch.inference_mode():
            self._order = torch.arange(shape.head_width, device=device).view(2, -1).T.flatten()
            half = shape.head_width // 2
            self._angles = torch.complex(network.cos[:, :half], network.sin[:, :half])  # (T, head width / 2)
            self._least = {
                width: torch.tensor((width * shape.norm_epsilon) ** 0.5) for width in (shape.width, shape.head_width)
            }
            self._layers = [self._prepared(layer) for layer in network.model.layers]  # type: ignore[arg-type]
            self._head = self._product(network.lm_head.weight * self._norm_weight(network.model.norm))

    def _prepared(self, layer: Layer) -> _LayerWeights:
        attention, feed_forward = layer.self_attn, layer.mlp
        assert isinstance(attention, Attention) and isinstance(feed_forward, FeedForward)
        q, k = (self._reordered(projection.weight) for projection in (attention.q_proj, attention.k_proj))
        norm_weights = None
        if self._network.shape.query_key_norm:
            counts = ((attention.q_norm, self._num_heads), (attention.k_norm, self._num_kv_heads))
            norm_weights = torch.cat([self._norm_weight(norm)[self._order].expand(count, -1) for norm, count in counts])
        gate_up = feed_forward.up_proj.weight
        if not feed_forward.relu_squared:
            gate_up = torch.cat((feed_forward.gate_proj.weight, gate_up))
        return _LayerWeights(
            queries_keys_values=self._product(
                torch.cat((q, k, attention.v_proj.weight)) * self._norm_weight(layer.input_layernorm)
            ),
            norm_weights=norm_weights,
            value_mix=attention.value_mix if self._network.shape.value_embeddings else None,
            output=self._product(attention.o_proj.weight),
            gate_up=self._product(gate_up * self._norm_weight(layer.post_attention_layernorm)),
            down=self._product(feed_forward.down_proj.weight),
        )

    def _reordered(self, weight: Float[Tensor, "heads_times_head_width width"]) -> Tensor:
        """Each head's outputs 0, h/2, 1, h/2 + 1, ...: those that turn together are neighbours."""
        return weight.view(-1, self._head_width, weight.shape[1])[:, self._order].flatten(0, 1)

    def _product(self, weight: Float[Tensor, "outputs inputs"]) -> Product:
        return self._products.of(weight.to(self._dtype))

    def threads(self, num_rows: int) -> AbstractContextManager[None]:
        """Within, as many threads as steps of so many rows can use."""
        return self._products.threads(num_rows)

    @torch.inference_mode()
    def read(
        self, prompts: list[list[int]], *, num_steps: int, pad_id: int
    ) -> tuple[Float[Tensor, "batch vocab"], Cache]:
        """The logits after each prompt, read in one pass; the cache has place for so many steps, if the context has."""
        longest, device = max(map(len, prompts)), self._angles.device
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
        size = (len(seen), len(prompts), 2 * self._num_kv_heads, most_tokens, self._head_width)
        kept = torch.empty(size, dtype=self._dtype, device=device)
        for here, (keys, values) in zip(kept[..., :longest, :], seen, strict=True):
            torch.cat((keys[..., self._order], values), dim=1, out=here)
        cache = Cache(kept=kept, length=longest, padding=padding, hidden_places=hidden_places)
        return self._network.logits(hidden[:, -1]), cache

    @torch.inference_mode()
    def step(self, cache: Cache, latest: Int[Tensor, " batch"]) -> Float[Tensor, "batch vocab"]:
        """The logits after one more token in each row, which the cache then holds."""
        assert not cache.is_full, "whoever reads says how many steps will follow"
        place, batch = cache.length, len(latest)
        cache.length += 1
        hidden_places = None if cache.hidden_places is None else cache.hidden_places[..., : cache.length]
        angles = self._angles[place] if cache.padding is None else self._angles[place - cache.padding][:, None]
        here = cache.kept[..., place, :]  # (layers, B, twice kv heads, W)
        keys_and_values = cache.kept[..., : cache.length, :].tensor_split(2, dim=2)
        num_turning = self._num_heads + self._num_kv_heads
        shape = self._network.shape
        x, added_values = self._network.embedded(latest).tensor_split([shape.width], dim=-1)  # float32
        for weights, place_of_layer, keys, values in zip(self._layers, here, *keys_and_values, strict=True):
            made = weights.queries_keys_values(self._normed(x)).float().view(batch, -1, self._head_width)
            turning = made[:, :num_turning]
            if weights.norm_weights is not None:
                torch.mul(self._normed(turning), weights.norm_weights, out=turning)
            torch.view_as_complex(turning.view(batch, num_turning, -1, 2)).mul_(angles)
            if weights.value_mix is not None:
                made[:, num_turning:] += weights.value_mix * added_values.view(batch, -1, self._head_width)
            place_of_layer.copy_(made[:, self._num_heads :])
            queries = made[:, : self._num_heads].to(self._dtype)
            heard = functional.scaled_dot_product_attention(
                queries.view(batch, self._num_kv_heads, -1, self._head_width),  # (B, kv heads, group, W)
                keys,
                values,
                attn_mask=hidden_places,
            )
            x = weights.output(heard.reshape(batch, -1), plus=x)
            wide = weights.gate_up(self._normed(x))
            if shape.relu_squared:
                inner = functional.relu(wide).square()
            else:
                gate, up = wide.chunk(2, dim=-1)
                inner = functional.silu(gate) * up
            x = weights.down(inner, plus=x)
        logits = self._head(self._normed(x)).float()[:, : shape.vocab_size]
        return logits if shape.softcap is None else shape.softcap * torch.tanh(logits / shape.softcap)

    def _norm_weight(self, norm: nn.Module) -> Float[Tensor, " width"]:
        """What is multiplied behind `_normed`."""
        weight = norm.get_parameter("weight")
        return weight * len(weight) ** 0.5 if weight.device.type == "cpu" else weight

    def _normed(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """x / rms(x), on a CPU without the factor sqrt(width); the rest of the norm is part of what follows."""
        width = x.shape[-1]
        if x.device.type != "cpu":
            return functional.rms_norm(x, (width,), eps=self._network.shape.norm_epsilon)
        # on a CPU the library's norm is a dozen operations, 40 us for a row of 256; these are three, 5 us
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x / torch.hypot(length, self._least[width])  # rms(x) = sqrt(length^2 / width + epsilon)
