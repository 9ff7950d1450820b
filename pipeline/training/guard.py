"""Notices losses and gradients that are not finite, and spikes: a step far above the last 128 is skipped and counted.

Window and threshold as in OLMo-core's skip-step optimizer (6 standard deviations over 128 steps).
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

WINDOW_STEPS = 128
MIN_STEPS = 64
"""Before this many steps the spread is not known well enough to skip anything."""


class SpikeGuard:
    """Remembers recent losses and gradient norms; its state is JSON."""

    def __init__(self, *, sigma: float) -> None:
        self._sigma = sigma
        self._losses: deque[float] = deque(maxlen=WINDOW_STEPS)
        self._norms: deque[float] = deque(maxlen=WINDOW_STEPS)
        self._skipped: deque[bool] = deque(maxlen=WINDOW_STEPS)
        self.num_skipped = 0

    def is_spike(self, *, loss: float, gradient_norm: float) -> bool:
        """Judges a step and remembers it; a skipped step does not enter the window it would distort."""
        spiked = self._is_far(loss, self._losses) or self._is_far(gradient_norm, self._norms)
        self._skipped.append(spiked)
        if spiked:
            self.num_skipped += 1
        else:
            self._losses.append(loss)
            self._norms.append(gradient_norm)
        return spiked

    @property
    def num_recently_skipped(self) -> int:
        """Of the last 128 steps."""
        return sum(self._skipped)

    def _is_far(self, value: float, window: deque[float]) -> bool:
        if len(window) < MIN_STEPS:
            return False
        mean = math.fsum(window) / len(window)
        variance = math.fsum((entry - mean) ** 2 for entry in window) / (len(window) - 1)
        return value > mean + self._sigma * math.sqrt(variance)

    def state(self) -> dict[str, Any]:
        return {
            "losses": list(self._losses),
            "norms": list(self._norms),
            "skipped": list(self._skipped),
            "num_skipped": self.num_skipped,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self._losses.extend(state["losses"])
        self._norms.extend(state["norms"])
        self._skipped.extend(state["skipped"])
        self.num_skipped = state["num_skipped"]
