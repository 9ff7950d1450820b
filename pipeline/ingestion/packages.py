"""Where installed Python packages lie and which of their files hold documentation; nothing is imported."""

from __future__ import annotations

import importlib.machinery
import os
import sys
from pathlib import Path

from pipeline.errors import InputError

TEXT_SUFFIXES = (".rst", ".md", ".txt")
_SKIPPED_FOLDERS = frozenset({"__pycache__", "tests", "test", "testing", "_vendor", "vendored", "node_modules"})
_SKIPPED_STEMS = (
    "license",
    "licence",
    "copying",
    "notice",
    "authors",
    "cmakelists",
    "requirements",
    "entry_points",
    "top_level",
    "sources",
    "conftest",
)


def find_package(name: str) -> Path:
    """The folder of an installed package, or the file of a module.

    Raises:
        InputError: it is not installed.
    """
    spec = importlib.machinery.PathFinder.find_spec(name, sys.path)
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
        return Path(spec.origin)
    raise InputError(
        f"packages names {name!r}, which is not installed beside textmill as Python source. Install it with pip, or "
        "take it out of the list."
    )


def package_files(root: Path) -> list[tuple[str, Path]]:
    """(path relative to the package's parent, path) of its sources and reference texts, tests left out, sorted."""
    if root.is_file():
        return [(root.name, root)]
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in _SKIPPED_FOLDERS and not name.startswith(".")]
        for name in names:
            if name.endswith((".py", *TEXT_SUFFIXES)) and not name.lower().startswith(_SKIPPED_STEMS):
                path = Path(folder, name)
                found.append((path.relative_to(root.parent).as_posix(), path))
    return sorted(found)
