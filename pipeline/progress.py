"""Progress of long work: a live bar on a terminal, a plain line every few seconds elsewhere.

A redrawn bar in captured logs freezes web pages after hours, so it is drawn on a terminal only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

LINE_EVERY_SECONDS = 5.0


class Progress(Protocol):
    """Where a stage reports how far it is; `total` and amounts are in any one unit (bytes, documents, tokens)."""

    def start(self, *, total: int) -> None: ...

    def advance(self, amount: int) -> None: ...

    def note(self, text: str) -> None:
        """One line of plain text, shown at once."""

    def finish(self) -> None: ...


class LineProgress:
    """Plain lines through `write` (a logger, or standard error), at most one every few seconds."""

    def __init__(self, label: str, write: Callable[[str], None] | None = None) -> None:
        self._label = label
        self._write = write or (lambda line: print(line, file=sys.stderr, flush=True))
        self._total = 0
        self._done = 0
        self._started = self._last_line = time.monotonic()

    def start(self, *, total: int) -> None:
        self._total, self._done = total, 0
        self._started = self._last_line = time.monotonic()

    def advance(self, amount: int) -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._last_line < LINE_EVERY_SECONDS or not self._total:
            return
        self._last_line = now
        fraction = min(self._done / self._total, 1.0)
        elapsed = now - self._started
        left = elapsed / fraction - elapsed if fraction else 0.0
        self._write(f"{self._label}: {fraction:.0%} after {elapsed:.0f} s, about {left:.0f} s left")

    def note(self, text: str) -> None:
        self._write(f"{self._label}: {text}")

    def finish(self) -> None:
        return


class BarProgress:
    """A bar on the terminal with share, time taken and time left; it disappears when the work is done."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._bar: Any = None
        self._task: Any = None

    def start(self, *, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as TimeLeftColumn

        self.finish()
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, TimeLeftColumn(), console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(self._label, total=total)
        self._bar.start()

    def advance(self, amount: int) -> None:
        if self._bar is not None:
            self._bar.advance(self._task, amount)

    def note(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(f"{self._label}: {text}", markup=False, highlight=False)
        else:
            print(f"{self._label}: {text}", file=sys.stderr, flush=True)

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def terminal_progress(label: str) -> Progress:
    """A bar where standard error is a terminal, plain lines where it is not."""
    return BarProgress(label) if sys.stderr.isatty() else LineProgress(label)


class SilentProgress:
    """Says nothing: for tests and for work of a moment."""

    def start(self, *, total: int) -> None:
        return

    def advance(self, amount: int) -> None:
        return

    def note(self, text: str) -> None:
        return

    def finish(self) -> None:
        return
