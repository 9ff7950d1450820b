"""What suits long computations: how threads of libraries wait, and that the C library keeps freed memory."""

from __future__ import annotations

import ctypes
import os
from collections.abc import MutableMapping

_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}
"""Threads of torch wait for each other by spinning for some microseconds, then give up their core. Those that never spin train an
encoder-decoder a fifth slower; those that spin on make a machine with other work on it 9 to 45 times slower."""
_KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": (-3, 2**30), "MALLOC_TRIM_THRESHOLD_": (-1, -1)}
"""Of glibc: a variable that a user may have set, and the number and value that mallopt(3) takes for the same. By itself the
library gives large blocks back to the system as they are freed, and every step asks for the same ones again, page by page:
kept, a step of a recurrent encoder-decoder takes a seventh to two fifths less time."""


def wait_considerately(environment: MutableMapping[str, str]) -> None:
    """Sets how threads wait, unless somebody has; libraries read it as they load, so a process sets it for those it starts."""
    if "OMP_WAIT_POLICY" not in environment:
        for name, value in _WAITING.items():
            environment.setdefault(name, value)


def keep_memory() -> None:
    """From now on this process keeps memory that it frees, since it allocates the same blocks over and over, unless the
    environment says otherwise. Where the C library is not glibc, nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    for variable, (parameter, value) in _KEPT_MEMORY.items():
        if variable not in os.environ:
            mallopt(parameter, value)
