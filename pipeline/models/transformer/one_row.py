"""One more token of one text, by NumPy: what `decoding.py` computes, where calling an operation costs more than the operation.

A step of a small network is about 140 operations on a few hundred numbers each. Torch takes one to four microseconds to begin
one, NumPy a third of that.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.models.products import row_weight
from pipeline.models.transformer.prepared import LayerWeights, PreparedWeights

if TYPE_CHECKING:
    from jaxtyping import Float

Array = np.ndarray[Any, np.dtype[np.float32]]


class _Layer:
    """The arrays of one layer; a product is `row @ matrix`."""

    def __init__(self, weights: LayerWeights) -> None:
        self.queries_keys_values = row_weight(weights.queries_keys_values)
        self.output, self.gate_up, self.down = map(row_weight, (weights.output, weights.gate_up, weights.down))
        self.norm_weights = None if weights.norm_weights is None else weights.norm_weights[:, 0].numpy()
        self.value_mix = 0.0 if weights.value_mix is None else float(weights.value_mix)


class OneRow:
    """Steps of one text without padding, in float32 on a CPU."""

    def __init__(self, weights: PreparedWeights) -> None:
        self._shape = weights.shape
        self._layers = [_Layer(layer) for layer in weights.layers]
        self._head = row_weight(weights.head)
        self._embeddings = [table.numpy() for table in weights.embeddings]
        self._angles = weights.angles.numpy()

    def step(
        self, kept: Float[Array, "layers twice_kv_heads most_tokens head_width"], length: int, token: int
    ) -> Float[Array, "1 vocab"]:
        """The logits after the token, whose keys and values are written at place `length` - 1 of `kept`."""
        shape, place = self._shape, length - 1
        num_kv_heads, num_turning = shape.num_kv_heads, shape.num_heads + shape.num_kv_heads
        angles = self._angles[place]
        x, *added_values = (table[token] for table in self._embeddings)
        with np.errstate(over="ignore"):  # exp of a gate far below 0: infinite, and what is divided by it is 0
            for weights, cache in zip(self._layers, kept, strict=True):
                made = (self._normed(x) @ weights.queries_keys_values).reshape(-1, shape.head_width)
                turning, values = made[:num_turning], made[num_turning:]
                if weights.norm_weights is not None:
                    squares = np.einsum("hw,hw->h", turning, turning)
                    squares += shape.head_width * shape.norm_epsilon
                    turning *= weights.norm_weights / np.sqrt(squares)[:, None]
                turned = turning.view(np.complex64)
                turned *= angles
                for added in added_values:
                    values += weights.value_mix * added.reshape(values.shape)
                cache[:num_kv_heads, place] = turning[shape.num_heads :]
                cache[num_kv_heads:, place] = values
                x = x + self._heard(turning[: shape.num_heads], cache[:, :length]) @ weights.output
                wide = self._normed(x) @ weights.gate_up
                if shape.relu_squared:
                    inner = np.maximum(wide, 0)
                    inner *= inner
                else:
                    gate, up = wide[: len(wide) // 2], wide[len(wide) // 2 :]
                    inner = np.exp(-gate)
                    inner += 1
                    np.divide(gate, inner, out=inner)
                    inner *= up
                x = x + inner @ weights.down
        logits = (self._normed(x) @ self._head)[None, : shape.vocab_size]
        return logits if shape.softcap is None else shape.softcap * np.tanh(logits / shape.softcap)

    def _heard(
        self, queries: Float[Array, "heads width"], kept: Float[Array, "twice_kv_heads length width"]
    ) -> Float[Array, " heads_times_width"]:
        """softmax(q k^T / sqrt(width)) v, each group of heads by its keys and values."""
        num_kv_heads, width = self._shape.num_kv_heads, queries.shape[1]
        grouped = queries.reshape(num_kv_heads, -1, width) * width**-0.5
        weights = np.matmul(grouped, kept[:num_kv_heads].swapaxes(1, 2))  # (kv heads, group, length)
        weights -= weights.max(-1, keepdims=True)
        np.exp(weights, out=weights)
        weights /= weights.sum(-1, keepdims=True)
        heard: Array = np.matmul(weights, kept[num_kv_heads:]).reshape(-1)
        return heard

    def _normed(self, x: Float[Array, " width"]) -> Float[Array, " width"]:
        """Without the factor sqrt(width), as on every CPU."""
        normed: Array = x * (1 / math.sqrt(float(x.dot(x)) + len(x) * self._shape.norm_epsilon))
        return normed
