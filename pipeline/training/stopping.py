"""When to stop: SIGINT or SIGTERM, or a parent that died. The first signal asks, the second ends at once."""

from __future__ import annotations

import os
import signal
from types import FrameType

PARENT_VARIABLE = "TEXTMILL_PARENT_PID"
"""Names the process that started this one; when it is gone, training saves a checkpoint and ends."""
LAST_WORDS = "error.txt"
"""Beside the spec: the sentence with which training ended, where it did not end well."""
INTERRUPTED = 3
"""Exit code: stopped as asked, checkpoint saved."""


class StopRequest:
    """Polled between batches, in training and validation."""

    def __init__(self) -> None:
        self._signal: int | None = None
        parent = os.environ.get(PARENT_VARIABLE)
        self._parent = int(parent) if parent else None

    def install(self) -> None:
        """Takes over both signals."""
        signal.signal(signal.SIGINT, self._receive)
        signal.signal(signal.SIGTERM, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            os._exit(INTERRUPTED)
        self._signal = number

    @property
    def reason(self) -> str | None:
        """Why to stop, or None."""
        if self._signal is not None:
            return f"received {signal.Signals(self._signal).name}"
        if self._parent is not None and os.getppid() != self._parent:
            return "the process that started it is gone"
        return None
