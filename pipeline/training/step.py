"""One training step: gradients accumulated over micro-batches, judged, and applied."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.errors import TrainingDiverged, TrainingError
from pipeline.training.guard import SpikeGuard
from pipeline.training.optimizer import Optimizer

LossFunction = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a step gave."""

    loss: float
    """Mean cross entropy in nats, before the update."""
    gradient_norm: float
    """Before clipping."""
    skipped: bool


def accumulate(
    loss_of: LossFunction, network: nn.Module, windows: Tensor, *, micro_windows: int
) -> tuple[float, float]:
    """Leaves the gradients of the mean loss of (B, T + 1) windows; returns the loss and the gradient norm.

    Every micro-batch has as many targets, so the mean of means is the mean.
    """
    network.zero_grad(set_to_none=True)
    micro_batches = torch.split(windows, micro_windows)
    total = 0.0
    for micro in micro_batches:
        loss = loss_of(micro[:, :-1], micro[:, 1:])
        torch.autograd.backward(loss / len(micro_batches))
        total += loss.item() / len(micro_batches)
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients).item()
    return total, norm


def train_step(
    loss_of: LossFunction,
    network: nn.Module,
    optimizer: Optimizer,
    guard: SpikeGuard,
    windows: Tensor,
    *,
    step: int,
    micro_windows: int,
    scale: float,
    gradient_clip: float | None,
    max_skipped_steps: int,
) -> StepResult:
    """One update, or one skipped spike.

    Raises:
        TrainingDiverged: the loss or its gradient is not finite, twice, or too many steps were skipped.
        TrainingError: it was not finite once and finite when computed again, which no deterministic program does.
    """
    loss, norm = accumulate(loss_of, network, windows, micro_windows=micro_windows)
    if not (math.isfinite(loss) and math.isfinite(norm)):
        again, norm_again = accumulate(loss_of, network, windows, micro_windows=micro_windows)
        if math.isfinite(again) and math.isfinite(norm_again):
            raise TrainingError(
                f"Step {step}: the loss was {loss} and, computed again on the same data, {again:.4f}. Suspect the hardware; "
                "running again goes on from the last checkpoint."
            )
        raise TrainingDiverged(
            f"Step {step}: the loss is {loss} with gradient norm {norm}, twice on the same data. Lower the learning rates or "
            "look at the data; the last checkpoint is intact."
        )
    if guard.is_spike(loss=loss, gradient_norm=norm):
        if guard.num_recently_skipped > max_skipped_steps:
            raise TrainingDiverged(
                f"Step {step}: {guard.num_recently_skipped} of the last 128 steps were spikes (loss {loss:.3f}, gradient norm "
                f"{norm:.3f}). Lower the learning rates; the last checkpoint is intact."
            )
        network.zero_grad(set_to_none=True)
        return StepResult(loss=loss, gradient_norm=norm, skipped=True)
    if gradient_clip is not None and norm > gradient_clip:
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        torch._foreach_mul_(gradients, gradient_clip / norm)
    optimizer.step(scale)
    return StepResult(loss=loss, gradient_norm=norm, skipped=False)
