"""The progress line: rewritten in place on a terminal, a plain line every few seconds elsewhere, and to Dagster's log where
Dagster started the process."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

TERMINAL_EVERY_SECONDS = 0.2
LINE_EVERY_SECONDS, LINE_EVERY_FRACTION, LINE_AT_LEAST_EVERY_SECONDS = 5.0, 0.02, 60.0
"""Plain lines come every five seconds, and in longer runs every fiftieth of the time taken, but each minute at least."""
_RATE_STEPS = 50
_SMOOTHING = 0.9
_PIPES_VARIABLE = "DAGSTER_PIPES_CONTEXT"


class Console:
    """Shows how far training is, and how fast: figures of speed are of the last 50 steps."""

    def __init__(
        self,
        *,
        num_steps: int,
        tokens_until: Callable[[int], int],
        flops_per_token: int,
        pipes: Any = None,
        is_silent: bool = False,
    ) -> None:
        """`tokens_until` gives the tokens that so many steps read."""
        self._num_steps, self._tokens_until, self._is_silent = num_steps, tokens_until, is_silent
        self._flops_per_token, self._pipes = flops_per_token, pipes
        self._is_terminal = sys.stderr.isatty()
        self._peak: float | None = None
        self._smoothed = self._weight = self._learning_rate = 0.0
        self._is_open = False
        self.begin(0, peak=None)

    def begin(self, step: int, *, peak: float | None) -> None:
        """Training starts, or goes on, at this step, on a device with this many FLOP/s at best, if that is known."""
        self._peak = peak
        self._started = self._last_shown = time.monotonic()
        self._times: deque[tuple[int, float]] = deque([(step, self._started)], maxlen=_RATE_STEPS + 1)

    def timing(self) -> dict[str, float]:
        """Seconds since this process began training, and tokens a second."""
        (first, then), (last, now) = self._times[0], self._times[-1]
        rate = (self._tokens_until(last) - self._tokens_until(first)) / max(now - then, 1e-9)
        return {"seconds": now - self._started, "tokens_per_second": rate}

    def loss(self, loss: float, *, learning_rate: float) -> None:
        """A step's loss, whenever it is known."""
        self._smoothed = _SMOOTHING * self._smoothed + (1 - _SMOOTHING) * loss
        self._weight = _SMOOTHING * self._weight + (1 - _SMOOTHING)
        self._learning_rate = learning_rate

    def step(self, step: int) -> None:
        """`step` steps are done."""
        now = time.monotonic()
        self._times.append((step, now))
        elapsed = now - self._started
        wait = min(max(LINE_EVERY_SECONDS, LINE_EVERY_FRACTION * elapsed), LINE_AT_LEAST_EVERY_SECONDS)
        if now - self._last_shown < (TERMINAL_EVERY_SECONDS if self._is_terminal else wait) and step < self._num_steps:
            return
        self._last_shown = now
        rate = self.timing()["tokens_per_second"]
        (first, then), (last, latest) = self._times[0], self._times[-1]
        seconds_a_step = (latest - then) / max(last - first, 1)
        mfu = f" | MFU {rate * self._flops_per_token / self._peak:.1%}" if self._peak else ""
        self._show(
            f"step {step:,}/{self._num_steps:,} ({step / self._num_steps:.0%}) | "
            f"loss {self._smoothed / max(self._weight, 1e-9):.3f} | lr {self._learning_rate:.2e} | "
            f"{1000 * seconds_a_step:,.0f} ms/step | {rate:,.0f} tokens/s{mfu} | "
            f"{_clock(elapsed)} elapsed, {_clock(seconds_a_step * (self._num_steps - step))} left",
            is_passing=step < self._num_steps,
        )

    def note(self, text: str) -> None:
        """A line that stays."""
        self._show(text, is_passing=False)

    def close(self) -> None:
        """Leaves the terminal on a line of its own."""
        if self._is_open:
            print(file=sys.stderr, flush=True)
            self._is_open = False

    def _show(self, text: str, *, is_passing: bool) -> None:
        if self._is_silent:
            return
        if self._pipes is not None:
            self._pipes.log.info(text)
        if not self._is_terminal:
            print(text, file=sys.stderr, flush=True)
            return
        if is_passing:  # a line that wraps cannot be rewritten
            text = text[: shutil.get_terminal_size().columns - 1]
        print(f"\r\x1b[2K{text}", end="" if is_passing else "\n", file=sys.stderr, flush=True)
        self._is_open = is_passing


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if minutes >= 60 else f"{minutes}:{seconds:02d}"


@contextmanager
def dagster_pipes(*, is_wanted: bool = True) -> Iterator[Any]:
    """The channel to the Dagster run that started this process, or None: no such run, or a machine without the package."""
    if not is_wanted or _PIPES_VARIABLE not in os.environ:
        yield None
        return
    try:
        from dagster_pipes import open_dagster_pipes
    except ImportError:
        yield None
        return
    with open_dagster_pipes() as pipes:
        yield pipes
