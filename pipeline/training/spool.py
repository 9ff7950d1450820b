"""Metrics to a local file, one JSON object a line; a process that knows the tracker ships them.

A tracker that is slow or away can neither stop a run nor lose its metrics; on a disk that is full for a while they wait in
memory. After a resume, steps may repeat with equal values.
"""

from __future__ import annotations

import errno
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

EVENTS = "events.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingInfo:
    """Who this run is, for the tracker."""

    experiment: str
    run_name: str
    tags: dict[str, str] = field(default_factory=dict)
    inputs: list[dict[str, str]] = field(default_factory=list)
    """Datasets: name, digest, source, context."""


class Spool:
    """Appends events; each is on its way to disk when the call returns. Without a folder, nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self._file: IO[bytes] | None = None
        self._unwritten = b""
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / EVENTS
        torn = path.is_file() and path.read_bytes()[-1:] not in (b"\n", b"")
        self._file = path.open("ab", buffering=0)
        if torn:  # a kill in mid-line: what follows begins a line of its own
            self._unwritten = b"\n"

    def start(self, tracking: dict[str, Any], params: dict[str, Any]) -> None:
        """The run begins, or begins again."""
        self._write({"kind": "start", "params": {key: str(value) for key, value in params.items()}, **tracking})

    def metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Figures of one step."""
        self._write({"kind": "metrics", "step": step, "metrics": metrics})

    def text(self, path: str, text: str) -> None:
        """A text to look at, under this path among the run's files."""
        self._write({"kind": "text", "path": path, "text": text})

    def tags(self, tags: dict[str, str]) -> None:
        """Facts that may change."""
        self._write({"kind": "tags", "tags": tags})

    def finish(self, status: str) -> None:
        """FINISHED, FAILED or KILLED."""
        self._write({"kind": "finish", "status": status})
        if self._file is not None:
            self._file.close()

    def _write(self, event: dict[str, Any]) -> None:
        if self._file is None:
            return
        kind = {
            "kind": event["kind"],
            "time_ms": int(time.time() * 1000),
        }  # in this order: a reader finds torn lines by it
        self._unwritten += json.dumps({**kind, **event}).encode() + b"\n"
        try:
            while self._unwritten:
                self._unwritten = self._unwritten[self._file.write(self._unwritten) :]
        except OSError as error:  # the checkpoint says what to do about a full disk, when one is due
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
