"""How the servers of `textmill ui` end: when it is asked to stop, and when it was killed.

`python -m assets.servers` reads their process ids, a line each, from the `textmill ui` that starts it. When that is gone,
however it ended, the lines end, and what it served is stopped. Left alone, the servers would keep their ports, and the daemon
would begin runs beside that of the next `textmill ui`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

import psutil

SERVER_GRACE_SECONDS = 20.0
TRAINING_GRACE_SECONDS = 70.0


def start_watch(*, pass_fd: int) -> subprocess.Popen[str]:
    """A process that stops the servers it is told of when this one is gone; it keeps `pass_fd` open until they have ended."""
    return subprocess.Popen(
        [sys.executable, "-m", "assets.servers"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        pass_fds=(pass_fd,),
    )


def stop_servers(process_ids: Sequence[int]) -> None:
    """Asks every process group to end, waits for runs in progress to save a checkpoint, and kills what does not end."""
    family = [member for process_id in process_ids for member in _family(process_id)]
    for process_id in process_ids:
        _signal_group(process_id, signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=SERVER_GRACE_SECONDS)
    if any("pipeline.training" in _command(child) for child in alive):
        with suppress(OSError):  # the terminal may be gone
            print("A training saves its checkpoint.", flush=True)
        _, alive = psutil.wait_procs(alive, timeout=TRAINING_GRACE_SECONDS)
    for child in alive:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    for process_id in process_ids:
        _signal_group(process_id, signal.SIGKILL)


def _family(process_id: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(process_id)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _signal_group(process_id: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process_id, number)


if __name__ == "__main__":
    stop_servers([int(line) for line in sys.stdin])
