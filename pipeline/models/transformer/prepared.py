"""A Transformer's weights in the form that decoding reads: few matrices, each norm's weight multiplied into the one behind it.

Queries, keys and values are one product, and so are gate and up. A head's dimensions are reordered so that those that turn
together are neighbours, which changes no product of a query with a key: rotary positions are one product of complex numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pipeline.models.products import Product, Products
from pipeline.models.transformer.network import Attention, FeedForward, Layer, Transformer

if TYPE_CHECKING:
    from jaxtyping import Complex, Float


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWeights:
    """Of one layer."""

    queries_keys_values: Product
    norm_weights: Float[Tensor, "heads_and_kv_heads 1 head_width"] | None
    """Of queries and keys, where they are normed."""
    value_mix: Float[Tensor, " 1"] | None
    """How much of the value embeddings the values get, where there are any."""
    output: Product
    gate_up: Product
    """Up alone, where its square is taken in place of a gate."""
    down: Product


class PreparedWeights:
    """A copy, beside the embeddings, which are the network's own; they must not change any more.

    `of_norm` says what a norm leaves to the matrix behind it: its weight, and on a CPU the factor sqrt(width), so that there
    x / sqrt(sum(x^2) + width * epsilon) is all that is left of it.
    """

    def __init__(self, network: Transformer) -> None:
        shape, device = network.shape, network.cos.device
        self.shape, self.dtype = shape, network.compute_dtype
        num_weights = shape.num_matrix_parameters + shape.width * shape.padded_vocab_size
        self.products = Products(num_weights, dtype=self.dtype, device=device)
        self._order = torch.arange(shape.head_width, device=device).view(2, -1).T.flatten()
        with torch.inference_mode():
            half = shape.head_width // 2
            self.angles: Complex[Tensor, "context half_head_width"]
            self.angles = torch.complex(network.cos[:, :half], network.sin[:, :half])
            self.embeddings = [network.model.embed_tokens.weight.detach()]
            if shape.value_embeddings:
                self.embeddings.append(network.model.value_embed_tokens.weight.detach())
            self.layers = [self._prepared(layer) for layer in network.model.layers]  # type: ignore[arg-type]
            self.head = self._product(network.lm_head.weight * self.of_norm(network.model.norm))

    def of_norm(self, norm: nn.Module) -> Float[Tensor, " width"]:
        """What is multiplied behind `x / rms(x)`, or on a CPU behind `x / sqrt(sum(x^2) + width * epsilon)`."""
        weight = norm.get_parameter("weight")
        return weight * len(weight) ** 0.5 if weight.device.type == "cpu" else weight

    def _prepared(self, layer: Layer) -> LayerWeights:
        attention, feed_forward = layer.self_attn, layer.mlp
        assert isinstance(attention, Attention) and isinstance(feed_forward, FeedForward)
        q, k = (self._reordered(projection.weight) for projection in (attention.q_proj, attention.k_proj))
        norm_weights = None
        if self.shape.query_key_norm:
            counts = ((attention.q_norm, self.shape.num_heads), (attention.k_norm, self.shape.num_kv_heads))
            norm_weights = torch.cat([self.of_norm(norm)[self._order].expand(count, 1, -1) for norm, count in counts])
        gate_up = feed_forward.up_proj.weight
        if not feed_forward.relu_squared:
            gate_up = torch.cat((feed_forward.gate_proj.weight, gate_up))
        return LayerWeights(
            queries_keys_values=self._product(
                torch.cat((q, k, attention.v_proj.weight)) * self.of_norm(layer.input_layernorm)
            ),
            norm_weights=norm_weights,
            value_mix=attention.value_mix.detach() if self.shape.value_embeddings else None,
            output=self._product(attention.o_proj.weight),
            gate_up=self._product(gate_up * self.of_norm(layer.post_attention_layernorm)),
            down=self._product(feed_forward.down_proj.weight),
        )

    def _reordered(self, weight: Float[Tensor, "heads_times_head_width width"]) -> Tensor:
        """Each head's outputs 0, h/2, 1, h/2 + 1, ...: those that turn together are neighbours."""
        return weight.view(-1, self.shape.head_width, weight.shape[1])[:, self._order].flatten(0, 1)

    def _product(self, weight: Float[Tensor, "outputs inputs"]) -> Product:
        return self.products.of(weight.to(self.dtype))
