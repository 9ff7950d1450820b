"""The asset's side of training: writes the spec, has the process run, and turns what it left into an artifact.

Files: `model/`, `history.parquet`, `timings.parquet` (volatile), `training.json`, `plots/learning_curve.png`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.json

from pipeline.artifacts import Artifact, Draft, Report
from pipeline.config import NetworkConfig, TransformerConfig
from pipeline.config.starting import StartSettings
from pipeline.environment import wait_considerately
from pipeline.errors import ConfigurationError, TrainingDiverged, TrainingError, TrainingInterrupted
from pipeline.files import write_parquet
from pipeline.progress import Progress
from pipeline.shards.reader import has_pairs
from pipeline.tokenizer.model import Tokenizer
from pipeline.training.derive import Derived, derive
from pipeline.training.keeping import Keep
from pipeline.training.spec import TrainingSpec
from pipeline.training.spool import TrackingInfo
from pipeline.training.starting import StartingPoint, check_fit, lora_settings
from pipeline.training.stopping import INTERRUPTED, LAST_WORDS, PARENT_VARIABLE, read_last_words

HISTORY_SCHEMA = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("train_loss", pa.float64(), nullable=False),  # nats a token, before the step's update
        pa.field("validation_loss", pa.float64()),
        pa.field("gradient_norm", pa.float64(), nullable=False),
        pa.field("learning_rate_scale", pa.float64(), nullable=False),
        pa.field("skipped", pa.bool_(), nullable=False),
    ]
)
TIMINGS_SCHEMA = pa.schema([("step", pa.int64()), ("seconds", pa.float64()), ("tokens_per_second", pa.float64())])
SEEN_DOCUMENTS = "seen_documents.parquet"
"""Hashes of what the starting point was trained on: the model has read these too."""
GRACE_SECONDS = 60.0
"""From asking the process to stop to killing it."""
BAD_SPEC, _DIVERGED = 2, 4


def training_command(spec_path: Path) -> list[str]:
    """What starts the process."""
    return [sys.executable, "-m", "pipeline.training", str(spec_path)]


def training_environment() -> dict[str, str]:
    """The environment of the process: this one's, the package's folder to import from, who its parent is, and what suits
    training."""
    root = str(Path(__file__).parents[2])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    own = {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), PARENT_VARIABLE: str(os.getpid())}
    environment = {**os.environ, **own}
    wait_considerately(environment)
    return environment


def check_exit(code: int, spec_path: Path) -> None:
    """Turns an exit code, and what the process left beside its spec, into the error they stand for.

    Raises:
        TrainingInterrupted: it stopped as asked, with a checkpoint.
        TrainingDiverged: running again would repeat it.
        ConfigurationError: the settings are wrong; running again would repeat it too.
        TrainingError: anything else but success.
    """
    if code == 0:
        return
    said = read_last_words(spec_path)
    sentence = said[1] if said is not None else ""
    if code == INTERRUPTED:
        raise TrainingInterrupted(sentence or "Training was interrupted; running again goes on from its checkpoint.")
    if code == _DIVERGED:
        raise TrainingDiverged(sentence or "Training diverged.")
    if code == BAD_SPEC:
        raise ConfigurationError(sentence or "The training process refused its settings.")
    if code < 0:
        name = signal.Signals(-code).name
        raise TrainingError(f"The training process was ended by {name}; running again goes on from its checkpoint.")
    raise TrainingError(sentence or f"The training process ended with exit code {code}.")


def run_subprocess(spec_path: Path) -> None:
    """Runs training in a process group of its own; a stop of this process stops it, by force after a grace period.

    Raises:
        TrainingError: see `check_exit`.
    """
    process = subprocess.Popen(training_command(spec_path), env=training_environment(), start_new_session=True)
    try:
        code = process.wait()
    finally:
        stop_group(process)
    check_exit(code, spec_path)


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """Asks the process to save a checkpoint and end, and kills it, its group and all it started if it does not in time."""
    started: list[psutil.Process] = []
    if process.poll() is None:
        started = _descendants(process.pid)  # of several devices, each process is a session of its own
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for left in started:
        with suppress(psutil.NoSuchProcess):  # it also tells a later process of the same number apart
            left.kill()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _descendants(process_id: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process_id).children(recursive=True)
    return []


def build_trained_model(
    draft: Draft,
    *,
    name: str,
    config: NetworkConfig,
    shards: Artifact,
    tokenizer: Artifact,
    target_tokenizer: Artifact | None = None,
    checkpoint_folder: Path,
    spool_folder: Path,
    tracking: TrackingInfo,
    run_trainer: Callable[[Path], None],
    progress: Progress,
    start: StartingPoint | None = None,
) -> Artifact:
    """Trains, or goes on training, in a process of its own; where there is a `target_tokenizer`, the other is the sources';
    `start` holds the weights to begin with.

    Raises:
        TrainingError: see `check_exit`; checkpoints stay, and running again goes on.
        ConfigurationError: the starting point is of another family, tokenizer or shape.
    """
    counts = shards.manifest.counts
    if start is not None:
        own = Tokenizer.load(tokenizer.file("tokenizer.model")).hash
        remark = check_fit(start, name=name, family=config.family, tokenizer_hash=own, vocab_size=counts["vocab_size"])
        progress.note(f"begins with {start.origin}" if remark is None else remark)
    if target_tokenizer is None:
        derived = derive(config, vocab_size=counts["vocab_size"], start=start.shape if start is not None else None)
    else:
        derived = derive(config, vocab_size=counts["target_vocab_size"], source_vocab_size=counts["vocab_size"])
    checkpoint_folder.mkdir(parents=True, exist_ok=True)
    output = checkpoint_folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    (checkpoint_folder / LAST_WORDS).unlink(missing_ok=True)
    spec = _spec(
        derived,
        config,
        name=name,
        version=draft.version,
        start_folder=str(start.folder) if start is not None else None,
        started_from=start.record() if start is not None else None,
        shards_folder=str(shards.folder),
        tokenizer_file=str((target_tokenizer or tokenizer).file("tokenizer.model")),
        source_tokenizer_file=str(tokenizer.file("tokenizer.model")) if target_tokenizer is not None else None,
        is_compilable=isinstance(config, TransformerConfig) and not has_pairs(shards.folder),
        output_folder=str(output),
        checkpoint_folder=str(checkpoint_folder),
        spool_folder=str(spool_folder),
        tracking=asdict(tracking),
    )
    path = checkpoint_folder / "spec.json"
    spec.write(path)
    progress.note(f"{derived.shape.num_parameters:,} parameters, {derived.num_steps} steps")
    run_trainer(path)
    if start is not None and start.training_documents is not None:
        shutil.copyfile(start.training_documents, draft.path(SEEN_DOCUMENTS))
    artifact = _collect(draft, output)
    train = config.train
    _clear(checkpoint_folder, Keep(newest=0, every_steps=train.keep_every_steps, best=train.keep_best_checkpoint))
    return artifact


def _clear(checkpoint_folder: Path, keep: Keep) -> None:
    """The finished model needs no checkpoint: those that were asked for stay, and damaged ones, as evidence."""
    kept = keep.kept(sorted(checkpoint_folder.glob("step-*")))
    for path in checkpoint_folder.iterdir():
        if path.is_dir() and not path.name.startswith("damaged-") and path not in kept:
            shutil.rmtree(path, ignore_errors=True)
        elif path.is_file():
            path.unlink(missing_ok=True)
    if not any(checkpoint_folder.iterdir()):
        checkpoint_folder.rmdir()


def _spec(derived: Derived, config: NetworkConfig, *, is_compilable: bool, **places: Any) -> TrainingSpec:
    train = config.train
    return TrainingSpec(
        **places,
        family=config.family,
        shape=asdict(derived.shape),
        freeze=list(config.freeze) if isinstance(config, StartSettings) else [],
        lora=lora_settings(config),
        num_steps=derived.num_steps,
        batch_windows=derived.batch_windows,
        batch_warmup_steps=derived.batch_warmup_steps,
        packing=train.packing,
        loss_on=train.loss_on,
        attend=config.attend if isinstance(config, TransformerConfig) else "window",
        micro_windows=derived.micro_windows,
        matrix_learning_rate=derived.matrix_learning_rate,
        embedding_learning_rate=derived.embedding_learning_rate,
        head_learning_rate=derived.head_learning_rate,
        vector_learning_rate=derived.vector_learning_rate,
        cautious_weight_decay=train.cautious_weight_decay,
        averaged_sgd=train.averaged_sgd.literals() if train.averaged_sgd is not None else None,
        ema_decay=train.ema_decay,
        schedule=train.schedule,
        weight_decay=derived.weight_decay,
        warmup_fraction=derived.warmup_fraction,
        cooldown_fraction=derived.cooldown_fraction,
        gradient_clip=derived.gradient_clip,
        seed=train.seed,
        precision=train.precision,
        compile=train.compile if is_compilable else "off",  # batches of pairs have many shapes
        device=train.device,
        devices=train.devices,
        strategy=train.strategy,
        validate_every_steps=derived.validate_every_steps,
        validation_windows=derived.validation_windows,
        log_every_steps=train.log_every_steps,
        checkpoint_every_steps=train.checkpoint_every_steps,
        checkpoint_every_seconds=train.checkpoint_every_seconds,
        keep_checkpoints=train.keep_checkpoints,
        keep_every_steps=train.keep_every_steps,
        keep_best_checkpoint=train.keep_best_checkpoint or train.result == "best",
        result=train.result,
        profile_steps=train.profile_steps,
        spike_sigma=derived.spike_sigma,
        max_skipped_steps=train.max_skipped_steps,
    )


def _collect(draft: Draft, output: Path) -> Artifact:
    import json

    shutil.copytree(output / "model", draft.path("model/x").parent, dirs_exist_ok=True)
    history = pyarrow.json.read_json(
        output / "history.jsonl", parse_options=pyarrow.json.ParseOptions(explicit_schema=HISTORY_SCHEMA)
    )
    rows = {"history.parquet": write_parquet(draft.path("history.parquet"), history)}
    if (output / "timings.jsonl").stat().st_size:
        timings = pyarrow.json.read_json(
            output / "timings.jsonl", parse_options=pyarrow.json.ParseOptions(explicit_schema=TIMINGS_SCHEMA)
        )
        rows["timings.parquet"] = write_parquet(draft.path("timings.parquet"), timings)
    shutil.copyfile(output / "training.json", draft.path("training.json"))
    counts: dict[str, Any] = json.loads((output / "training.json").read_text(encoding="utf-8"))
    notes = counts.pop("notes")
    del counts["settings"]
    _plot(history, draft.path("plots/learning_curve.png"))
    figures = {re.sub(r"^(steps|tokens|epochs|skipped_steps)$", r"num_\1", key): value for key, value in counts.items()}
    figures = {key: str(value) if isinstance(value, bool) else value for key, value in figures.items()}
    return draft.commit(
        counts=counts,
        rows=rows,
        volatile=("timings.parquet",),
        earlier_seconds=json.loads((output / "times.json").read_text(encoding="utf-8"))["earlier_seconds"],
        report=Report(figures=figures, plots={"Learning curve": "plots/learning_curve.png"}, notes=notes),
    )


def _plot(history: pa.Table, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = history.to_pylist()
    figure = Figure(figsize=(7, 4))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    tokens = [row["tokens"] for row in rows]
    axes.plot(tokens, [row["train_loss"] for row in rows], color="#9db8d9", linewidth=1, label="training, each step")
    validated = [row for row in rows if row["validation_loss"] is not None]
    losses = [row["validation_loss"] for row in validated]
    axes.plot([row["tokens"] for row in validated], losses, color="#e07b39", marker="o", label="validation")
    axes.set(xlabel="tokens", ylabel="cross entropy (nats a token)", title="Learning curve")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
