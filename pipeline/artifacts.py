"""Immutable, verified, content-addressed results: `<storage>/<stage>/<name>/<version>/` with a manifest written last.

In: files a stage writes into a draft folder. Out: a version folder that readers either see whole or not at all.

- A version is the fingerprint of (stage code version, the settings that change the result, the inputs' content hashes).
- `manifest.json` is the commit: the draft folder is renamed into place only after every file is hashed and on disk.
- `content_hash` covers the files' names and bytes, less those marked volatile (times, logs): equal work, equal hash.
- `current.json` beside the versions names the one in use; it is replaced in one step.
- A reader verifies sizes and sha256 before it trusts a file; what does not match is moved aside, never used or deleted.

Trade-off: a process reads every file it opens once in full (about 1 GB/s a core), the price of noticing a flipped bit.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.errors import ArtifactDamaged, ArtifactMissing, StorageError
from pipeline.files import (
    fingerprint,
    fsync_directory,
    fsync_file,
    make_folder,
    sha256_of_all,
    sha256_once,
    storage_errors,
    write_json,
)

MANIFEST = "manifest.json"
REPORT = "report.json"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRef:
    """Names one artifact: what a manifest records of each input."""

    stage: str
    name: str
    version: str
    content_hash: str

    def __str__(self) -> str:
        return f"{self.stage}/{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of an artifact; `path` is relative to the version's folder, with forward slashes."""

    path: str
    num_bytes: int
    sha256: str
    num_rows: int | None = None
    volatile: bool = False
    """Differs between equal runs (times, logs), so it is verified but not part of the content hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The record that commits a version."""

    stage: str
    name: str
    version: str
    code_version: str
    content_hash: str
    literals: Mapping[str, Any]
    """The settings that change the result, as fingerprinted."""
    inputs: Mapping[str, ArtifactRef]
    """Role -> input."""
    files: tuple[FileEntry, ...]
    counts: Mapping[str, Any]
    """The stage's own account: a ledger, token counts."""
    created_at: float
    """Unix seconds."""
    seconds: float
    """What making it took, over all attempts that went on from one another."""
    git_revision: str | None
    command: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Manifest:
        if value.get("format") != FORMAT:
            raise ValueError(f"manifest format is {value.get('format')!r}, this version reads {FORMAT}")
        fields = {key: entry for key, entry in value.items() if key != "format"}
        fields["inputs"] = {role: ArtifactRef(**ref) for role, ref in fields["inputs"].items()}
        fields["files"] = tuple(FileEntry(**entry) for entry in fields["files"])
        fields["command"] = tuple(fields["command"])
        return cls(**fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A committed version."""

    folder: Path
    manifest: Manifest

    @property
    def ref(self) -> ArtifactRef:
        manifest = self.manifest
        return ArtifactRef(
            stage=manifest.stage, name=manifest.name, version=manifest.version, content_hash=manifest.content_hash
        )

    def file(self, path: str) -> Path:
        """The file the manifest lists under `path`.

        Raises:
            ArtifactMissing: the manifest lists no such file.
        """
        if all(entry.path != path for entry in self.manifest.files):
            raise ArtifactMissing(f"{self.ref} holds no file {path!r}; it was written by another version of the stage.")
        return self.folder / path

    def files(self, pattern: str) -> list[Path]:
        """The files the manifest lists that match a glob, sorted; the folder itself is never listed."""
        return [
            self.folder / path for path in sorted(e.path for e in self.manifest.files) if fnmatchcase(path, pattern)
        ]

    def report(self) -> Report:
        """The stage's report: its figures, tables and plots."""
        return Report.from_json(json.loads(self.file(REPORT).read_text(encoding="utf-8")))


@dataclass(slots=True, kw_only=True)
class Report:
    """What a person sees of an artifact; an asset page and the terminal show the same."""

    figures: dict[str, int | float | str] = field(default_factory=dict)
    """Flat, stable names with units (`num_documents`, `bytes_per_token`); one name keeps one type."""
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Title -> rows."""
    plots: dict[str, str] = field(default_factory=dict)
    """Title -> PNG file within the artifact."""
    samples: dict[str, str] = field(default_factory=dict)
    """Title -> text; untrusted, escaped wherever it is shown."""
    notes: list[str] = field(default_factory=list)
    """Sentences that ask for attention: what was sampled, skipped or replaced."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Report:
        return cls(**value)


class Draft:
    """A version being written; `commit` makes it visible. Obtained from `ArtifactStore.draft`."""

    def __init__(
        self,
        *,
        store: ArtifactStore,
        folder: Path,
        stage: str,
        name: str,
        version: str,
        code_version: str,
        literals: Mapping[str, Any],
        inputs: Mapping[str, ArtifactRef],
    ) -> None:
        self.folder = folder
        self.stage, self.name, self.version = stage, name, version
        self.artifact: Artifact | None = None
        self._store = store
        self._code_version = code_version
        self.literals, self._inputs = literals, inputs
        self._started = time.monotonic()

    def path(self, relative: str) -> Path:
        """Where to write the file `relative`; its folder exists."""
        path = self.folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def commit(
        self,
        *,
        counts: Mapping[str, Any],
        report: Report,
        rows: Mapping[str, int] | None = None,
        volatile: tuple[str, ...] = (),
        earlier_seconds: float = 0.0,
    ) -> Artifact:
        """Hashes and syncs every file, writes the manifest, and renames the folder into place.

        `rows` gives row counts of files by relative path; `volatile` are globs of files left out of the content hash;
        `earlier_seconds` were spent on it before this draft.
        If another process committed the same version meanwhile, that one is returned and this draft is dropped.

        Raises:
            StorageError: the disk is full, read-only or forbidden.
        """
        assert self.artifact is None, "a draft is committed once"
        write_json(self.folder / REPORT, report.to_json(), sort_keys=False)  # columns stand as the stage has them
        entries = []
        for path in sorted(file for file in self.folder.rglob("*") if file.is_file()):
            relative = path.relative_to(self.folder).as_posix()
            fsync_file(path)
            entries.append(
                FileEntry(
                    path=relative,
                    num_bytes=path.stat().st_size,
                    sha256=sha256_once(path),
                    num_rows=(rows or {}).get(relative),
                    volatile=any(fnmatchcase(relative, pattern) for pattern in volatile),
                )
            )
        content = [[entry.path, entry.sha256] for entry in entries if not entry.volatile]
        manifest = Manifest(
            stage=self.stage,
            name=self.name,
            version=self.version,
            code_version=self._code_version,
            content_hash=fingerprint(content),
            literals=self.literals,
            inputs=self._inputs,
            files=tuple(entries),
            counts=counts,
            created_at=time.time(),
            seconds=earlier_seconds + time.monotonic() - self._started,
            git_revision=git_revision(),
            command=tuple(Path(word).name if index == 0 else word for index, word in enumerate(sys.argv)),
        )
        write_json(self.folder / MANIFEST, manifest.to_json())
        for folder in [path for path in self.folder.rglob("*") if path.is_dir()]:
            fsync_directory(folder)
        self.artifact = self._store.publish(self.folder, manifest)
        return self.artifact


class ArtifactStore:
    """The storage folder. Every method may be called by several processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, stage: str, name: str) -> Path:
        """Where the versions of one named thing lie."""
        return self.root / stage / name

    def find(self, stage: str, name: str, version: str) -> Artifact | None:
        """The committed version if it is there with every file at its size; None otherwise. Reads no file's bytes."""
        folder = self.folder(stage, name) / version
        try:
            manifest = Manifest.from_json(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
            if all((folder / entry.path).stat().st_size == entry.num_bytes for entry in manifest.files):
                return Artifact(folder=folder, manifest=manifest)
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            pass
        return None

    def current(self, stage: str, name: str) -> Artifact | None:
        """The version in use, or None where nothing was built yet."""
        try:
            pointer = json.loads((self.folder(stage, name) / "current.json").read_text(encoding="utf-8"))
            version = str(pointer["version"])
        except (
            FileNotFoundError,
            NotADirectoryError,
            ValueError,
            KeyError,
            TypeError,
        ):  # damaged: the next run writes it anew
            return None
        return self.find(stage, name, version)

    def set_current(self, artifact: Artifact) -> None:
        """Makes a version the one in use, in one step."""
        ref = artifact.ref
        write_json(self.folder(ref.stage, ref.name) / "current.json", {"version": ref.version})

    def require(self, stage: str, name: str) -> Artifact:
        """The version in use, verified.

        Raises:
            ArtifactMissing: nothing was built yet.
            ArtifactDamaged: a file does not match the manifest.
        """
        artifact = self.current(stage, name)
        if artifact is None:
            raise ArtifactMissing(f"{stage}/{name} has not been built yet; run `textmill run {stage}/{name}` first.")
        self.verify(artifact)
        return artifact

    def versions(self, stage: str, name: str) -> list[Artifact]:
        """The committed versions, newest first."""
        folder = self.folder(stage, name)
        if not folder.is_dir():
            return []
        found = [self.find(stage, name, entry.name) for entry in folder.iterdir() if (entry / MANIFEST).is_file()]
        whole = [a for a in found if a is not None and a.folder.name == a.ref.version]  # one that was set aside is none
        return sorted(whole, key=lambda a: a.manifest.created_at, reverse=True)

    def verify(self, artifact: Artifact) -> None:
        """Reads every file and compares it with the manifest.

        Raises:
            ArtifactDamaged: a file differs; the version was moved to `damaged-*` beside it, so that it is rebuilt.
        """
        entries = artifact.manifest.files
        digests = sha256_of_all(artifact.folder / entry.path for entry in entries)
        for entry, digest in zip(entries, digests, strict=True):
            path = artifact.folder / entry.path
            if not path.is_file():
                problem = "is missing"
            elif path.stat().st_size != entry.num_bytes:
                problem = f"has {path.stat().st_size} bytes where its manifest says {entry.num_bytes}"
            elif digest != entry.sha256:
                problem = "does not match its sha256"
            else:
                continue
            evidence = self.set_aside(artifact)
            raise ArtifactDamaged(
                f"{artifact.ref}: {entry.path} {problem}. The version was moved to {evidence.name}; run again to rebuild it."
            )

    def set_aside(self, artifact: Artifact) -> Path:
        """Moves a version out of the way, so that it is built again; where it lies now."""
        evidence = artifact.folder.with_name(f"damaged-{artifact.ref.version}-{uuid.uuid4().hex[:8]}")
        os.rename(artifact.folder, evidence)
        return evidence

    @contextmanager
    def building(self, stage: str, name: str, version: str) -> Iterator[None]:
        """Held while a version is looked for and built: a second process waits, and then finds what the first one built.

        The lock goes with the process that holds it, however that ends.
        """
        folder = self.folder(stage, name)
        make_folder(folder)
        with storage_errors(folder):
            file = (folder / f".lock-{version}").open("a", encoding="utf-8")
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            for left in folder.glob(f".draft-{version}-*"):  # by a process that is gone, whatever its host was called
                shutil.rmtree(left, ignore_errors=True)
            yield

    @contextmanager
    def draft(
        self,
        *,
        stage: str,
        name: str,
        version: str,
        code_version: str,
        literals: Mapping[str, Any],
        inputs: Mapping[str, ArtifactRef],
    ) -> Iterator[Draft]:
        """A folder to write a version into; on an exception it is removed, on a crash the next draft removes it.

        Raises:
            StorageError: the storage folder is full, read-only or forbidden.
        """
        parent = self.folder(stage, name)
        make_folder(parent)
        with storage_errors(parent):
            remove_abandoned(parent)
            folder = parent / f".draft-{version}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
            folder.mkdir()
            try:
                yield Draft(
                    store=self,
                    folder=folder,
                    stage=stage,
                    name=name,
                    version=version,
                    code_version=code_version,
                    literals=literals,
                    inputs=inputs,
                )
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def publish(self, folder: Path, manifest: Manifest) -> Artifact:
        """Renames a finished draft into place; the first of two equal ones wins and both callers get it."""
        final = self.folder(manifest.stage, manifest.name) / manifest.version
        with storage_errors(final):
            for _ in range(3):
                existing = self.find(manifest.stage, manifest.name, manifest.version)
                if existing is not None:
                    return existing
                if final.exists():  # a version without a valid manifest or with files gone: keep it as evidence
                    os.rename(final, final.with_name(f"damaged-{final.name}-{uuid.uuid4().hex[:8]}"))
                try:
                    os.rename(folder, final)
                except OSError:
                    if final.exists():
                        continue
                    raise
                fsync_directory(final.parent)
                return Artifact(folder=final, manifest=manifest)
        raise StorageError(f"{final} keeps being written by another process; stop it and run again.")


def remove_abandoned(parent: Path) -> None:
    """Removes drafts whose process on this host is gone."""
    host = socket.gethostname()
    for folder in parent.glob(".draft-*"):
        _, _, rest = folder.name.partition("-")
        owner = rest.rsplit("-", 2)
        if len(owner) == 3 and owner[0].endswith(f"-{host}") and not _is_alive(int(owner[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@lru_cache(maxsize=1)
def git_revision() -> str | None:
    """The commit of the code that runs, with `+` appended where tracked files differ; None outside a checkout."""
    folder = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, encoding="utf-8", timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    revision = git("rev-parse", "HEAD")
    if revision is None:
        return None
    return revision + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
