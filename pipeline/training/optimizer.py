"""Muon for hidden matrices, AdamW for embedding, head, vectors and adapters.

Muon replaces a matrix's momentum by the nearest semi-orthogonal matrix, through five steps of a quintic Newton-Schulz
iteration (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"). Matrices of one shape are stacked
and iterated together: a few large products instead of many small ones. An update can be masked out by a flag on the device.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pipeline.training.distributed import ALONE, Alone
from pipeline.training.lora import ADAPTERS
from pipeline.training.sgd import Sgd
from pipeline.training.spec import TrainingSpec

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
MOMENTUM = 0.95
ADAM_BETAS = (0.8, 0.95)
ADAM_EPSILON = 1e-10


def orthogonalised(
    matrices: Float[Tensor, "stack rows columns"], dtype: torch.dtype
) -> Float[Tensor, "stack rows columns"]:
    """Each matrix with its singular values brought near 1 (between about 0.7 and 1.2), its singular vectors kept."""
    a, b, c = _COEFFICIENTS
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    x = x.to(dtype)
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:
        x = x.mT
    for _ in range(_ITERATIONS):
        square = x @ x.mT
        polynomial = torch.baddbmm(square, square, square, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)  # a x + (b square + c square^2) x, sums within the products
    orthogonal: Tensor = (x.mT if is_tall else x).float()
    return orthogonal


class Optimizer:
    """Both halves under one schedule; its state is a flat mapping of tensors by parameter name."""

    def __init__(
        self,
        network: nn.Module,
        *,
        matrix_learning_rate: float,
        embedding_learning_rate: float,
        head_learning_rate: float,
        vector_learning_rate: float,
        weight_decay: float,
        cautious_weight_decay: bool = False,
        dtype: torch.dtype,
        adapter_learning_rate: float = 0.0,
        ranks: Alone = ALONE,
    ) -> None:
        """`ranks`: the processes that share the work, on whose parts of the parameters everything here is done."""
        names = [name for name, _ in network.named_parameters()]
        # tied tables are one parameter; what is frozen has no update
        whole = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
        self._whole, self._ranks = whole, ranks
        self._named = {name: ranks.own(parameter) for name, parameter in whole.items()}
        self._matrix_rate, self._weight_decay, self._dtype = matrix_learning_rate, weight_decay, dtype
        self._is_cautious = cautious_weight_decay
        rates = {
            "embedding": embedding_learning_rate,
            "head": head_learning_rate,
            "vector": vector_learning_rate,
            "adapter": adapter_learning_rate,
        }
        kinds = {name: _kind(name, parameter, names) for name, parameter in whole.items()}
        self._stacks: dict[tuple[int, ...], list[str]] = defaultdict(list)
        for name, parameter in whole.items():
            if kinds[name] == "matrix":
                self._stacks[tuple(parameter.shape)].append(name)
        self._momenta = {
            shape: torch.zeros(len(names), *self._named[names[0]].shape, device=self._named[names[0]].device)
            for shape, names in self._stacks.items()
        }
        self._adam_names = [name for kind in rates for name in self._named if kinds[name] == kind]
        groups = [([self._named[name] for name in self._named if kinds[name] == kind], rates[kind]) for kind in rates]
        self._rates = [rate for members, rate in groups if members]
        # what is frozen may leave it nothing; the library refuses no parameters and takes one of no entries
        idle = [] if self._rates else [{"params": [torch.zeros(0)], "lr": 0.0}]
        self._adam = torch.optim.AdamW(
            [{"params": members, "lr": rate} for members, rate in groups if members] + idle,
            betas=ADAM_BETAS,
            eps=ADAM_EPSILON,
            weight_decay=0.0,
            fused=True,
        )

    @torch.no_grad()
    def step(self, scale: float, allowed: Bool[Tensor, ""] | None = None) -> None:
        """One update with every learning rate times `scale`; where `allowed` is False, nothing changes, not even by NaN."""
        if allowed is None:
            allowed = torch.ones((), dtype=torch.bool, device=next(iter(self._named.values())).device)
        for group, rate in zip(self._adam.param_groups, self._rates, strict=False):
            group["lr"] = rate * scale
        # the fused kernel leaves everything as it is where this is 1; gradient scalers use it the same way
        self._adam.found_inf = (~allowed).float()  # type: ignore[attr-defined]
        for name in self._adam_names:
            self._named[name].grad = self._gradient(name)
        self._adam.step()
        for name in self._adam_names:
            if self._named[name] is not self._whole[name]:
                self._named[name].grad = None
        rate = self._matrix_rate * scale
        for shape, names in self._stacks.items():
            gradients = torch.stack([self._gradient(name) for name in names])
            momenta = self._momenta[shape]
            moved = momenta.lerp(gradients, 1 - MOMENTUM)
            updates = self._ranks.orthogonalised(
                gradients.lerp(moved, MOMENTUM), self._dtype, num_rows=shape[0], orthogonalise=orthogonalised
            )
            momenta.copy_(torch.where(allowed, moved, momenta))
            # rectangular updates are scaled to have the spectral effect of square ones
            updates *= -rate * max(1.0, shape[0] / shape[1]) ** 0.5
            for name, update in zip(names, updates.unbind(), strict=True):
                parameter = self._named[name].data
                # decay falls with the schedule, so that nothing is forgotten at the end
                decay = rate * self._weight_decay * parameter
                if self._is_cautious:  # only where the update goes towards zero as well
                    decay = decay * (update * parameter < 0)
                changed = parameter - decay + update
                parameter.copy_(torch.where(allowed, changed, parameter))

    def _gradient(self, name: str) -> Tensor:
        gradient = self._whole[name].grad
        assert gradient is not None, "every parameter takes part in the loss"
        return self._ranks.own(gradient)

    def state(self) -> dict[str, Tensor]:
        """Every tensor that the next step depends on."""
        found = {
            f"momentum.{name}": momentum
            for shape, names in self._stacks.items()
            for name, momentum in zip(names, self._momenta[shape].unbind(), strict=True)
        }
        for name in self._adam_names:
            entries = self._adam.state.get(self._named[name], {})
            found |= {f"{key}.{name}": torch.as_tensor(value) for key, value in entries.items()}
        return found

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        for shape, names in self._stacks.items():
            for name, momentum in zip(names, self._momenta[shape].unbind(), strict=True):
                momentum.copy_(state[f"momentum.{name}"])
        for name in self._adam_names:
            parameter = self._named[name]
            keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}.{name}" in state]
            if keys:  # absent before the first step
                self._adam.state[parameter] = {key: state[f"{key}.{name}"].to(parameter.device).clone() for key in keys}


def optimizer_of(
    spec: TrainingSpec, network: nn.Module, *, dtype: torch.dtype, ranks: Alone = ALONE
) -> Optimizer | Sgd:
    """How a run learns."""
    if spec.averaged_sgd is not None:
        rate, decay = spec.averaged_sgd["learning_rate"], spec.averaged_sgd["weight_decay"]
        return Sgd(network, learning_rate=rate, weight_decay=decay, ranks=ranks)
    return Optimizer(
        network,
        matrix_learning_rate=spec.matrix_learning_rate,
        embedding_learning_rate=spec.embedding_learning_rate,
        head_learning_rate=spec.head_learning_rate,
        vector_learning_rate=spec.vector_learning_rate,
        weight_decay=spec.weight_decay,
        cautious_weight_decay=spec.cautious_weight_decay,
        dtype=dtype,
        adapter_learning_rate=spec.lora["learning_rate"] if spec.lora else 0.0,
        ranks=ranks,
    )


def _kind(name: str, parameter: Tensor, names: Sequence[str]) -> str:
    """Which rule updates a parameter. A tied table is the head's: its gradients are a head's, and so is its scale."""
    if name.endswith(ADAPTERS):
        return "adapter"
    if "value_embed_tokens" in name:  # never tied
        return "embedding"
    if "embed_tokens" in name:
        return "embedding" if any("lm_head" in other for other in names) else "head"
    if "lm_head" in name:
        return "head"
    return "vector" if parameter.ndim == 1 else "matrix"
