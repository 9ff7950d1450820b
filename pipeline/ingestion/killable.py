"""A function in a process of its own that is killed when it takes too long: for parsers in C, which no signal stops.

In: a picklable module-level function of one argument. Out: its results, one call at a time. The process starts with
the first call and again after a kill; it ends with its owner, whose end of the pipe closes.
Trade-off: each argument and result crosses a pipe, about a millisecond a megabyte.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

Argument = TypeVar("Argument")
Result = TypeVar("Result")

START_SECONDS = 60.0
"""For the process to come up on a busy machine; not counted against a call."""
_READY = "ready"


class TimedOut(Exception):
    """The call took longer than it may, and its process was killed."""


class Died(Exception):
    """The call's process ended without an answer: a crash in C, or out of memory."""


class KillableFunction(Generic[Argument, Result]):
    """`function` behind a pipe; a context manager."""

    def __init__(self, function: Callable[[Argument], Result], *, timeout_seconds: float) -> None:
        self._function = function
        self._timeout_seconds = timeout_seconds
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def __call__(self, argument: Argument) -> Result:
        """The function's result.

        Raises:
            TimedOut: it took longer than `timeout_seconds`.
            Died: its process ended without an answer.
            Exception: what the function raised.
        """
        if self._process is None:
            self._start()
        assert self._connection is not None, "started above"
        try:
            self._connection.send(argument)
            if not self._connection.poll(self._timeout_seconds):
                self._stop()
                raise TimedOut(f"It took longer than {self._timeout_seconds:g} seconds.")
            is_error, answer = self._connection.recv()
        except (EOFError, OSError) as error:
            self._stop()
            raise Died("Its process ended without an answer.") from error
        if is_error:
            raise answer
        result: Result = answer
        return result

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._function), daemon=True)
        self._process.start()
        theirs.close()
        try:
            is_ready = self._connection.poll(START_SECONDS) and self._connection.recv() == _READY
        except EOFError:
            is_ready = False
        if not is_ready:
            self._stop()
            raise Died("Its process did not start.")

    def _stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
        self._process = self._connection = None


def _serve(connection: Connection, function: Callable[[Any], Any]) -> None:
    """Answers calls until the other end closes."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # its owner, which may ignore it, ends it so and waits
    connection.send(_READY)
    while True:
        try:
            argument = connection.recv()
        except EOFError:
            return
        try:
            answer = (False, function(argument))
        except Exception as error:
            answer = (True, error)
        try:
            connection.send(answer)
        except OSError:  # the other end closed while this one worked
            return
