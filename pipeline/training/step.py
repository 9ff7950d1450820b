"""One training step: gradients accumulated over micro-batches, judged, and applied. Nothing here waits for the device."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pipeline.errors import TrainingDiverged, TrainingError
from pipeline.training.data import Batch
from pipeline.training.distributed import ALONE, Alone
from pipeline.training.guard import SpikeGuard, Verdict
from pipeline.training.optimizer import Optimizer
from pipeline.training.sgd import Sgd

if TYPE_CHECKING:
    from jaxtyping import Float

LossFunction = Callable[..., Tensor]
"""A batch's inputs and targets to their mean loss over the targets that count."""


def accumulate(
    loss_of: LossFunction,
    network: nn.Module,
    batch: Batch,
    *,
    micro_rows: int,
    between: Callable[[], None] = lambda: None,
    ranks: Alone = ALONE,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Leaves the gradients of the mean loss over the batch's targets; returns that loss and the gradient norm.

    `between` is called before every micro-batch and may raise to give the step up: nothing was updated yet. Each of several
    processes is given the whole batch, takes its rows, and has the gradients, or its part of them, of the whole.
    """
    network.zero_grad(set_to_none=True)
    total = torch.zeros((), device=batch.targets.device)
    micros = list(ranks.micro_batches(batch, micro_rows))
    for number, (micro, share) in enumerate(micros, start=1):
        between()
        with ranks.backward_pass(is_last=number == len(micros)):
            loss = loss_of(*micro.inputs, micro.targets) * share
            torch.autograd.backward(loss)
        total += loss.detach()
    return ranks.total(total), ranks.total_norm(_gradients(network, ranks))


def _gradients(network: nn.Module, ranks: Alone) -> list[Tensor]:
    return [ranks.own(parameter.grad) for parameter in network.parameters() if parameter.grad is not None]


def train_step(
    loss_of: LossFunction,
    network: nn.Module,
    optimizer: Optimizer | Sgd,
    guard: SpikeGuard,
    batch: Batch,
    *,
    micro_rows: int,
    scale: float,
    gradient_clip: float | None,
    between: Callable[[], None] = lambda: None,
    ranks: Alone = ALONE,
) -> Tensor:
    """One update, masked out where the guard forbids it; returns the row that `Verdict.read` understands."""
    loss, norm = accumulate(loss_of, network, batch, micro_rows=micro_rows, between=between, ranks=ranks)
    allowed, row = guard.judge(loss, norm)
    if gradient_clip is not None:
        torch._foreach_mul_(_gradients(network, ranks), (gradient_clip / norm).clamp(max=1.0))
    try:
        optimizer.step(scale, allowed)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(  # some weights may have moved: the step cannot be done again
            "The optimizer's update does not fit the memory. Lower the model's size; running again goes on from the last "
            "checkpoint."
        ) from error
    return row


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device's allocator refused; the CPU's has no exception of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def explain_halt(verdict: Verdict, *, step: int, replay: Callable[[], tuple[Tensor, Tensor]]) -> TrainingError:
    """Why training cannot go on after a step; `replay` computes loss and gradient norm of it again."""
    if math.isfinite(verdict.loss) and math.isfinite(verdict.gradient_norm):
        return TrainingDiverged(
            f"Step {step}: {verdict.num_recently_skipped} of the last 128 steps were spikes (loss {verdict.loss:.3f}, "
            f"gradient norm {verdict.gradient_norm:.3f}). Lower the learning rates; the last checkpoint is intact."
        )
    loss, norm = (float(value) for value in replay())
    if math.isfinite(loss) and math.isfinite(norm):
        return TrainingError(
            f"Step {step}: the loss was {verdict.loss} with gradient norm {verdict.gradient_norm} and, computed again on the "
            f"same data, {loss:.4f} with {norm:.4f}. Suspect the hardware; running again goes on from the last checkpoint."
        )
    return TrainingDiverged(
        f"Step {step}: the loss is {verdict.loss} with gradient norm {verdict.gradient_norm}, twice on the same data. Lower "
        "the learning rates or look at the data; the last checkpoint is intact."
    )
