"""Makes the network ready to train: compiled where that pays, with a forward pass of a size that fits the memory.

One forward and backward pass over real data, whose gradients are dropped: compilation happens here and not in the first step,
where a stop would have to wait for it and the figures of speed would count it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from pipeline.errors import TrainingError
from pipeline.models.transformer.network import Transformer
from pipeline.training.data import Batch
from pipeline.training.families import Network
from pipeline.training.hardware import Hardware
from pipeline.training.step import LossFunction, accumulate


def loss_function(network: Network, *, compiled: bool) -> LossFunction:
    """The network as a function of a batch's inputs and targets; static shapes, so that kernels know every size."""
    if not compiled:
        return network
    assert isinstance(network, Transformer), "the library's recurrent kernels are not compiled"
    compiled_loss = torch.compile(network.loss, dynamic=False)

    def loss_of(token_ids: Tensor, *others: Tensor) -> Tensor:
        loss: Tensor = compiled_loss(network.embedded(token_ids), *others)
        return loss

    return loss_of


def make_ready(
    network: Network,
    hardware: Hardware,
    batch: Batch,
    *,
    may_change: bool,
    note: Callable[[str], None],
) -> tuple[LossFunction, Hardware]:
    """The loss function, and the hardware as it turned out to be able to run one step's batch.

    `may_change`: the settings are `auto` and no step was taken yet, so that compiling may be given up, and the forward pass
    halved until it fits the GPU.

    Raises:
        TrainingError: it does not compile, or not even one window fits the memory.
    """
    if not hardware.compiled and hardware.device == "cpu":
        return loss_function(network, compiled=False), hardware
    while True:
        loss_of = loss_function(network, compiled=hardware.compiled)
        try:
            rows = hardware.micro_windows
            accumulate(loss_of, network, batch.part(slice(rows)), micro_rows=rows)
            rest = batch.num_rows % rows
            if rest and hardware.compiled:  # the last share's size is compiled too
                accumulate(loss_of, network, batch.part(slice(rest)), micro_rows=rest)
        except torch.OutOfMemoryError as error:
            if hardware.micro_windows == 1 or not may_change:
                raise TrainingError(
                    f"A forward pass of {hardware.micro_windows} windows of {batch.tokens_per_row} tokens does not fit the GPU's "
                    "memory. Lower train.micro_batch_tokens, context_tokens or the model's size."
                ) from error
            hardware = replace(hardware, micro_windows=-(-hardware.micro_windows // 2))
            note(f"out of GPU memory: forward passes of {hardware.micro_windows} windows from now on")
        except Exception as error:  # every backend has its own
            if not hardware.compiled:
                raise
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            if not may_change:
                raise TrainingError(
                    f"The model does not compile ({reason}). Set train.compile to off, or mend the compiler."
                ) from error
            hardware = replace(hardware, compiled=False)
            note(f"does not compile and runs uncompiled ({reason})")
        else:
            network.zero_grad(set_to_none=True)
            return loss_of, hardware
        network.zero_grad(set_to_none=True)
