"""Judges every step before its update: a spike is skipped and counted; what is not finite, or one spike after another, halts.

Method: window and threshold of OLMo-core's skip-step optimizer (6 standard deviations over 128 steps). The verdict stays on
the device and the update is masked with it, so a GPU never waits for the host. After a halt every update is masked: however
late the host learns of it, the weights are those before the step that halted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

WINDOW_STEPS = 128
MIN_STEPS = 64
"""Before this many steps the spread is not known well enough to skip anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A step as the host reads it."""

    loss: float
    """Mean cross entropy in nats, before the update."""
    gradient_norm: float
    """Before clipping."""
    skipped: bool
    halted: bool
    """This step or an earlier one was not finite, or too many were skipped."""
    num_recently_skipped: int
    """Of the last 128 steps."""

    @classmethod
    def read(cls, row: list[float]) -> Verdict:
        """From one row of what `judge` gave."""
        loss, norm, skipped, halted, recently = row
        return cls(
            loss=loss,
            gradient_norm=norm,
            skipped=bool(skipped),
            halted=bool(halted),
            num_recently_skipped=int(recently),
        )


class SpikeGuard:
    """Remembers recent losses and gradient norms, on the device."""

    def __init__(self, *, sigma: float | None, max_skipped_steps: int, device: str = "cpu") -> None:
        """Without a `sigma` no step is a spike, and only what is not finite halts."""
        self._sigma, self._max_skipped = math.inf if sigma is None else sigma, max_skipped_steps
        self._state = {
            "window": torch.zeros(2, WINDOW_STEPS, dtype=torch.float64, device=device),  # losses, gradient norms
            "num_kept": torch.zeros(1, dtype=torch.int64, device=device),
            "skipped": torch.zeros(WINDOW_STEPS, dtype=torch.bool, device=device),
            "num_steps": torch.zeros(1, dtype=torch.int64, device=device),
            "halted": torch.zeros((), dtype=torch.bool, device=device),
        }

    def judge(self, loss: Float[Tensor, ""], gradient_norm: Float[Tensor, ""]) -> tuple[Bool[Tensor, ""], Tensor]:
        """Whether the update may happen, and the float64 row that `Verdict.read` understands.

        A skipped step does not enter the window, which it would distort.
        """
        state = self._state
        window, num_kept = state["window"], state["num_kept"]
        latest = torch.stack((loss, gradient_norm)).double()
        known = torch.arange(WINDOW_STEPS, device=window.device) < num_kept
        count = num_kept.clamp(max=WINDOW_STEPS)
        mean = (window * known).sum(1) / count
        variance = ((window - mean[:, None]).square() * known).sum(1) / (count - 1)
        is_far = latest > mean + self._sigma * variance.sqrt()
        spiked = (is_far.any() & (num_kept >= MIN_STEPS)).squeeze()

        state["skipped"].index_copy_(0, state["num_steps"] % WINDOW_STEPS, spiked[None])
        state["num_steps"] += 1
        recently = state["skipped"].sum()
        state["halted"] |= ~latest.isfinite().all() | (recently > self._max_skipped)
        allowed = ~spiked & ~state["halted"]

        place = num_kept % WINDOW_STEPS
        window.index_copy_(1, place, torch.where(allowed, latest[:, None], window.index_select(1, place)))
        num_kept += allowed
        return allowed, torch.stack((*latest, spiked.double(), state["halted"].double(), recently.double()))

    def state(self) -> dict[str, Tensor]:
        """Every tensor that the next verdict depends on."""
        return dict(self._state)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        for name, tensor in self._state.items():
            tensor.copy_(state[name])
