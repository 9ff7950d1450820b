"""The files that a source's paths name: literal files, whole folders, globs with `**`.

Names that begin with a dot are left out, as in a shell. Links are followed only to files inside the source's own
folder; what is refused (a link out of it, a link to a folder, a pipe, a device, a folder that cannot be listed) is
listed with the reason, so that it becomes a reject and does not stop the rest.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import InputError

_MAGIC = re.compile(r"[*?[]")
_WILDCARD = re.compile(r"(\*+|\?|\[!?\]?[^\]]*\])")
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
    if any(Path(os.path.realpath(absolute)).is_relative_to(system) for system in _SYSTEM_FOLDERS):
        raise InputError(f"path is {path!r}, which is no text but part of the system. Name a folder of text.")
    if os.path.lexists(absolute):
        if absolute.is_dir():
            for _, file in _walk(absolute, depth=None):
                yield _judge(file)
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
    for relative, file in _walk(root, depth=depth):
        if file.refusal is not None or matcher.fullmatch(relative):
            yield _judge(file)


def compile_glob(pattern: Sequence[str]) -> re.Pattern[str]:
    """The expression of a glob: ("**", "*.txt") matches "a.txt" and "b/c/a.txt"; a last "**" matches every file."""
    expression = ""
    for index, part in enumerate(pattern):
        is_last = index == len(pattern) - 1
        if part == "**":
            expression += ".+" if is_last else "(?:[^/]+/)*"
        else:
            expression += _segment(part) + ("" if is_last else "/")
    return re.compile(expression, re.DOTALL)


def _segment(part: str) -> str:
    """The expression of a glob between slashes, which none of its wildcards matches."""
    expression = ""
    for piece in filter(None, _WILDCARD.split(part)):
        if piece.startswith("*"):
            expression += "[^/]*"
        elif piece == "?":
            expression += "[^/]"
        else:  # a set or plain characters, whose translation ends with two characters for the end of the text
            expression += f"(?!/){fnmatch.translate(piece)[:-2]}"
    return expression


def _walk(root: Path, *, depth: int | None) -> Iterator[tuple[str, FoundFile]]:
    """All that is no folder, with its path relative to `root`; links to folders are listed, not entered. A folder that
    cannot be listed is refused, whatever is wanted of it.

    Raises:
        InputError: that folder is `root`.
    """
    pending = [("", str(root), 1)]
    while pending:
        prefix, folder, level = pending.pop()
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            continue
        except OSError as error:
            if not prefix:
                raise InputError(
                    f"path leads to {root}, which cannot be listed: {error.strerror}. Give this user permission to read it."
                ) from error
            refusal = f"It is a folder that cannot be listed: {error.strerror}."
            yield prefix, FoundFile(location=Path(folder), root=root, refusal=refusal)
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if depth is None or level < depth:
                    pending.append((f"{prefix}{entry.name}/", entry.path, level + 1))
            else:
                yield prefix + entry.name, FoundFile(location=Path(entry.path), root=root)


def _judge(file: FoundFile) -> FoundFile:
    return file if file.refusal is not None else replace(file, refusal=_refusal(file.location, file.root))


def _refusal(location: Path, root: Path) -> str | None:
    try:
        if location.is_symlink():
            target = Path(os.path.realpath(location, strict=True))
            if target.is_dir():
                return "It is a link to a folder; name that folder as a path of its own."
            if not target.is_relative_to(root.resolve()):
                return "It is a link out of the source's folder; copy the file or name it as a path of its own."
        is_regular = stat.S_ISREG(location.stat().st_mode)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):  # nothing there, or links in a circle
            return "It is a link to nothing."
        return f"It cannot be read: {error.strerror}."
    return None if is_regular else "It is a pipe, a socket or a device; only regular files are read."
