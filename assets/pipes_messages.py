"""Reads what a training process says through Dagster Pipes, a whole line at a time.

Dagster's own reader takes what stands at the end of the file for a line. A line that crosses a page of memory can be seen before
its end is there; that reader then dies, and nothing more of the training arrives in the asset's log.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import dagster as dg
from dagster_pipes import PipesDefaultMessageWriter

MESSAGES = "pipes_messages.jsonl"
"""Beside the spec: where training writes, on this machine or another that shares the folder."""
_LOOK_EVERY_SECONDS = 0.05


class WholeLineReader(dg.PipesMessageReader):
    """Tails a file that the process with the default message writer appends to."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def read_messages(self, handler: Any) -> Iterator[dict[str, Any]]:
        """The writer's parameters; within, and until all that was written is read, messages go to the handler."""
        self._path.write_text("", encoding="utf-8")
        is_closed = Event()
        thread = Thread(target=self._follow, args=(handler, is_closed), daemon=True)
        thread.start()
        try:
            yield {PipesDefaultMessageWriter.FILE_PATH_KEY: str(self._path)}
        finally:
            is_closed.set()
            thread.join()

    def _follow(self, handler: Any, is_closed: Event) -> None:
        for line in whole_lines(self._path, is_closed):
            try:
                message = json.loads(line)
            except ValueError:  # a full disk took its end, and what came later stands in the same line
                continue
            handler.handle_message(message)

    def no_messages_debug_text(self) -> str:
        """What Dagster tells where not one message came."""
        return f"Attempted to read messages from file {self._path}."


def whole_lines(path: Path, is_closed: Event) -> Iterator[str]:
    """The lines of a file that grows, each when its end is there, until it is closed; one without an end is left out."""
    with path.open(encoding="utf-8") as file:
        line = ""
        while True:
            was_closed = is_closed.is_set()  # asked first: what is written before that is read
            piece = file.readline()
            line += piece
            if line.endswith("\n"):
                yield line
                line = ""
            elif not piece:
                if was_closed:
                    return
                is_closed.wait(_LOOK_EVERY_SECONDS)
