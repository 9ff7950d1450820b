"""One try at one part: what came of it, as a value that every worker can send."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pipeline.environment import keep_memory
from pipeline.errors import TextmillError

Part = TypeVar("Part")

_PASSED_ON_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
"""What callers turn into a StorageError; another try meets the same disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A result, or why there is none."""

    result: Any = None
    refusal: Exception | None = None
    """An error that another try would repeat."""
    failure: str | None = None
    """An unexpected error in one line, or how the worker died."""
    details: str = ""
    """The unexpected error's traceback."""
    died: bool = False
    """The worker left without an answer."""


def attempt(function: Callable[[Part], Any], part: Part) -> Attempt:
    """Applies `function`; what it raises comes back as text, since not every exception survives the way to another process.

    A part is worked on batch by batch, and every batch asks for the same blocks of memory again: they are kept.
    """
    keep_memory()
    try:
        return Attempt(result=function(part))
    except TextmillError as error:
        return Attempt(refusal=error)
    except OSError as error:
        if error.errno in _PASSED_ON_ERRNOS:
            return Attempt(refusal=error)
        return _failed(error)
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> Attempt:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
    failure = f"{type(error).__name__}: {error}".rstrip(": ") + place
    return Attempt(failure=failure, details="".join(traceback.format_exception(error)))
