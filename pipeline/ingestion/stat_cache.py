"""What was found in files (sha256, places to cut), remembered by size, times and inode: unchanged files are not reread.

One JSON file under `<storage>/stat-cache/`. It only saves time: where it is missing, damaged or cannot be written the
files are read. A file changed in the last seconds is not remembered, since a second change could leave the same times.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import StorageError
from pipeline.files import fingerprint, sha256_file, write_json

_SETTLED_SECONDS = 2.0
FOLDER = "stat-cache"


class StatCache:
    """The remembered hashes of one set of paths; `save` keeps those that were asked for since."""

    def __init__(self, cache_folder: Path, *, name: str) -> None:
        self._file = cache_folder / FOLDER / f"{fingerprint(name)}.json"
        self._before = self._load()
        self._now: dict[str, list[Any]] = {}

    def _load(self) -> dict[str, list[Any]]:
        try:
            entries = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return entries if isinstance(entries, dict) else {}

    def sha256(self, path: Path) -> str:
        """The digest of the file's bytes.

        Raises:
            OSError: it cannot be read.
        """
        return str(self.remember(path, "", lambda: sha256_file(path)))

    def remember(self, path: Path, what: str, compute: Callable[[], Any]) -> Any:
        """What `compute` finds in the file, a JSON value; `what` tells several of one file apart.

        Raises:
            OSError: it cannot be read.
        """
        name = os.fsencode(path).decode("latin-1") + what  # any bytes are a file's name; not any are UTF-8
        status = path.stat()
        identity = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        remembered = self._before.get(name)
        if isinstance(remembered, list) and remembered[:4] == identity and len(remembered) == 5:
            self._now[name] = remembered
            return remembered[4]
        found = compute()
        if time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED_SECONDS:
            self._now[name] = [*identity, found]
        return found

    def save(self) -> None:
        """Writes what is new; a storage folder that cannot be written is not this cache's business."""
        if self._now == self._before:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._file, self._now)
        except (OSError, StorageError):
            return
