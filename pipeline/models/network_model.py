"""What every trained network has in common as a model: its identity, its sizes, and where its weights are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

from pipeline.models.interface import GenerationParameters


class Sizes(Protocol):
    """Of a family's shape."""

    @property
    def context_tokens(self) -> int: ...

    @property
    def num_parameters(self) -> int: ...


class Head(Protocol):
    """The last layer."""

    @property
    def weight(self) -> Tensor: ...


class SizedNetwork(Protocol):
    """Of a network, what is needed here."""

    @property
    def shape(self) -> Sizes: ...

    @property
    def lm_head(self) -> Head: ...

    def eval(self) -> Self: ...


N = TypeVar("N", bound=SizedNetwork)


class NetworkModel(ABC, Generic[N]):
    """A network with the special ids and the tokenizer hash it was trained with; its weights do not change any more."""

    def __init__(self, network: N, *, tokenizer_hash: str, bos_id: int, eos_id: int, pad_id: int) -> None:
        self.network = network.eval()
        self.tokenizer_hash = tokenizer_hash
        self.bos_id, self.eos_id, self.pad_id = bos_id, eos_id, pad_id

    @property
    @abstractmethod
    def family(self) -> str:
        """What the project file calls it."""

    @property
    def context_tokens(self) -> int:
        """The longest sequence that `score` takes; of an encoder-decoder the longest source, its marks included, and the longest
        target with its end."""
        return self.network.shape.context_tokens

    @property
    def num_parameters(self) -> int:
        """As saved."""
        return self.network.shape.num_parameters

    def kept_of_prompt(self, length: int, parameters: GenerationParameters) -> int:
        """All of a prompt is read, whatever its length."""
        return length

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.network.lm_head.weight.device
