"""The whole training state on disk: complete or absent, verified before it is trusted.

Files of `step-00000120/`: `model.safetensors`, `optimizer.safetensors`, `guard.safetensors`, `random.safetensors`,
`state.json`, and, last, `manifest.json` with the sha256 of each. The folder is written beside, read back and renamed; only then
are older ones removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from pipeline.errors import StorageError, TrainingError
from pipeline.files import fsync_directory, sha256_file, storage_errors, write_bytes, write_json
from pipeline.training.keeping import Keep

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
    folder: Path, checkpoint: Checkpoint, *, version: str, identity: Mapping[str, Any], keep: Keep
) -> Path:
    """Writes a checkpoint and then removes what is not to be kept; `identity` says what it may be resumed with.

    Raises:
        StorageError: the disk is full, read-only or forbidden; earlier checkpoints are untouched.
    """
    final = folder / f"step-{checkpoint.step:08d}"
    aside = folder / f".{final.name}.{os.getpid()}"
    if final.is_dir() and _problem(final) is None:
        return final  # training is deterministic: the same step is the same state
    try:
        with storage_errors(folder):
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
            hashes: dict[str, str] = {}
            for name in _TENSOR_FILES:
                tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in checkpoint.tensors[name].items()}
                data = save(tensors)
                hashes[f"{name}.safetensors"] = hashlib.sha256(data).hexdigest()
                write_bytes(aside / f"{name}.safetensors", data)
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
        shutil.rmtree(aside, ignore_errors=True)
    checkpoints = _by_age(folder)
    for old in sorted(set(checkpoints) - keep.kept(checkpoints)):
        shutil.rmtree(old)
    return final


def load_newest(folder: Path, *, version: str, identity: Mapping[str, Any]) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, and a sentence for each newer one that was not and is kept as evidence.

    Raises:
        TrainingError: the newest whole one belongs to another version, or to other data or settings.
    """
    remarks: list[str] = []
    for abandoned in folder.glob(".step-*"):  # of a process that was killed while it saved
        shutil.rmtree(abandoned, ignore_errors=True)
    for path in reversed(_by_age(folder)):
        problem = _problem(path)
        if problem is None:
            manifest = json.loads((path / "manifest.json").read_text())
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
            tensors = {name: load_file(path / f"{name}.safetensors") for name in _TENSOR_FILES}
            state = json.loads((path / "state.json").read_text())
            return Checkpoint(step=manifest["step"], tensors=tensors, state=state), remarks
        evidence = path.with_name(f"damaged-{path.name}-{os.getpid()}")
        os.rename(path, evidence)
        remarks.append(
            f"The checkpoint {path.name} {problem}; it was moved to {evidence.name}, the one before is used."
        )
    return None, remarks


def _by_age(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def _problem(path: Path) -> str | None:
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        hashes = manifest["sha256"]
    except (OSError, ValueError, KeyError):
        return "has no readable manifest"
    for name, expected in hashes.items():
        if not (path / name).is_file():
            return f"lacks {name}"
        if sha256_file(path / name) != expected:
            return f"has a {name} that does not match its sha256"
    return None
