"""Products of few rows with a weight: what a step of decoding spends its time on, each in the form that is fastest for it.

- On a CPU in float32, several rows are multiplied by oneDNN with a weight that was packed for it beforehand: two to three times
  as fast as a plain product, whose library packs it anew each time or not at all.
- One row of a small network is multiplied by NumPy, whose call costs least.
- Elsewhere a weight lies transposed.

What NumPy multiplies with is packed when several rows come for the first time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from jaxtyping import Float
    from threadpoolctl import ThreadpoolController

HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
# by name these operators would be looked up at every call, which takes a tenth of a small product
_MULTIPLY: Any = torch.ops.mkldnn._linear_pointwise.default if HAS_ONEDNN else None
_MULTIPLY_AND_ADD: Any = torch.ops.mkldnn._linear_pointwise.binary if HAS_ONEDNN else None
ONE_THREAD_BYTES = 32 << 20
"""Weights up to this stay in a processor's caches, and one row's products are so short that a second thread costs more to wake
than it does."""


class Product(Protocol):
    """x -> x @ weight^T, and on top of `plus` where that is given."""

    def __call__(
        self, x: Float[Tensor, "rows inputs"], plus: Float[Tensor, "rows outputs"] | None = None
    ) -> Float[Tensor, "rows outputs"]: ...


class Products:
    """Those of one network, which take as much memory as its weights, of a small one twice as much once it has several rows."""

    def __init__(self, num_weights: int, *, dtype: torch.dtype, device: torch.device) -> None:
        """`num_weights` is what all weights together have at most, `dtype` what they are in but for some."""
        self._is_small = device.type == "cpu" and num_weights * dtype.itemsize <= ONE_THREAD_BYTES
        self._is_packed = device.type == "cpu" and dtype == torch.float32 and HAS_ONEDNN
        self._numpy_threads = _numpy_threads() if self._is_small and self._is_packed else None
        # one array for all weights: NumPy asks for huge pages, without which a step's addresses take a tenth of its time
        self._unused = np.empty(0 if self._numpy_threads is None else num_weights, np.float32)

    @property
    def has_rows(self) -> bool:
        """Each of them has a `row_weight`: all are float32 weights of a small network on a CPU."""
        return self._numpy_threads is not None

    def of(self, weight: Float[Tensor, "outputs inputs"]) -> Product:
        """The product with a weight, which is copied; the outcome has its type."""
        weight = weight.detach()
        if not self._is_packed or weight.dtype != torch.float32:
            return TransposedProduct(weight)
        if self._numpy_threads is None:
            return PackedProduct(weight, None)
        row_weight, self._unused = self._unused[: weight.numel()], self._unused[weight.numel() :]
        return PackedProduct(weight, row_weight.reshape(weight.T.shape))

    @contextmanager
    def threads(self, num_rows: int) -> Iterator[None]:
        """Within, as many threads as steps of so many rows can use."""
        with ExitStack() as stack:
            if self._is_small and self._numpy_threads is None and num_rows == 1:
                stack.callback(torch.set_num_threads, torch.get_num_threads())
                torch.set_num_threads(1)
            if self._numpy_threads is not None:
                stack.enter_context(self._numpy_threads.limit(limits=1, user_api="blas"))
            yield


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
        self.row_weight = row_weight
        self._packed = _packed(weight) if row_weight is None else None
        if row_weight is not None:
            row_weight[:] = weight.T.numpy()

    def __call__(self, x: Tensor, plus: Tensor | None = None) -> Tensor:
        if self.row_weight is not None and x.shape[0] == 1:
            product = torch.from_numpy(x.numpy() @ self.row_weight)
            return product if plus is None else plus + product
        if self._packed is None:
            self._packed = _packed(torch.from_numpy(self.row_weight).T)
        if plus is None:
            made: Tensor = _MULTIPLY(x, self._packed, None, "none", [], None)
        else:
            made = _MULTIPLY_AND_ADD(x, plus, self._packed, None, "add")
        return made


def linear(x: Float[Tensor, "*batch inputs"], weight: Float[Tensor, "outputs inputs"]) -> Tensor:
    """x @ weight^T, in the type of x.

    Without a gradient, in float32 on a CPU, it is oneDNN's: the library that torch calls by itself uses no AVX-512 on
    processors of AMD, and takes twice as long there.
    """
    weight = weight.to(x.dtype)
    if (
        HAS_ONEDNN
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    ):
        made: Tensor = _MULTIPLY(x, weight, None, "none", [], None)
        return made
    return functional.linear(x, weight)


def row_weight(product: Product) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """(inputs, outputs): what one row is multiplied with; for whoever works in NumPy altogether."""
    assert isinstance(product, PackedProduct) and product.row_weight is not None, "asked of Products without rows"
    return product.row_weight


def _packed(weight: Float[Tensor, "outputs inputs"]) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous())
    return packed


def _numpy_threads() -> ThreadpoolController | None:
    """What keeps NumPy's products to one thread; None on a bare machine, where oneDNN multiplies."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()
