"""Workers on this machine: one process a part at a time, and this process itself where there is one worker.

Each process is a pool of its own, so one that dies takes no other part with it and leaves no doubt which part it was.
Processes are forked from a server without threads (a fork of this process could hang), which has imported the function and
what tables need: the first pool waits a second for it, every later process starts in milliseconds.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing.context import ForkServerContext
from threading import Event
from typing import Any

from pipeline.engine.attempt import Attempt, attempt

_prepared = Event()
"""Set once the server imports more than what every worker needs."""
_IMPORTED_BY_ALL = ["pipeline.config", "pyarrow.parquet"]


def start_server(modules: Sequence[str]) -> None:
    """Has the server import these modules from now on, beside what this process does; later workers start with them."""
    multiprocessing.get_context("forkserver").set_forkserver_preload([*_IMPORTED_BY_ALL, *modules])
    multiprocessing.forkserver.ensure_running()
    _prepared.set()


def server_is_prepared() -> bool:
    """A worker starts in milliseconds with what this process would have to import and make first."""
    return _prepared.is_set()


class ThisProcess:
    """Runs parts one after the other, here; a crash ends the run."""

    def __init__(self, function: Callable[[Any], Any], parts: Sequence[Any]) -> None:
        self._function = function
        self._parts = parts

    def run(self, indices: Sequence[int], *, alone: bool) -> Generator[tuple[int, Attempt], None, None]:
        for index in indices:
            yield index, attempt(self._function, self._parts[index])


class Processes:
    """Runs each part in one of `num_workers` processes, or in the only one where parts run `alone`."""

    def __init__(self, function: Callable[[Any], Any], parts: Sequence[Any], *, num_workers: int) -> None:
        self._function = function
        self._parts = parts
        self._num_workers = num_workers

    def run(self, indices: Sequence[int], *, alone: bool) -> Generator[tuple[int, Attempt], None, None]:
        """Attempts in the order in which they end; each call starts fresh processes."""
        context = _context(self._function)
        waiting = list(reversed(indices))
        running: dict[Future[Attempt], tuple[int, ProcessPoolExecutor]] = {}
        with ExitStack() as stack:

            def start(pool: ProcessPoolExecutor) -> None:
                index = waiting.pop()
                running[pool.submit(attempt, self._function, self._parts[index])] = index, pool

            for _ in range(min(1 if alone else self._num_workers, len(indices))):
                start(_new_process(context, stack))
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    index, pool = running.pop(future)
                    outcome = _outcome(future)
                    if outcome.died:
                        pool.shutdown()
                        pool = _new_process(context, stack) if waiting else pool
                    if waiting:
                        start(pool)
                    yield index, outcome


def _context(function: Callable[[Any], Any]) -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_IMPORTED_BY_ALL, function.__module__])  # counts before the server's start only
    return context


def _new_process(context: ForkServerContext, stack: ExitStack) -> ProcessPoolExecutor:
    pool = ProcessPoolExecutor(1, mp_context=context)
    stack.callback(pool.shutdown, wait=True, cancel_futures=True)
    return pool


def _outcome(future: Future[Attempt]) -> Attempt:
    try:
        return future.result()
    except BrokenProcessPool:
        return Attempt(died=True, failure="its worker died without an answer, killed or out of memory")
    except Exception as error:  # what was to be sent there or back cannot be pickled
        return Attempt(failure=f"{type(error).__name__}: {error}")
