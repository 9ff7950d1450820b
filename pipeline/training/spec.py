"""Everything the training process is told, as one JSON file; nothing else decides the result."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigurationError
from pipeline.files import write_json

EPOCHS_WORTH_READING = 4
"""Repetitions up to this are nearly as good as new text (Muennighoff et al. 2023, arXiv 2305.16264)."""
RANDOM_WEIGHTS = "random weights"
"""What a run that begins with no others says it started from."""
_WITHOUT_EFFECT = frozenset(
    {
        "name",
        "version",
        "shards_folder",
        "tokenizer_file",
        "source_tokenizer_file",
        "output_folder",
        "checkpoint_folder",
        "spool_folder",
        "start_folder",
        "precision",  # these six: what the machine made of them is in its checkpoints
        "compile",
        "device",
        "micro_windows",
        "devices",
        "strategy",
        "log_every_steps",
        "checkpoint_every_steps",
        "checkpoint_every_seconds",
        "keep_checkpoints",
        "keep_every_steps",
        "keep_best_checkpoint",
        "profile_steps",
        "tracking",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpec:
    """A resolved training run; paths are absolute. Written by `launch`, read by `python -m pipeline.training`."""

    name: str
    version: str
    """The artifact version this run makes; checkpoints of another version are refused."""
    shards_folder: str
    tokenizer_file: str
    """Of the targets, where there are pairs."""
    output_folder: str
    """Receives `model/`, `history.jsonl`, `timings.jsonl`, `times.json` and `training.json`."""
    checkpoint_folder: str
    spool_folder: str
    family: str
    """Which network: see `families.py`."""
    shape: dict[str, Any]
    """Of the family's shape."""
    start_folder: str | None
    """Where the weights to begin with lie; None begins with random ones."""
    started_from: dict[str, str] | None
    """What these weights are: `origin` and `content_hash`."""
    freeze: list[str]
    """Parts that keep their weights: see `starting.freeze`."""
    lora: dict[str, Any] | None
    """Of `LoraConfig`."""
    num_steps: int
    batch_windows: int
    batch_warmup_steps: int
    """The first steps, which read fewer windows: see `batch_size.py`."""
    packing: str
    """`stream` or `best_fit`."""
    loss_on: str
    """Of pairs in a decoder-only model: `targets` or `whole_pairs`."""
    attend: str
    """`window` or `document`."""
    micro_windows: int | None
    """Windows a forward pass at most; None leaves it to the machine that trains."""
    matrix_learning_rate: float
    embedding_learning_rate: float
    head_learning_rate: float
    vector_learning_rate: float
    weight_decay: float
    cautious_weight_decay: bool
    averaged_sgd: dict[str, Any] | None
    """Of `AveragedSgdConfig`; None learns by Muon and AdamW."""
    ema_decay: float | None
    schedule: str
    """`wsd` or `cosine`."""
    warmup_fraction: float
    cooldown_fraction: float
    gradient_clip: float | None
    seed: int
    precision: str
    compile: str
    device: str
    devices: int | str
    """Processes, one a device; `auto` for every GPU."""
    strategy: str
    """What they share: see `distributed.py`."""
    validate_every_steps: int
    validation_windows: int
    log_every_steps: int
    checkpoint_every_steps: int | None
    checkpoint_every_seconds: float
    keep_checkpoints: int
    keep_every_steps: int | None
    keep_best_checkpoint: bool
    result: str
    """Whose weights are saved: those of the `last` step, or of the one with the `best` validation."""
    profile_steps: int | None
    spike_sigma: float | None
    max_skipped_steps: int
    tracking: dict[str, Any]
    """Of `TrackingInfo`."""
    source_tokenizer_file: str | None = None
    """Where the sources of pairs have a vocabulary of their own."""

    def what_decides_the_weights(self) -> dict[str, Any]:
        """The settings that change the result; places, names and habits are left out."""
        return {key: value for key, value in asdict(self).items() if key not in _WITHOUT_EFFECT}

    def write(self, path: Path) -> None:
        """Writes the JSON file."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> TrainingSpec:
        """Reads the JSON file.

        Raises:
            ConfigurationError: no such file, no JSON, or keys that are missing or unknown.
        """
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"{path} is no training spec ({error}). Start training through textmill."
            ) from error
        known = {field.name for field in fields(cls)}
        if not isinstance(value, dict) or set(value) != known:
            odd = sorted(known ^ set(value)) if isinstance(value, dict) else "all"
            raise ConfigurationError(f"{path} is a training spec of another version: {odd} differ. Run again.")
        return cls(**value)
