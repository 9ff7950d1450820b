"""The files that a source's paths name: literal files, whole folders, globs with `**`.

Names that begin with a dot are left out, as in a shell. Links are followed only to files inside the source's own
folder; what is refused (a link out of it, a link to a folder, a pipe, a device) is listed with the reason, so that it
becomes a reject and does not stop the rest.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError

_MAGIC = re.compile(r"[*?[]")
_SYSTEM_FOLDERS = ("/proc", "/sys", "/dev")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """A name below a source's folder."""

    location: Path
    """Absolute."""
    root: Path
    """The folder it was looked for in; links may not leave it."""
    refusal: str | None = None
    """Why it is not read, in one sentence."""


def find_files(paths: Sequence[str], *, folder: Path) -> dict[str, FoundFile]:
    """Every file that `paths` (relative to `folder`) name, by its path relative to their common folder, sorted.

    Raises:
        InputError: a path matches nothing, or names something that is neither a file nor a folder.
    """
    found: dict[Path, FoundFile] = {}
    for path in paths:
        matches = {file.location: file for file in _matches(path, folder)}
        if not matches:
            raise InputError(f"path is {path!r}, which matches no file in {folder}. Correct it or put files there.")
        found |= matches
    common = os.path.commonpath([file.root for file in found.values()])
    return {_portable(os.path.relpath(location, common)): found[location] for location in sorted(found)}


def _portable(relative: str) -> str:
    """The path with forward slashes; bytes that are no UTF-8 are written as escapes."""
    return os.fsencode(relative).decode("utf-8", "backslashreplace").replace(os.sep, "/")


def _matches(path: str, folder: Path) -> Iterator[FoundFile]:
    absolute = Path(os.path.normpath(folder.absolute() / path))  # keeps links, unlike resolve
    if os.path.realpath(absolute).startswith(_SYSTEM_FOLDERS):
        raise InputError(f"path is {path!r}, which is no text but part of the system. Name a folder of text.")
    if os.path.lexists(absolute):
        if absolute.is_dir():
            for _, location in _walk(absolute, depth=None):
                yield _judge(location, absolute)
        elif absolute.is_file():  # named in so many words, so a link may lead anywhere
            yield FoundFile(location=absolute, root=absolute.parent)
        elif absolute.is_symlink() and not absolute.exists():
            raise InputError(
                f"path is {path!r}, a link to {str(absolute.readlink())!r}, which is not there. Name another."
            )
        else:
            raise InputError(f"path is {path!r}, which is no regular file or folder. Name one.")
        return
    parts = absolute.parts
    first_magic = next((index for index, part in enumerate(parts) if _MAGIC.search(part)), None)
    if first_magic is None:
        return
    root, pattern = Path(*parts[:first_magic]), parts[first_magic:]
    matcher = compile_glob(pattern)
    depth = None if "**" in pattern else len(pattern)
    for relative, location in _walk(root, depth=depth):
        if matcher.fullmatch(relative):
            yield _judge(location, root)


def compile_glob(pattern: Sequence[str]) -> re.Pattern[str]:
    """The expression of a glob: ("**", "*.txt") matches "a.txt" and "b/c/a.txt"; a last "**" matches every file."""
    expression = ""
    for index, part in enumerate(pattern):
        is_last = index == len(pattern) - 1
        if part == "**":
            expression += ".+" if is_last else "(?:[^/]+/)*"
        else:
            segment = fnmatch.translate(part).removeprefix("(?s:").removesuffix(r")\Z")
            expression += segment.replace(".*", "[^/]*") + ("" if is_last else "/")
    return re.compile(expression, re.DOTALL)


def _walk(root: Path, *, depth: int | None) -> Iterator[tuple[str, Path]]:
    """(path relative to `root`, absolute path) of all that is no folder; links to folders are listed, not entered."""
    pending = [("", str(root), 1)]
    while pending:
        prefix, folder, level = pending.pop()
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if depth is None or level < depth:
                    pending.append((f"{prefix}{entry.name}/", entry.path, level + 1))
            else:
                yield prefix + entry.name, Path(entry.path)


def _judge(location: Path, root: Path) -> FoundFile:
    return FoundFile(location=location, root=root, refusal=_refusal(location, root))


def _refusal(location: Path, root: Path) -> str | None:
    if location.is_symlink():
        target = Path(os.path.realpath(location))  # unlike resolve, of links in a circle too
        if not target.exists():
            return "It is a link to nothing."
        if target.is_dir():
            return "It is a link to a folder; name that folder as a path of its own."
        if not target.is_relative_to(root.resolve()):
            return "It is a link out of the source's folder; copy the file or name it as a path of its own."
    try:
        is_regular = stat.S_ISREG(location.stat().st_mode)
    except OSError as error:
        return f"It cannot be read: {error.strerror}."
    return None if is_regular else "It is a pipe, a socket or a device; only regular files are read."
