"""A trace of some steps, by torch's profiler: what ran when, for chrome://tracing or ui.perfetto.dev.

Writes `profile-step-N.json` into the spool's folder, N being the first step it shows. Profiled steps are slower; what they
compute is the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

SKIPPED_STEPS = 3
"""The first ones allocate, and show nothing of what follows."""


class Profile:
    """Watches `num_steps` steps after the first three of this process."""

    def __init__(self, num_steps: int | None, folder: Path) -> None:
        self._left, self._folder = num_steps or 0, folder
        self._until_start = SKIPPED_STEPS
        self._running: Any = None
        self._first = 0

    def before(self, step: int) -> None:
        """A step, counted from 1, is about to begin."""
        if not self._left or self._running is not None:
            return
        if self._until_start:
            self._until_start -= 1
            return
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
        self._first, self._running = step, profile(activities=activities)
        self._running.start()

    def after(self) -> Path | None:
        """That step is done; the trace's path where it was the last one to be watched."""
        if self._running is None:
            return None
        self._left -= 1
        return None if self._left else self.close()

    def close(self) -> Path | None:
        """Ends a trace that is being taken, however short, and writes it."""
        if self._running is None:
            return None
        self._running.stop()
        path = self._folder / f"profile-step-{self._first}.json"
        self._running.export_chrome_trace(str(path))
        self._running, self._left = None, 0
        return path
