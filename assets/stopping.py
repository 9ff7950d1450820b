"""Whether this process was asked to stop, as the interpreter's wake-up descriptor tells it, which nothing can keep from doing so.

An exception is not enough: Python drops a KeyboardInterrupt that falls into a destructor or the callback of a weak reference,
and Dagster goes on after one between two steps. Who begins a piece of work looks here first.
"""

from __future__ import annotations

import signal
import socket
import threading

was_stopped = threading.Event()
"""Set when this process was asked to stop, or one of its assets was interrupted."""


def watch_signals() -> None:
    """From now on SIGINT and SIGTERM set `was_stopped`, beside what their handlers do. For the main thread."""
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_note, args=(reading, writing), name="stops", daemon=True).start()


def _note(reading: socket.socket, writing: socket.socket) -> None:
    """`writing` is held here so that it stays open."""
    while received := reading.recv(64):
        if {signal.SIGINT, signal.SIGTERM} & {*received}:
            was_stopped.set()
