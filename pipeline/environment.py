"""What libraries read of the environment as they load, so it is set before: how threads wait, and how freed memory is kept."""

from __future__ import annotations

from collections.abc import MutableMapping

_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}
"""Threads of torch wait for each other by spinning for some microseconds, then give up their core. Those that never spin train an
encoder-decoder a fifth slower; those that spin on make a machine with other work on it 9 to 45 times slower."""
_LARGEST_KEPT_BYTES, _LARGEST_KEPT_OF_MANY_SIZES = 2**30, 2**25
_KEPT_BYTES = 2**33
"""The C library gives large blocks back to the system as they are freed, and every step asks for the same ones again, page by
page: kept, a step of a recurrent encoder-decoder takes a seventh to two fifths less time. Where every step asks for other sizes,
the largest blocks leave holes that the next ones do not fit: kept too, they double what training an encoder-decoder takes."""


def wait_considerately(environment: MutableMapping[str, str]) -> None:
    """Sets how threads wait, unless somebody has."""
    if "OMP_WAIT_POLICY" not in environment:
        _set_defaults(environment, _WAITING)


def keep_memory(environment: MutableMapping[str, str], *, sizes_vary: bool = False) -> None:
    """Sets that freed memory is kept, for a process that allocates the same blocks over and over, unless somebody has.

    `sizes_vary`: they are never quite the same, so the largest are given back.
    """
    largest = _LARGEST_KEPT_OF_MANY_SIZES if sizes_vary else _LARGEST_KEPT_BYTES
    _set_defaults(environment, {"MALLOC_MMAP_THRESHOLD_": str(largest), "MALLOC_TRIM_THRESHOLD_": str(_KEPT_BYTES)})


def _set_defaults(environment: MutableMapping[str, str], values: dict[str, str]) -> None:
    for name, value in values.items():
        environment.setdefault(name, value)
