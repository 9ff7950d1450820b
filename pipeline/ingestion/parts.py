"""What a source consists of today: its parts, each with a key that names its content and the settings it is read with.

In: a source's section. Out: parts sorted by path; a part is a file, a range of a large one (see ranges.py), two aligned
files, or a package for `python_docs`. Files at addresses are fetched first (see remote.py). Where a file lies is not in
its key, so a moved source is recognised. On repeat only sizes and times are looked at (see stat_cache.py).
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pipeline.config.data import PythonDocsSource, SourceConfig, TextSource
from pipeline.config.file_sources import CsvSource, MarkdownSource, ParallelSource
from pipeline.errors import InputError
from pipeline.files import fingerprint, sha256_file
from pipeline.ingestion import CODE_VERSION
from pipeline.ingestion.archives import is_archive
from pipeline.ingestion.packages import find_package, package_files
from pipeline.ingestion.paths import FoundFile, find_files
from pipeline.ingestion.ranges import Range, find_ranges, may_divide, range_content, read_range
from pipeline.ingestion.remote import fetch_files, is_remote
from pipeline.ingestion.stat_cache import StatCache


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The unit of reuse: one file of a source, a range of a large one, a pair of aligned files, or one package."""

    key: str
    """Fingerprint of content, settings, path within the source and code version."""
    path: str
    """Relative to the source's folder; a package's name."""
    location: Path | str
    num_bytes: int
    content: str
    """What `content_now` gave when the key was made; what a refused file has instead is its refusal."""
    refusal: str | None = None
    """Why it is not read; it becomes one reject."""
    range: Range | None = None
    """Which of the file's records it holds; None means all."""
    target: Path | None = None
    """The file aligned with it."""


def list_parts(config: SourceConfig, *, folder: Path, cache_folder: Path) -> list[Part]:
    """The source's parts, sorted by path.

    `folder` is what relative paths are relative to; hashes and what was fetched are kept under `cache_folder`.

    Raises:
        InputError: a path matches nothing, a server does not answer, a package is not installed, or an encoding is
            unknown.
    """
    if isinstance(config, PythonDocsSource):
        return _package_parts(config, cache_folder=cache_folder)
    if isinstance(config, TextSource | CsvSource | MarkdownSource | ParallelSource) and config.encoding != "detect":
        _require_encoding(config.encoding)
    cache = StatCache(cache_folder, name=f"{folder.absolute()} {config.path}")
    files = _find(config.path, folder=folder, cache_folder=cache_folder)
    if isinstance(config, ParallelSource):
        parts = _pair_parts(files, config, cache, folder=folder, cache_folder=cache_folder)
    else:
        parts = [part for path, file in files.items() for part in _file_parts(path, file, config, cache)]
    cache.save()
    return sorted(parts, key=lambda part: (part.path, part.range.start if part.range is not None else 0))


def _find(path: str | tuple[str, ...], *, folder: Path, cache_folder: Path) -> dict[str, FoundFile]:
    paths = (path,) if isinstance(path, str) else path
    here, remote = [path for path in paths if not is_remote(path)], [path for path in paths if is_remote(path)]
    files = find_files(here, folder=folder) if here else {}
    fetched = fetch_files(remote, cache_folder=cache_folder) if remote else {}
    if both := sorted(files.keys() & fetched.keys()):
        raise InputError(f"path names {both[0]!r} both here and at an address. Make two sources of them.")
    return files | fetched


def content_now(part: Part, config: SourceConfig, cache: StatCache | None = None) -> str:
    """A digest of what a part is read from: the file, the two files, the range and the header, or the package's files.

    Raises:
        OSError: it cannot be read.
    """
    path = Path(part.location)
    if isinstance(config, PythonDocsSource):
        return package_content(path, cache)[0]
    if part.range is not None:
        digest = hashlib.sha256()
        for chunk in read_range(path, part.range):
            digest.update(chunk)
        return range_content(path, digest.hexdigest(), config)
    digests = [
        sha256_file(file) if cache is None else cache.sha256(file) for file in (path, part.target) if file is not None
    ]
    return digests[0] if part.target is None else fingerprint(digests)


def _file_parts(path: str, file: FoundFile, config: SourceConfig, cache: StatCache) -> list[Part]:
    if file.refusal is not None:
        return [_refused(path, file.location, file.refusal, config)]
    try:
        num_bytes = file.location.stat().st_size
        if not is_archive(path):
            ranges = _ranges(file.location, config, cache, num_bytes=num_bytes)
            if ranges:
                return [_range_part(path, file.location, found, config) for found in ranges]
        part = Part(key="", path=path, location=file.location, num_bytes=num_bytes, content="")
        return [_with_key(replace(part, content=content_now(part, config, cache)), config)]
    except FileNotFoundError:  # it went between the listing and now: the same as never listed
        return []
    except OSError as error:
        return [_refused(path, file.location, f"It cannot be read: {error.strerror}.", config)]


def _ranges(path: Path, config: SourceConfig, cache: StatCache, *, num_bytes: int) -> list[Range]:
    if not may_divide(config, num_bytes=num_bytes):
        return []
    what = f"\0ranges {fingerprint([CODE_VERSION, config.literals()])}"
    return [
        Range(**found)
        for found in cache.remember(path, what, lambda: [asdict(found) for found in find_ranges(path, config)])
    ]


def _range_part(path: str, location: Path, found: Range, config: SourceConfig) -> Part:
    content = range_content(location, found.sha256, config)
    num_bytes = found.stop - found.start
    part = Part(key="", path=path, location=location, num_bytes=num_bytes, content=content, range=found)
    return _with_key(part, config)


def _pair_parts(
    files: dict[str, FoundFile], config: ParallelSource, cache: StatCache, *, folder: Path, cache_folder: Path
) -> list[Part]:
    targets = _find(config.target_path, folder=folder, cache_folder=cache_folder)
    if len(files) != len(targets):
        raise InputError(
            f"path names {len(files)} files and target_path {len(targets)}; they are aligned by the order of their "
            "names. Name as many of each."
        )
    parts = []
    for (path, file), (target_path, target) in zip(files.items(), targets.items(), strict=True):
        refusal = file.refusal or target.refusal
        if refusal is None and (is_archive(path) or is_archive(target_path)):
            refusal = "It is an archive; aligned files are read by themselves. Unpack it."
        try:
            if refusal is None:
                num_bytes = file.location.stat().st_size + target.location.stat().st_size
                part = Part(
                    key="", path=path, location=file.location, num_bytes=num_bytes, content="", target=target.location
                )
                parts.append(_with_key(replace(part, content=content_now(part, config, cache)), config))
        except OSError as error:
            refusal = f"It cannot be read: {error.strerror}."
        if refusal is not None:
            parts.append(_refused(path, file.location, refusal, config))
    return parts


def _refused(path: str, location: Path, refusal: str, config: SourceConfig) -> Part:
    content = f"refused: {refusal}"
    part = Part(key="", path=path, location=location, num_bytes=0, content=content, refusal=refusal)
    return _with_key(part, config)


def _with_key(part: Part, config: SourceConfig) -> Part:
    parts: list[object] = [CODE_VERSION, config.literals(), part.path, part.content]
    if part.range is not None:
        parts.append([part.range.first_index, part.range.is_last])
    return replace(part, key=fingerprint(parts))


def _package_parts(config: PythonDocsSource, *, cache_folder: Path) -> list[Part]:
    parts = []
    for package in sorted(set(config.packages)):
        root = find_package(package)
        cache = StatCache(cache_folder, name=f"package {root}")
        content, num_bytes = package_content(root, cache)
        cache.save()
        key = fingerprint([CODE_VERSION, config.reader, config.documents, package, content])
        parts.append(Part(key=key, path=package, location=root, num_bytes=num_bytes, content=content))
    return parts


def package_content(root: Path, cache: StatCache | None) -> tuple[str, int]:
    """A digest of the names and bytes of a package's files, and their bytes together."""
    files = package_files(root)
    content = fingerprint(
        [[relative, sha256_file(path) if cache is None else cache.sha256(path)] for relative, path in files]
    )
    return content, sum(path.stat().st_size for _, path in files)


def _require_encoding(name: str) -> None:
    try:
        b"a".decode(name, "replace")
    except LookupError as error:  # unknown, or a codec such as base64 that makes no text
        raise InputError(
            f"encoding is {name!r}, which Python does not know. Write one such as cp1252, or `detect`."
        ) from error
