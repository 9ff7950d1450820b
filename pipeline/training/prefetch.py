"""The next step's batch is made while the device computes this one's.

Batches are pure functions of their step, so what was made ahead and is not asked for (a stop, a replay) is dropped without a
trace. One thread: the arrays are gathered by NumPy, which lets others run meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetcher(Generic[T]):
    """Calls `make(step)` for the step after the one that is asked for, in a thread that has called `prepare` first."""

    def __init__(self, make: Callable[[int], T], *, prepare: Callable[[], None] | None = None) -> None:
        self._make = make
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="prefetch", initializer=prepare)
        self._ahead: tuple[int, Future[T]] | None = None

    def get(self, step: int) -> T:
        """What `make(step)` gives, or raises."""
        ahead = self._ahead
        found = ahead[1].result() if ahead is not None and ahead[0] == step else self._make(step)
        self._ahead = step + 1, self._executor.submit(self._make, step + 1)
        return found

    def close(self) -> None:
        """Waits for what is being made, and drops it."""
        self._executor.shutdown(cancel_futures=True)
        self._ahead = None
