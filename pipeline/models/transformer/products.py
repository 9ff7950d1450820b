"""Products of few rows with a weight: what a step of decoding spends its time on, each in the form that is fastest for it.

- On a CPU in float32, several rows are multiplied by oneDNN with a weight that was packed for it beforehand: two to three times
  as fast as a plain product, whose library packs it anew each time or not at all.
- One row of a small network is multiplied by NumPy, whose call costs least.
- Elsewhere a weight lies transposed.

What NumPy multiplies with is packed when several rows come for the first time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


class Product(Protocol):
    """x -> x @ weight^T, and on top of `plus` where that is given."""

    def __call__(
        self, x: Float[Tensor, "rows inputs"], plus: Float[Tensor, "rows outputs"] | None = None
    ) -> Float[Tensor, "rows outputs"]: ...


class TransposedProduct:
    """Of any device and type; the outcome has the weight's type, without `plus`."""

    def __init__(self, weight: Float[Tensor, "outputs inputs"]) -> None:
        self._transposed = weight.T.contiguous()

    def __call__(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        product = x.to(self._transposed.dtype) @ self._transposed
        return product if plus is None else plus + product


class PackedProduct:
    """Of float32 on a CPU that has oneDNN."""

    def __init__(
        self,
        weight: Float[Tensor, "outputs inputs"],
        row_weight: np.ndarray[tuple[int, int], np.dtype[np.float32]] | None,
    ) -> None:
        """`row_weight` (inputs, outputs) is filled, and NumPy multiplies one row with it; without it, oneDNN does."""
        self._row_weight = row_weight
        self._packed = _packed(weight) if row_weight is None else None
        if row_weight is not None:
            row_weight[:] = weight.T.numpy()

    def __call__(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        if self._row_weight is not None and len(x) == 1:
            product = torch.from_numpy(x.numpy() @ self._row_weight)
            return product if plus is None else plus + product
        if self._packed is None:
            self._packed = _packed(torch.from_numpy(self._row_weight).T)
        if plus is None:
            made: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, None, "none", [], None)
        else:
            made = torch.ops.mkldnn._linear_pointwise.binary(x, plus, self._packed, None, "add")
        return made


def _packed(weight: Float[Tensor, "outputs inputs"]) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
    return packed
