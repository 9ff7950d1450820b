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
from pipeline.training.distributed import ALONE, Alone
from pipeline.training.families import Network
from pipeline.training.hardware import Hardware
from pipeline.training.step import LossFunction, accumulate


def loss_function(network: Network, *, compiled: bool, ranks: Alone = ALONE) -> LossFunction:
    """The network as a function of a batch's inputs and targets; static shapes, so that kernels know every size.

    Where weights are divided among processes, layers are compiled one by one: between them weights are brought together.
    """
    if not compiled:
        return network
    assert isinstance(network, Transformer), "the library's recurrent kernels are not compiled"
    if ranks.is_sharded:
        for layer in network.model.layers:
            layer.forward = torch.compile(layer.forward, dynamic=False)
        return network
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
    may_halve: bool,
    may_give_up_compiling: bool,
    note: Callable[[str], None],
    ranks: Alone = ALONE,
) -> tuple[LossFunction, Hardware]:
    """The loss function, and the hardware as it turned out to be able to run one step's batch.

    What is left open, while no step was taken, may change: the forward pass is halved until it fits the GPU, and compiling given
    up. Several processes go on with what suits all of them.

    Raises:
        TrainingError: it does not compile, or not even one window fits the memory.
    """
    if not hardware.compiled and hardware.device == "cpu":
        return ranks.connected(loss_function(network, compiled=False), network), hardware
    if not ranks.is_sharded:  # each tries its own rows, and what it finds stays its own until all have tried
        batch = batch.rows(ranks.rank, ranks.size)
    together = ranks if ranks.is_sharded else ALONE
    while True:
        loss_of = loss_function(network, compiled=hardware.compiled, ranks=ranks)
        found = hardware
        try:
            micro_rows = batch.rows_within(hardware.micro_windows * network.shape.context_tokens)
            sizes = [micro_rows]
            if hardware.compiled:  # the last share's size is compiled too
                sizes += filter(None, [-(-batch.num_rows // together.size) % micro_rows])
            for rows in sizes:
                some = batch.part(slice(rows * together.size))
                accumulate(loss_of, network, some, micro_rows=rows, ranks=together)
        except torch.OutOfMemoryError as error:
            if hardware.micro_windows == 1 or not may_halve:
                raise TrainingError(
                    f"A forward pass of {hardware.micro_windows} windows of {batch.tokens_per_row} tokens does not fit the GPU's "
                    "memory. Lower train.micro_batch_tokens, context_tokens or the model's size."
                ) from error
            found = replace(hardware, micro_windows=-(-hardware.micro_windows // 2))
            note(f"out of GPU memory: forward passes of {found.micro_windows} windows from now on")
        except Exception as error:  # every backend has its own
            if not hardware.compiled:
                raise
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            if not may_give_up_compiling:
                raise TrainingError(
                    f"The model does not compile ({reason}). Set train.compile to off, or mend the compiler."
                ) from error
            found = replace(hardware, compiled=False)
            note(f"does not compile and runs uncompiled ({reason})")
        network.zero_grad(set_to_none=True)
        agreed = replace(
            hardware,
            micro_windows=ranks.smallest(found.micro_windows),
            compiled=bool(ranks.smallest(found.compiled)),
        )
        if agreed == hardware:
            return ranks.connected(loss_of, network), hardware
        hardware = agreed
