"""What happens inside a Transformer as it reads a text: where each head looks, and what each layer would predict.

In: a Transformer and token ids, at most its context. Out: attention weights, and for every layer the prediction that the output
head makes of the residual stream there (logit lens; nostalgebraist 2020). The network is watched, not changed: queries and keys
are taken where they are normed, and the weights are softmax(q k^T / sqrt(head width)) with the future masked, as in its layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pipeline.models.transformer.network import rotate

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from pipeline.models.transformer.model import TransformerModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Internals:
    """Of one text of T tokens."""

    attention: Float[Tensor, "layers heads seq seq"]
    """Row t: how much token t looks at each token up to itself; rows sum to 1."""
    predictions: Int[Tensor, "layers seq"]
    """The most likely next token by the residual stream after each layer; the last layer's is the model's own."""
    confidences: Float[Tensor, "layers seq"]
    """Probability of that token."""


@torch.inference_mode()
def look_inside(model: TransformerModel, token_ids: list[int]) -> Internals:
    """Attention and logit lens of a text."""
    network = model.network
    queries: list[Tensor] = []
    keys: list[Tensor] = []
    streams: list[Tensor] = []
    with _watching(
        [
            *((layer.get_submodule("self_attn.q_norm"), queries) for layer in network.model.layers),
            *((layer.get_submodule("self_attn.k_norm"), keys) for layer in network.model.layers),
            *((layer, streams) for layer in network.model.layers),
        ]
    ):
        network.hidden(torch.tensor([token_ids], device=model.device))
    length = len(token_ids)
    cos, sin = network.cos[:length], network.sin[:length]
    attention = [_weights(query, key, cos, sin) for query, key in zip(queries, keys, strict=True)]
    logits = [network.logits(network.model.norm(stream[0])) for stream in streams]
    probabilities = torch.stack(logits).softmax(-1)  # (L, T, V)
    confidences, predictions = probabilities.max(-1)
    return Internals(
        attention=torch.stack(attention).cpu(), predictions=predictions.cpu(), confidences=confidences.cpu()
    )


def _weights(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(H, T, T) of normed queries (1, T, H, W) and keys (1, T, K, W)."""
    q, k = (rotate(x.transpose(1, 2).float(), cos, sin) for x in (query, key))
    k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)
    scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5  # (1, H, T, T)
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
    weights: Tensor = scores.masked_fill(future, float("-inf")).softmax(-1)[0]
    return weights


@contextmanager
def _watching(parts: list[tuple[Any, list[Tensor]]]) -> Iterator[None]:
    """Keeps the output of each module in its list while the block runs."""

    def keeper(kept: list[Tensor]) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            kept.append(output)

        return keep

    handles = [module.register_forward_hook(keeper(kept)) for module, kept in parts]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
