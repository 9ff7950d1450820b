"""What a source consists of today: its parts, each with a key that names its content and the settings it is read with.

In: a source's section. Out: parts sorted by path; a part is a file, or a package for `python_docs`. Where a file lies
is not in its key, so a moved source is recognised. On repeat only sizes and times are looked at (see stat_cache.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.config.data import PythonDocsSource, SourceConfig, TextSource
from pipeline.errors import InputError
from pipeline.files import fingerprint
from pipeline.ingestion import CODE_VERSION
from pipeline.ingestion.packages import find_package, package_files
from pipeline.ingestion.paths import FoundFile, find_files
from pipeline.ingestion.stat_cache import StatCache


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The unit of reuse: one file of a source, or one package."""

    key: str
    """Fingerprint of content, settings, path within the source and code version."""
    path: str
    """Relative to the source's folder; a package's name."""
    location: Path | str
    num_bytes: int
    content: str
    """sha256 of the file, or of a package's files; what a refused file has instead is its refusal."""
    refusal: str | None = None
    """Why it is not read; it becomes one reject."""


def list_parts(config: SourceConfig, *, folder: Path, cache_folder: Path) -> list[Part]:
    """The source's parts, sorted by path.

    `folder` is what relative paths are relative to; hashes are remembered under `cache_folder`.

    Raises:
        InputError: a path matches nothing, a package is not installed, or an encoding is unknown.
    """
    if isinstance(config, PythonDocsSource):
        return _package_parts(config, cache_folder=cache_folder)
    if isinstance(config, TextSource) and config.encoding != "detect":
        _require_encoding(config.encoding)
    paths = (config.path,) if isinstance(config.path, str) else config.path
    cache = StatCache(cache_folder, name=f"{folder.absolute()} {paths}")
    settings = config.literals()
    parts = []
    for path, file in find_files(paths, folder=folder).items():
        part = _file_part(path, file, settings, cache)
        if part is not None:
            parts.append(part)
    cache.save()
    return sorted(parts, key=lambda part: part.path)


def _file_part(path: str, file: FoundFile, settings: dict[str, object], cache: StatCache) -> Part | None:
    refusal, content, num_bytes = file.refusal, "", 0
    if refusal is None:
        try:
            content = cache.sha256(file.location)
            num_bytes = file.location.stat().st_size
        except FileNotFoundError:  # it went between the listing and now: the same as never listed
            return None
        except OSError as error:
            refusal = f"It cannot be read: {error.strerror}."
    content = content or f"refused: {refusal}"
    return Part(
        key=fingerprint([CODE_VERSION, settings, path, content]),
        path=path,
        location=file.location,
        num_bytes=num_bytes,
        content=content,
        refusal=refusal,
    )


def _package_parts(config: PythonDocsSource, *, cache_folder: Path) -> list[Part]:
    parts = []
    for package in sorted(set(config.packages)):
        root = find_package(package)
        cache = StatCache(cache_folder, name=f"package {root}")
        content, num_bytes = package_content(root, cache)
        cache.save()
        key = fingerprint([CODE_VERSION, config.reader, package, content])
        parts.append(Part(key=key, path=package, location=root, num_bytes=num_bytes, content=content))
    return parts


def package_content(root: Path, cache: StatCache) -> tuple[str, int]:
    """A digest of the names and bytes of a package's files, and their bytes together."""
    files = package_files(root)
    content = fingerprint([[relative, cache.sha256(path)] for relative, path in files])
    return content, sum(path.stat().st_size for _, path in files)


def _require_encoding(name: str) -> None:
    try:
        b"a".decode(name, "replace")
    except LookupError as error:  # unknown, or a codec such as base64 that makes no text
        raise InputError(
            f"encoding is {name!r}, which Python does not know. Write one such as cp1252, or `detect`."
        ) from error
