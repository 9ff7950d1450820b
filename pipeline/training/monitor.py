"""How a run does beside its loss: how long it waits for data, what it uses of the machine, and which part of the peak it reaches.

MFU (model FLOPs utilisation, Chowdhery et al. 2022, arXiv 2204.02311) counts 6 FLOPs per matrix parameter and token, the head's
included and the embedding table's not, and causal attention at half of full attention (6 layers x context x width); the peak
is the data sheet's for dense bfloat16. Nothing here waits for the device.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Monitor:
    """Figures of the time since they were last asked for."""

    def __init__(self, *, device: str) -> None:
        self._device = device
        self.restart()

    def restart(self) -> None:
        """What was before does not count."""
        self._since, self._cpu_since, self._waited = time.monotonic(), _cpu_seconds(), 0.0

    @contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """The time within is spent on getting a batch."""
        started = time.monotonic()
        yield
        self._waited += time.monotonic() - started

    def figures(self) -> dict[str, float]:
        """Under the tracker's names; the next call counts from here."""
        elapsed = max(time.monotonic() - self._since, 1e-9)
        found = {
            "train/data_wait_fraction": self._waited / elapsed,
            "system/cpu_cores_used": (_cpu_seconds() - self._cpu_since) / elapsed,
            "system/load_average": os.getloadavg()[0],
            "system/memory_bytes": float(memory_bytes()),
        }
        if self._device == "cuda":
            found["system/gpu_memory_bytes"] = float(torch.cuda.memory_allocated())
            found["system/gpu_peak_memory_bytes"] = float(torch.cuda.max_memory_reserved())
        self.restart()
        return found


def memory_bytes() -> int:
    """What this process holds in memory at most so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes but there


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
