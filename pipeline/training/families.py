"""The families that the training loop serves: from a spec's name and sizes to a network, and from that to a model."""

from __future__ import annotations

from typing import Any

from pipeline.models.interface import LanguageModel
from pipeline.models.recurrent.model import RecurrentModel
from pipeline.models.recurrent.network import Recurrent
from pipeline.models.recurrent.shape import RecurrentShape
from pipeline.models.transformer.model import TransformerModel
from pipeline.models.transformer.network import Transformer
from pipeline.models.transformer.shape import TransformerShape

Shape = TransformerShape | RecurrentShape
Network = Transformer | Recurrent


def shape_of(family: str, sizes: dict[str, Any]) -> Shape:
    """The sizes of a spec as the family's own."""
    return TransformerShape(**sizes) if family == "transformer" else RecurrentShape(**sizes)


def network_of(shape: Shape) -> Network:
    """A network of these sizes, its weights not yet set."""
    return Transformer(shape) if isinstance(shape, TransformerShape) else Recurrent(shape)


def model_of(network: Network, **identity: Any) -> LanguageModel:
    """A trained network as a model; `identity` is its tokenizer's hash and special ids."""
    if isinstance(network, Transformer):
        return TransformerModel(network, **identity)
    return RecurrentModel(network, **identity)
