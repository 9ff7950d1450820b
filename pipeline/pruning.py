"""What of the storage folder may go: old versions, and what only they were made from or with.

In: the storage folder and who holds an alias in the registry. Out: folders with their bytes, and their removal. These stay:

- of every name the version in use and the newest others, as many as asked for;
- what the registry gives an alias to, with its evaluation and model;
- all that these were made from, a tokenizer's corpus excepted: it is not read again;
- of the parts that are cached, those used since the oldest of these versions was begun;
- of trainings that were not finished, the newest of each model, to be resumed.

The registry's own versions, Dagster's runs, and metrics that no server has yet are left alone. A folder is renamed before it is
deleted, so that readers see it whole or not at all; what a kill leaves of it is deleted the next time.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import Artifact, ArtifactStore
from pipeline.files import storage_errors
from pipeline.plan import MODEL, REGISTERED, STAGES, TOKENIZER, Key
from pipeline.registry.tracking import holds_unsent
from pipeline.training.spool import EVENTS

CHECKPOINTS, SPOOL = "checkpoints", "spool"
_DELETED = ".pruned-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waste:
    """What may go of one name."""

    key: Key
    folders: tuple[Path, ...]
    num_versions: int
    """Of these folders; the others are parts, checkpoints, damaged versions and what was deleted halfway."""
    num_kept: int
    """Versions that stay."""
    num_bytes: int
    """That are free afterwards: a file that something else links takes its space as before."""


def find_waste(store: ArtifactStore, *, keep: int, aliased: Mapping[str, Iterable[str]], uri: str) -> list[Waste]:
    """What may go, by name, in the stages' order; nothing is changed.

    `keep` is how many versions stay beside the one in use; `aliased` are the registry's versions that hold an alias, by model;
    `uri` is the tracker's address.
    """
    assert keep >= 0, "the version in use always stays"
    keys = [Key(stage, folder.name) for stage in STAGES for folder in _folders(store.root / stage)]
    versions = {key: store.versions(key.stage, key.name) for key in keys}
    kept = _kept(store, versions, keep=keep, aliased=aliased)
    found: list[Waste] = []
    for key in keys:
        old = [artifact.folder for artifact in versions[key] if artifact.folder not in kept]
        staying = [artifact for artifact in versions[key] if artifact.folder in kept]
        others = _remains(store.folder(key.stage, key.name)) + _unused_parts(store.folder(key.stage, key.name), staying)
        if key.stage == MODEL:
            others += _old_checkpoints(store, key.name, staying)
            others += _old_spools(store, key.name, {folder.name for folder in old}, uri)
        if old or others:
            folders = (*old, *others)
            num_bytes = _freed(folders)
            found.append(
                Waste(key=key, folders=folders, num_versions=len(old), num_kept=len(staying), num_bytes=num_bytes)
            )
    return found


def remove(waste: Iterable[Waste]) -> None:
    """Deletes it.

    Raises:
        StorageError: a folder cannot be deleted: the disk is read-only or forbidden.
    """
    for entry in waste:
        for folder in entry.folders:
            with storage_errors(folder):
                gone = folder.with_name(f"{_DELETED}{uuid.uuid4().hex}")
                folder.rename(gone)
                shutil.rmtree(gone)
                folder.with_name(f".lock-{folder.name}").unlink(missing_ok=True)


def _kept(
    store: ArtifactStore,
    versions: Mapping[Key, list[Artifact]],
    *,
    keep: int,
    aliased: Mapping[str, Iterable[str]],
) -> set[Path]:
    pending: list[Artifact] = []
    for key, found in versions.items():
        current = store.current(key.stage, key.name)
        # what is in use may be damaged, and then the newest is the best there is
        first = [current] if current is not None else found[:1]
        in_use = {artifact.folder for artifact in first}
        pending += first + [artifact for artifact in found if artifact.folder not in in_use][:keep]
        if key.stage == REGISTERED:
            numbers = set(aliased.get(key.name, ()))
            pending += [artifact for artifact in found if _registry_version(artifact) in numbers]
    kept: set[Path] = set()
    while pending:
        artifact = pending.pop()
        if artifact.folder in kept:
            continue
        kept.add(artifact.folder)
        if artifact.ref.stage != TOKENIZER:
            inputs = artifact.manifest.inputs.values()
            read = [store.find(ref.stage, ref.name, ref.version) for ref in inputs]
            pending += [found for found in read if found is not None]
    return kept


def _registry_version(artifact: Artifact) -> str | None:
    registration = artifact.folder / "registration.json"
    return str(json.loads(registration.read_text(encoding="utf-8"))["version"]) if registration.is_file() else None


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def _remains(folder: Path) -> list[Path]:
    """Damaged versions, and what a kill left of a deletion."""
    return [path for path in _folders(folder) if path.name.startswith(("damaged-", _DELETED))]


def _unused_parts(folder: Path, staying: list[Artifact]) -> list[Path]:
    """A part that is used has the time of that, see `part_cache`; the oldest version that stays began before its parts were."""
    if not staying:
        return []
    since = min(artifact.manifest.created_at - artifact.manifest.seconds for artifact in staying)
    return [path for path in _folders(folder / "parts") if path.stat().st_mtime < since - 1.0]


def _old_checkpoints(store: ArtifactStore, name: str, staying: list[Artifact]) -> list[Path]:
    """Those of versions that are gone, or were never finished and are not the newest such."""
    wanted = {artifact.ref.version for artifact in staying}
    folders = [path for path in _folders(store.root / CHECKPOINTS / name) if path.name not in wanted]
    unfinished = [path for path in folders if store.find(MODEL, name, path.name) is None]
    newest = max(unfinished, key=lambda path: path.stat().st_mtime, default=None)
    return [path for path in folders if path != newest]


def _old_spools(store: ArtifactStore, name: str, old: set[str], uri: str) -> list[Path]:
    """Those of versions that go, if the tracker has all they hold."""
    folders = [path for path in _folders(store.root / SPOOL / name) if path.name in old]
    return [path for path in folders if not holds_unsent(path / EVENTS, uri)]


def _freed(folders: Iterable[Path]) -> int:
    links: Counter[tuple[int, int]] = Counter()
    sizes: dict[tuple[int, int], tuple[int, int]] = {}
    for folder in folders:
        for path in folder.rglob("*"):
            status = path.lstat()
            if path.is_file():
                identity = (status.st_dev, status.st_ino)
                links[identity] += 1
                sizes[identity] = status.st_nlink, status.st_size
    return sum(size for identity, (num_links, size) in sizes.items() if links[identity] == num_links)
