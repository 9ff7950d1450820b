"""The whole training state on disk: complete or absent, verified before it is trusted.

Files of `step-00000120/`: `model.safetensors`, `optimizer.safetensors`, `guard.safetensors`, `random.safetensors`,
`state.json`, and, last, `manifest.json` with the sha256 of each. The folder is written beside, read back and renamed; only then
are older ones removed.

Processes that divide the weights among them (`fsdp`) each write files of their own, such as `model-00001-of-00002.safetensors`,
with the rows they hold. A tensor is its rows in the order of the files; one that is in the first file alone is whole there. So
any number of processes, with any strategy, goes on from what any other saved, and each reads no more than it will hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from pipeline.errors import StorageError, TrainingError
from pipeline.files import fsync_directory, sha256_file, storage_errors, write_bytes, write_json
from pipeline.training.distributed import ALONE, Alone
from pipeline.training.keeping import Keep, by_validation

_TENSOR_FILES = ("model", "optimizer", "guard", "random")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A state that training continues from, bit for bit."""

    step: int
    """Steps done."""
    tensors: dict[str, dict[str, Tensor]]
    """`model`, `optimizer`, `guard` and `random` by name."""
    state: dict[str, Any]
    """Everything else, as JSON values."""
    validation_loss: float | None = None
    """Where this step was validated."""


def save_checkpoint(
    folder: Path,
    checkpoint: Checkpoint,
    *,
    version: str,
    identity: Mapping[str, Any],
    keep: Keep,
    ranks: Alone = ALONE,
) -> Path:
    """Writes a checkpoint and then removes what is not to be kept; `identity` says what it may be resumed with.

    Of several processes the first one writes, and commits; where they divide the weights, each writes its part.

    Raises:
        StorageError: the disk is full, read-only or forbidden; earlier checkpoints are untouched.
    """
    final = folder / f"step-{checkpoint.step:08d}"
    aside = folder / f".{final.name}.{ranks.from_first(os.getpid())}"
    if ranks.from_first(ranks.is_first and _holds(final, checkpoint)):
        return final  # training is deterministic: the same step is the same state
    try:
        with storage_errors(folder):
            if ranks.is_first:
                shutil.rmtree(aside, ignore_errors=True)
                aside.mkdir(parents=True)
            ranks.wait()
            hashes = _write_tensors(aside, checkpoint.tensors, ranks)
            if ranks.is_first:
                write_json(aside / "state.json", checkpoint.state)
                hashes["state.json"] = sha256_file(aside / "state.json")
                manifest = {
                    "step": checkpoint.step,
                    "version": version,
                    "identity": dict(identity),
                    "validation_loss": checkpoint.validation_loss,
                    "sha256": hashes,
                }
                write_json(aside / "manifest.json", manifest)
                problem = _problem(aside)
                if problem is not None:
                    raise StorageError(f"What was written to {folder} {problem} when read back. Check the disk.")
                if final.exists():
                    shutil.rmtree(final)
                os.rename(aside, final)
                fsync_directory(folder)
    except StorageError as error:
        raise StorageError(
            f"The checkpoint at step {checkpoint.step} could not be saved; earlier ones are intact. {error}"
        ) from error
    finally:
        if ranks.is_first:
            shutil.rmtree(aside, ignore_errors=True)
    if ranks.is_first:
        checkpoints = _by_age(folder)
        for old in sorted(set(checkpoints) - keep.kept(checkpoints)):
            shutil.rmtree(old)
    ranks.wait()
    return final


def _holds(path: Path, checkpoint: Checkpoint) -> bool:
    """Whether this checkpoint is there, whole, and knows of its validation."""
    if not path.is_dir() or _problem(path) is not None:
        return False
    known: float | None = json.loads((path / "manifest.json").read_text(encoding="utf-8"))["validation_loss"]
    return known == checkpoint.validation_loss


def _write_tensors(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], ranks: Alone) -> dict[str, str]:
    """Writes what this process has to; the first one learns the sha256 of every file, by name."""
    if not (ranks.is_first or ranks.is_sharded):
        return {}
    digests: dict[str, bytes] = {}
    for name in _TENSOR_FILES:
        own = {
            key: tensor.detach().cpu().contiguous()
            for key, tensor in tensors[name].items()
            if ranks.is_first or ranks.is_part(key, tensor)
        }
        data = save(own)
        digests[name] = hashlib.sha256(data).digest()
        write_bytes(folder / _file_name(name, ranks.rank, ranks), data)
    if not ranks.is_sharded:
        return {_file_name(name, 0, ranks): digest.hex() for name, digest in digests.items()}
    length = hashlib.sha256().digest_size
    return {
        _file_name(name, rank, ranks): together[number * length : (number + 1) * length].hex()
        for rank, together in enumerate(ranks.gathered(b"".join(digests.values())))
        for number, name in enumerate(digests)
    }


def _file_name(name: str, rank: int, ranks: Alone) -> str:
    return f"{name}-{rank + 1:05d}-of-{ranks.size:05d}.safetensors" if ranks.is_sharded else f"{name}.safetensors"


def load_newest(
    folder: Path, *, version: str, identity: Mapping[str, Any], ranks: Alone = ALONE
) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, and a sentence for each newer one that was not and is kept as evidence.

    Of several processes the first one looks, and has the sentences; each reads the part of the weights that it will hold.

    Raises:
        TrainingError: the newest whole one belongs to another version, or to other data or settings.
    """
    candidates = _by_age(folder)[::-1] if ranks.is_first else []
    return _first_whole(folder, candidates, version=version, identity=identity, ranks=ranks)


def load_best(
    folder: Path, *, version: str, identity: Mapping[str, Any], ranks: Alone = ALONE
) -> tuple[Checkpoint | None, list[str]]:
    """The same for the checkpoint with the least validation loss; one that is not whole gives way to the next best.

    Raises:
        TrainingError: the best whole one belongs to another version, or to other data or settings.
    """
    candidates = by_validation(_by_age(folder)) if ranks.is_first else []
    return _first_whole(folder, candidates, version=version, identity=identity, ranks=ranks)


def _first_whole(
    folder: Path, candidates: list[Path], *, version: str, identity: Mapping[str, Any], ranks: Alone
) -> tuple[Checkpoint | None, list[str]]:
    step, remarks = _step_of_first_whole(folder, candidates, version, identity) if ranks.is_first else (-1, [])
    step = ranks.from_first(step)
    if step < 0:
        return None, remarks
    path = folder / f"step-{step:08d}"
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    written = sorted(manifest["sha256"])
    tensors = {}
    for name in _TENSOR_FILES:
        files = [path / file for file in written if file == f"{name}.safetensors" or file.startswith(f"{name}-")]
        tensors[name] = dict(_read_tensors(files, ranks))
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    loaded = Checkpoint(step=step, tensors=tensors, state=state, validation_loss=manifest["validation_loss"])
    return loaded, remarks


def _read_tensors(files: list[Path], ranks: Alone) -> Iterator[tuple[str, Tensor]]:
    """Each tensor of a file, or of the files of several processes; of one that is divided, this process's rows."""
    with ExitStack() as opened:
        readers = [opened.enter_context(safe_open(file, framework="pt")) for file in files]
        keys = [set(reader.keys()) for reader in readers]
        for key in sorted(keys[0]):
            holders = [reader for reader, held in zip(readers, keys, strict=True) if key in held]
            first = holders[0].get_slice(key)
            if len(holders) == 1 and not (first.get_shape() and ranks.is_part(key)):
                yield key, holders[0].get_tensor(key)
                continue
            pieces = [reader.get_slice(key) for reader in holders]
            lengths = [piece.get_shape()[0] for piece in pieces]
            wanted = ranks.rows(sum(lengths)) if ranks.is_part(key) else slice(0, sum(lengths))
            ends = list(accumulate(lengths))
            found = [
                piece[max(wanted.start, end - length) - (end - length) : min(wanted.stop, end) - (end - length)]
                for piece, length, end in zip(pieces, lengths, ends, strict=True)
                if max(wanted.start, end - length) < min(wanted.stop, end)
            ]
            yield key, torch.cat(found) if found else holders[0].get_tensor(key)[:0]


def _step_of_first_whole(
    folder: Path, candidates: list[Path], version: str, identity: Mapping[str, Any]
) -> tuple[int, list[str]]:
    remarks: list[str] = []
    for abandoned in folder.glob(".step-*"):  # of a process that was killed while it saved
        shutil.rmtree(abandoned, ignore_errors=True)
    for path in candidates:
        problem = _problem(path)
        if problem is None:
            manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
            if manifest["version"] != version:
                raise TrainingError(
                    f"{path} belongs to the training version {manifest['version']}, not {version}. Move it away and run again."
                )
            changed = sorted(
                key
                for key in manifest["identity"].keys() | identity.keys()
                if manifest["identity"].get(key) != identity.get(key)
            )
            if changed:
                raise TrainingError(
                    f"{path} was saved with another {changed[0]} ({manifest['identity'].get(changed[0])}, now "
                    f"{identity.get(changed[0])}). Move it away to begin anew."
                )
            return manifest["step"], remarks
        evidence = path.with_name(f"damaged-{path.name}-{os.getpid()}")
        os.rename(path, evidence)
        remarks.append(
            f"The checkpoint {path.name} {problem}; it was moved to {evidence.name}, the next best one is used."
        )
    return -1, remarks


def _by_age(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def _problem(path: Path) -> str | None:
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        hashes = manifest["sha256"]
    except (OSError, ValueError, KeyError):
        return "has no readable manifest"
    for name, expected in hashes.items():
        if not (path / name).is_file():
            return f"lacks {name}"
        if sha256_file(path / name) != expected:
            return f"has a {name} that does not match its sha256"
    return None
