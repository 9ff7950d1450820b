"""Runs the training process on the machine that this object lives on, for whoever calls it from elsewhere.

It imports nothing of a cluster: as a Ray actor, it is a process of a node, and training ends with it as with any parent.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from pipeline.training.launch import stop_group, training_command, training_environment


class TrainingHost:
    """One training process; `run` and `stop` may be called at the same time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, spec_path: str, environment: Mapping[str, str]) -> int:
        """Trains, with more variables in the environment, and returns the exit code."""
        self._process = subprocess.Popen(
            training_command(Path(spec_path)),
            env={**training_environment(), **environment},
            start_new_session=True,
        )
        try:
            return self._process.wait()
        finally:
            stop_group(self._process)

    def stop(self) -> None:
        """Asks the process to save a checkpoint and end; returns when it has ended, by force if need be."""
        if self._process is not None:
            stop_group(self._process)
