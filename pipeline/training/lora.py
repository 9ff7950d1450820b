"""Low-rank adapters: W x + (alpha / rank) B A x, where W stays and only A and B learn (Hu et al. 2021, arXiv 2106.09685).

B begins at zero, so that training begins with the model as it was. Saving merges the product into W: what comes out is a plain
network. Trade-off: merging rounds once, so its last bits are not those of the two products.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import ConfigurationError
from pipeline.models.transformer.network import Linear

if TYPE_CHECKING:
    from jaxtyping import Float

ADAPTERS = ("adapter_down", "adapter_up")
"""How the names of A and B end."""


class AdaptedLinear(Linear):
    """A frozen matrix of another layer and its adapter."""

    def __init__(self, plain: Linear, *, rank: int, scale: float, generator: torch.Generator) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.weight = plain.weight
        self.register_parameter("bias", None)
        self.scale = scale
        bound = self.in_features**-0.5  # variance 1 / (3 inputs), as the paper's code draws it
        down = torch.empty(rank, self.in_features).uniform_(-bound, bound, generator=generator)
        self.adapter_down = nn.Parameter(down)
        self.adapter_up = nn.Parameter(torch.zeros(self.out_features, rank))

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        low = functional.linear(x, self.adapter_down.to(x.dtype))
        return super().forward(x) + functional.linear(low, self.adapter_up.to(x.dtype)) * self.scale

    def merged(self) -> Linear:
        """A plain layer that computes the same."""
        plain = Linear(self.in_features, self.out_features)
        product = self.adapter_up.data.double() @ self.adapter_down.data.double()
        plain.weight = nn.Parameter((self.weight.data.double() + self.scale * product).float())
        return plain


def add_adapters(network: nn.Module, *, rank: int, alpha: float, targets: Sequence[str], seed: int) -> None:
    """Freezes the network and gives every matrix whose name ends with a target an adapter.

    Raises:
        ConfigurationError: a target is no matrix of the network.
    """
    matrices = {path: module for path, module in network.named_modules() if type(module) is Linear and "." in path}
    known = sorted({path.rsplit(".", 1)[1] for path in matrices})
    for target in targets:
        if target not in known:
            raise ConfigurationError(
                f"lora.targets names {target!r}, which is no matrix of the network; it has {', '.join(known)}. "
                "Correct it."
            )
    network.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for path, matrix in matrices.items():
        parent, _, last = path.rpartition(".")
        if last in targets:
            adapted = AdaptedLinear(matrix, rank=rank, scale=alpha / rank, generator=generator)
            setattr(network.get_submodule(parent), last, adapted)


def merge_adapters(network: nn.Module) -> None:
    """Makes the network plain again, with the adapters' products in its matrices."""
    for path, module in list(network.named_modules()):
        if isinstance(module, AdaptedLinear):
            parent, _, last = path.rpartition(".")
            setattr(network.get_submodule(parent), last, module.merged())
