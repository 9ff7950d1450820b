"""The loss of every network: mean cross entropy over the targets that are predicted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from jaxtyping import Float, Int

IGNORED = -100
"""A target that is not predicted, as in torch's cross entropy."""


def mean_loss(
    logits_of: Callable[[Tensor], Tensor],
    hidden: Float[Tensor, "batch seq width"],
    targets: Int[Tensor, "batch seq"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean cross entropy in nats; `logits_of` is the network's head.

    Where a decoder reads a long text to predict a short one, most places predict nothing, and the head is the largest product
    of a small network: on a CPU it is computed for the others alone. A GPU would have to be waited for to know which they are.
    """
    flat, wanted = hidden.flatten(0, 1), targets.flatten()
    if hidden.device.type == "cpu" and not torch.compiler.is_compiling():
        kept = (wanted != IGNORED).nonzero().squeeze(1)
        if len(kept) < len(wanted):
            flat, wanted = flat.index_select(0, kept), wanted.index_select(0, kept)
    return functional.cross_entropy(logits_of(flat), wanted, label_smoothing=label_smoothing)
