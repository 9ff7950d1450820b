"""When to stop: SIGINT or SIGTERM, or a parent that died. The first signal asks, the second ends at once."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pipeline.errors import TrainingInterrupted

PARENT_VARIABLE = "TEXTMILL_PARENT_PID"
"""Names the process that started this one; when it is gone, training saves a checkpoint and ends."""
LAST_WORDS = "error.json"
"""Beside the spec: the exit code and the sentence with which training ended, where it did not end well."""
INTERRUPTED = 3
"""Exit code: stopped as asked, checkpoint saved."""
LOST_CONTACT = 6
"""Exit code of one of several processes: another one is gone or silent, and knows more."""


def write_last_words(spec_path: Path, *, code: int, sentence: str) -> None:
    """For whoever started training, on this machine or another."""
    spec_path.with_name(LAST_WORDS).write_text(json.dumps({"code": code, "sentence": sentence}), encoding="utf-8")


def read_last_words(spec_path: Path) -> tuple[int, str] | None:
    """Exit code and sentence; None where training said nothing."""
    try:
        said = json.loads(spec_path.with_name(LAST_WORDS).read_text(encoding="utf-8"))
        return int(said["code"]), str(said["sentence"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


class _StopNow(BaseException):
    """Passes through the `except Exception` of a compiler."""


class StopRequest:
    """Polled between micro-batches, in training and validation."""

    def __init__(self) -> None:
        self._signal: int | None = None
        self._is_idle = False
        parent = os.environ.get(PARENT_VARIABLE)
        self._parent = int(parent) if parent else None
        self._is_direct = self._parent == os.getppid()

    def install(self) -> None:
        """Takes over both signals."""
        signal.signal(signal.SIGINT, self._receive)
        signal.signal(signal.SIGTERM, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            os._exit(128 + number)
        self._signal = number
        if self._is_idle:
            raise _StopNow

    @contextmanager
    def nothing_to_lose(self) -> Iterator[None]:
        """Within, a signal does not wait to be polled: what is in memory is on disk or can be made again.

        Raises:
            TrainingInterrupted: a signal came, now or before.
        """
        self._is_idle = True
        try:
            if self._signal is not None:
                raise _StopNow
            yield
        except _StopNow as stop:
            raise TrainingInterrupted(
                f"Training {self.reason} while it got ready; running again goes on from the last checkpoint."
            ) from stop
        finally:
            self._is_idle = False

    @property
    def reason(self) -> str | None:
        """Why to stop, or None."""
        if self._signal is not None:
            return f"received {signal.Signals(self._signal).name}"
        if self._parent is not None:
            is_gone = os.getppid() != self._parent if self._is_direct else _is_gone(self._parent)
            return "lost the process that started it" if is_gone else None
        return None


def _is_gone(process: int) -> bool:
    """Whether a process, which a launcher may separate from this one, has ended."""
    try:
        os.kill(process, 0)
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
        return stat.rpartition(")")[2].split()[0] == "Z"  # dead, and nobody has taken note
    except ProcessLookupError:
        return True
    except OSError:
        return False
