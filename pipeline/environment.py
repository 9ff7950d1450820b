"""What libraries read of the environment as they load, so it is set before: how threads wait, and how freed memory is kept."""

from __future__ import annotations

from collections.abc import MutableMapping

_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}
"""Threads of torch wait for each other by spinning for some microseconds, then give up their core. Those that never spin train an
encoder-decoder a fifth slower; those that spin on make a machine with other work on it 9 to 45 times slower."""
_KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**33)}
"""The C library gives large blocks back to the system as they are freed, and every step asks for the same ones again, page by
page: kept, a step of a recurrent encoder-decoder takes a seventh less time."""


def wait_considerately(environment: MutableMapping[str, str]) -> None:
    """Sets how threads wait, unless somebody has."""
    if "OMP_WAIT_POLICY" not in environment:
        _set_defaults(environment, _WAITING)


def keep_memory(environment: MutableMapping[str, str]) -> None:
    """Sets that freed memory is kept, for a process that allocates the same blocks over and over, unless somebody has."""
    _set_defaults(environment, _KEPT_MEMORY)


def _set_defaults(environment: MutableMapping[str, str], values: dict[str, str]) -> None:
    for name, value in values.items():
        environment.setdefault(name, value)
