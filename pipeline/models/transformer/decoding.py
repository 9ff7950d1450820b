"""Token after token out of a Transformer, from keys and values that are kept: the same logits as reading everything anew.

Prompts are read as tokens are taken: by prepared weights (`prepared.py`), into a cache of fixed size. What a step costs beside
the products of matrices is the number of operations, so there are few of them. Rows of unequal length are padded on the left,
and the padding is masked out, so that all rows write at the same place. One row of a small network on a CPU is NumPy's
(`one_row.py`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.models.transformer.network import Transformer
from pipeline.models.transformer.one_row import OneRow
from pipeline.models.transformer.prepared import PreparedWeights

if TYPE_CHECKING:
    from jaxtyping import Float, Int


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
        self._weights = PreparedWeights(network)
        self._shape, self._dtype = network.shape, self._weights.dtype
        self._least = {
            width: torch.tensor((width * self._shape.norm_epsilon) ** 0.5)
            for width in (self._shape.width, self._shape.head_width)
        }
        self._one_row = OneRow(self._weights) if self._weights.products.has_rows else None

    def threads(self, num_rows: int) -> AbstractContextManager[None]:
        """Within, as many threads as steps of so many rows can use."""
        return self._weights.products.threads(num_rows)

    @torch.inference_mode()
    def read(
        self, prompts: list[list[int]], *, num_steps: int, pad_id: int
    ) -> tuple[Float[Tensor, "batch vocab"], Cache]:
        """The logits after each prompt, read in one pass; the cache has place for so many steps, if the context has."""
        shape, device = self._shape, self._weights.angles.device
        longest = max(map(len, prompts))
        token_ids = torch.tensor([[pad_id] * (longest - len(p)) + p for p in prompts], device=device)
        most_tokens = min(shape.context_tokens, longest + num_steps)
        padding = hidden_places = mask = None
        if any(len(prompt) < longest for prompt in prompts):
            padding = torch.tensor([longest - len(prompt) for prompt in prompts], device=device)
            places = torch.arange(most_tokens, device=device)
            is_padding = places < padding[:, None]  # (B, T)
            hidden_places = torch.zeros(is_padding.shape, dtype=self._dtype, device=device)
            hidden_places = hidden_places.masked_fill(is_padding, float("-inf"))[:, None, None]
            causal = places[:longest, None] >= places[:longest]
            # a padded query sees itself alone: no row of the softmax is empty, and nobody reads its answer
            itself = torch.eye(longest, dtype=torch.bool, device=device)
            mask = (causal & (~is_padding[:, None, :longest] | itself))[:, None]
        size = (shape.num_layers, len(prompts), 2 * shape.num_kv_heads, most_tokens, shape.head_width)
        kept = torch.empty(size, dtype=self._dtype, device=device)
        cache = Cache(kept=kept, length=0, padding=padding, hidden_places=hidden_places)
        return self._advanced(cache, token_ids, mask), cache

    @torch.inference_mode()
    def step(self, cache: Cache, latest: Int[Tensor, " batch"]) -> Float[Tensor, "batch vocab"]:
        """The logits after one more token in each row, which the cache then holds."""
        assert not cache.is_full, "whoever reads says how many steps will follow"
        if self._one_row is not None and len(latest) == 1 and cache.padding is None:
            cache.length += 1
            return torch.from_numpy(self._one_row.step(cache.kept.numpy()[:, 0], cache.length, int(latest)))
        mask = None if cache.hidden_places is None else cache.hidden_places[..., : cache.length + 1]
        return self._advanced(cache, latest[:, None], mask)

    def _advanced(
        self, cache: Cache, token_ids: Int[Tensor, "batch seq"], mask: Tensor | None
    ) -> Float[Tensor, "batch vocab"]:
        """The logits after the last of the tokens, which the cache then holds: all of the prompts, or one more of each row."""
        shape, (batch, length), start = self._shape, token_ids.shape, cache.length
        cache.length = end = start + length
        if cache.padding is None:
            angles = self._weights.angles[start:end]
        else:
            positions = torch.arange(start, end, device=token_ids.device) - cache.padding[:, None]
            angles = self._weights.angles[positions.clamp_(min=0)][:, None]  # (B, 1, T, head width / 2)
        here = cache.kept[..., start:end, :]  # (layers, B, twice kv heads, T, W)
        keys_and_values = cache.kept[..., :end, :].tensor_split(2, dim=2)
        num_turning, is_exact = shape.num_heads + shape.num_kv_heads, self._dtype == torch.float32
        x, *added_values = (functional.embedding(token_ids.flatten(), table) for table in self._weights.embeddings)
        for weights, place, keys, values in zip(self._weights.layers, here, *keys_and_values, strict=True):
            made = weights.queries_keys_values(self._normed(x))
            made = made if is_exact else made.float()
            made = made.view(batch, length, -1, shape.head_width).transpose(1, 2)  # (B, heads, T, W)
            turning = made[:, :num_turning]
            if weights.norm_weights is not None:
                torch.mul(self._normed(turning), weights.norm_weights, out=turning)
            torch.view_as_complex(turning.view(batch, num_turning, length, -1, 2)).mul_(angles)
            for added in added_values:
                mixed = weights.value_mix * added
                made[:, num_turning:] += mixed.view(batch, length, -1, shape.head_width).transpose(1, 2)
            place.copy_(made[:, shape.num_heads :])
            if length > 1 and weights is self._weights.layers[-1]:  # whose answers to earlier tokens nobody reads
                made, x = made[:, :, -1:], x.view(batch, length, -1)[:, -1]
                length, mask = 1, None if mask is None else mask[..., -1:, :]
            queries = made[:, : shape.num_heads]
            heard = self._attended(queries if is_exact else queries.to(self._dtype), keys, values, mask)
            x = weights.output(heard, plus=x)
            wide = weights.gate_up(self._normed(x))
            if shape.relu_squared:
                inner = functional.relu(wide).square()
            else:
                gate, up = wide.chunk(2, dim=-1)
                inner = functional.silu(gate).mul_(up)
            x = weights.down(inner, plus=x)
        logits = self._weights.head(self._normed(x)).float()[:, : shape.vocab_size]
        return logits if shape.softcap is None else shape.softcap * torch.tanh(logits / shape.softcap)

    def _attended(
        self, queries: Float[Tensor, "batch heads seq width"], keys: Tensor, values: Tensor, mask: Tensor | None
    ) -> Float[Tensor, "rows heads_times_width"]:
        batch, _, length, width = queries.shape
        if length > 1:
            heard = functional.scaled_dot_product_attention(
                queries,
                keys,
                values,
                attn_mask=mask,
                is_causal=mask is None,
                enable_gqa=keys.shape[1] < queries.shape[1],
            )
            return heard.transpose(1, 2).reshape(batch * length, -1)
        grouped = queries.view(batch, self._shape.num_kv_heads, -1, width)  # heads of one group as places of one head
        return functional.scaled_dot_product_attention(grouped, keys, values, attn_mask=mask).reshape(batch, -1)

    def _normed(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """x / rms(x), on a CPU without the factor sqrt(width); the rest of the norm is part of what follows."""
        width = x.shape[-1]
        if x.device.type != "cpu":
            return functional.rms_norm(x, (width,), eps=self._shape.norm_epsilon)
        # on a CPU the library's norm is a dozen operations, 40 us for a row of 256; these are three, 5 us
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x / torch.hypot(length, self._least[width])  # rms(x) = sqrt(length^2 / width + epsilon)
