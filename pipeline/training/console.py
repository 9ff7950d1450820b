"""The progress line: rewritten in place on a terminal, a plain line every few seconds elsewhere, and to Dagster's log where
Dagster started the process."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LINE_EVERY_SECONDS = 5.0
_PIPES_VARIABLE = "DAGSTER_PIPES_CONTEXT"


class Console:
    """Shows how far training is."""

    def __init__(
        self, *, num_steps: int, tokens_per_step: int, flops_per_token: int, peak: float | None, pipes: Any
    ) -> None:
        self._num_steps, self._tokens_per_step = num_steps, tokens_per_step
        self._flops_per_token, self._peak, self._pipes = flops_per_token, peak, pipes
        self._is_terminal = sys.stderr.isatty()
        self._started = self._last_shown = time.monotonic()
        self._first_step = 0
        self._smoothed: float | None = None

    def begin(self, step: int) -> None:
        """Training starts, or goes on, at this step."""
        self._first_step = step
        self._started = self._last_shown = time.monotonic()

    def rate(self, step: int) -> float:
        """Tokens a second since this process began."""
        return (step - self._first_step) * self._tokens_per_step / max(time.monotonic() - self._started, 1e-9)

    def step(self, step: int, *, loss: float, scale: float) -> None:
        """`step` steps are done."""
        self._smoothed = loss if self._smoothed is None else 0.9 * self._smoothed + 0.1 * loss
        now = time.monotonic()
        wait = 0.2 if self._is_terminal else LINE_EVERY_SECONDS
        if now - self._last_shown < wait and step < self._num_steps:
            return
        self._last_shown = now
        rate = self.rate(step)
        elapsed = now - self._started
        left = elapsed / max(step - self._first_step, 1) * (self._num_steps - step)
        mfu = f" | MFU {rate * self._flops_per_token / self._peak:.1%}" if self._peak else ""
        self._show(
            f"step {step}/{self._num_steps} ({step / self._num_steps:.0%}) | loss {self._smoothed:.3f} | "
            f"rate x{scale:.2f} | {1000 * self._tokens_per_step / max(rate, 1e-9):.0f} ms/step | {rate:,.0f} tokens/s"
            f"{mfu} | {_clock(elapsed)} elapsed, {_clock(left)} left",
            is_passing=step < self._num_steps,
        )

    def note(self, text: str) -> None:
        """A line that stays."""
        self._show(text, is_passing=False)

    def _show(self, text: str, *, is_passing: bool) -> None:
        if self._pipes is not None:
            self._pipes.log.info(text)
        if self._is_terminal:
            print(f"\r\x1b[2K{text}", end="" if is_passing else "\n", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if minutes >= 60 else f"{minutes}:{seconds:02d}"


@contextmanager
def dagster_pipes() -> Iterator[Any]:
    """The channel to the Dagster run that started this process, or None."""
    if _PIPES_VARIABLE not in os.environ:
        yield None
        return
    from dagster_pipes import open_dagster_pipes

    with open_dagster_pipes() as pipes:
        yield pipes
