"""Muon for hidden matrices, AdamW for embedding, head and vectors.

Muon replaces a matrix's momentum by the nearest semi-orthogonal matrix, through five steps of a quintic Newton-Schulz
iteration (Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"). Matrices of one shape are stacked
and iterated together: a few large products instead of many small ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float

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
        x = a * x + (b * square + c * square @ square) @ x
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
        dtype: torch.dtype,
    ) -> None:
        self._named = dict(network.named_parameters())  # tied tables are one parameter
        self._matrix_rate, self._weight_decay, self._dtype = matrix_learning_rate, weight_decay, dtype
        self._muon: dict[tuple[int, ...], list[str]] = defaultdict(list)
        groups: dict[str, list[Tensor]] = {"embedding": [], "head": [], "vector": []}
        for name, parameter in self._named.items():
            if "embed_tokens" in name:
                groups["embedding"].append(parameter)
            elif "lm_head" in name:
                groups["head"].append(parameter)
            elif parameter.ndim == 1:
                groups["vector"].append(parameter)
            else:
                self._muon[tuple(parameter.shape)].append(name)
        rates = {"embedding": embedding_learning_rate, "head": head_learning_rate, "vector": vector_learning_rate}
        self._rates = [rates[kind] for kind, members in groups.items() if members]
        self._adam = torch.optim.AdamW(
            [{"params": members, "lr": rates[kind]} for kind, members in groups.items() if members],
            betas=ADAM_BETAS,
            eps=ADAM_EPSILON,
            weight_decay=0.0,
            fused=True,
        )
        self._momentum = {name: torch.zeros_like(self._named[name]) for names in self._muon.values() for name in names}

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One update with every learning rate times `scale`; gradients are consumed."""
        for group, rate in zip(self._adam.param_groups, self._rates, strict=True):
            group["lr"] = rate * scale
        self._adam.step()
        rate = self._matrix_rate * scale
        for shape, names in self._muon.items():
            gradients = [self._named[name].grad for name in names]
            present = [gradient for gradient in gradients if gradient is not None]
            assert len(present) == len(names), "every hidden matrix takes part in the loss"
            momenta = [self._momentum[name] for name in names]
            torch._foreach_lerp_(momenta, present, 1 - MOMENTUM)
            nesterov = torch.stack(torch._foreach_lerp(present, momenta, MOMENTUM))
            updates = orthogonalised(nesterov, self._dtype).unbind()
            parameters: list[Tensor] = [self._named[name].data for name in names]
            # decay falls with the schedule, so that nothing is forgotten at the end
            torch._foreach_mul_(parameters, 1 - rate * self._weight_decay)
            # rectangular updates are scaled to have the spectral effect of square ones
            torch._foreach_add_(parameters, updates, alpha=-rate * max(1.0, shape[0] / shape[1]) ** 0.5)

    def state(self) -> dict[str, Tensor]:
        """Every tensor that the next step depends on."""
        names: dict[Tensor, str] = {parameter: name for name, parameter in self._named.items()}
        found = {f"momentum.{name}": tensor for name, tensor in self._momentum.items()}
        for parameter, entries in self._adam.state.items():
            found |= {f"{key}.{names[parameter]}": torch.as_tensor(value) for key, value in entries.items()}
        return found

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        for name, tensor in self._momentum.items():
            tensor.copy_(state[f"momentum.{name}"])
        for group in self._adam.param_groups:
            for parameter in group["params"]:
                name = next(name for name, candidate in self._named.items() if candidate is parameter)
                keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}.{name}" in state]
                if keys:
                    self._adam.state[parameter] = {
                        key: state[f"{key}.{name}"].to(parameter.device).clone() for key in keys
                    }
