"""The whole training state on disk: complete or absent, verified before it is trusted.

Files of `step-00000120/`: `model.safetensors`, `optimizer.safetensors`, `random.safetensors`, `state.json`, and, last,
`manifest.json` with the sha256 of each. The folder is written beside and renamed.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from pipeline.errors import StorageError, TrainingError
from pipeline.files import fsync_directory, sha256_file, storage_errors, write_bytes, write_json

_TENSOR_FILES = ("model", "optimizer", "random")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A state that training continues from, bit for bit."""

    step: int
    """Steps done."""
    tensors: dict[str, dict[str, Tensor]]
    """`model`, `optimizer` and `random` by name."""
    state: dict[str, Any]
    """Everything else, as JSON values."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, version: str, keep: int) -> Path:
    """Writes a checkpoint and then removes all but the newest `keep`.

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
            for name in _TENSOR_FILES:
                tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in checkpoint.tensors[name].items()}
                write_bytes(aside / f"{name}.safetensors", save(tensors))
            write_json(aside / "state.json", checkpoint.state)
            hashes = {path.name: sha256_file(path) for path in sorted(aside.iterdir())}
            write_json(aside / "manifest.json", {"step": checkpoint.step, "version": version, "sha256": hashes})
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
    for old in _by_age(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def load_newest(folder: Path, *, version: str) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, and a sentence for each newer one that was not and is kept as evidence.

    Raises:
        TrainingError: the newest whole one belongs to another version.
    """
    remarks: list[str] = []
    for path in reversed(_by_age(folder)):
        problem = _problem(path)
        if problem is None:
            manifest = json.loads((path / "manifest.json").read_text())
            if manifest["version"] != version:
                raise TrainingError(
                    f"{path} belongs to the training version {manifest['version']}, not {version}. Move it away and run again."
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
