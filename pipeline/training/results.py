"""What a finished run leaves: `model/` (see models), `history.jsonl` (deterministic), `timings.jsonl` and `times.json`
(which differ from run to run), `training.json`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.files import write_json, write_text
from pipeline.models.loading import SOURCE_TOKENIZER
from pipeline.training.averaging import averaging_begins
from pipeline.training.data import TrainingData
from pipeline.training.families import Network, Shape, model_of
from pipeline.training.hardware import Hardware
from pipeline.training.lora import merge_adapters
from pipeline.training.spec import RANDOM_WEIGHTS, TrainingSpec

_FINAL_STEPS = 20
"""The final training loss is a mean over this many steps: a single one is noise."""


def write_results(
    spec: TrainingSpec,
    network: Network,
    *,
    hardware: Hardware,
    history: Sequence[dict[str, Any]],
    timings: Sequence[dict[str, float]],
    earlier_seconds: float,
    data: TrainingData,
    result_step: int,
    start_loss: float | None = None,
) -> None:
    """Writes everything into the spec's output folder; the network's weights are those after `result_step`. `earlier_seconds`
    are those of the processes that this one went on from, up to their checkpoints.

    Raises:
        StorageError: the disk is full, read-only or forbidden.
    """
    output = Path(spec.output_folder)
    merge_adapters(network)
    model = model_of(network, **data.token_ids)
    model.save(output / "model")
    shutil.copyfile(spec.tokenizer_file, output / "model" / "tokenizer.model")
    write_text(output / "history.jsonl", _lines(history))
    write_text(output / "timings.jsonl", _lines(timings))
    write_json(output / "times.json", {"earlier_seconds": earlier_seconds})
    if spec.source_tokenizer_file is not None:
        shutil.copyfile(spec.source_tokenizer_file, output / "model" / SOURCE_TOKENIZER)
    last = [row["train_loss"] for row in history[max(0, result_step - _FINAL_STEPS) : result_step]]
    least = min(
        (row for row in history if row["validation_loss"] is not None),
        key=lambda row: (row["validation_loss"], row["step"]),
    )
    batch_tokens = data.tokens_per_step
    counts = {
        "num_parameters": network.shape.num_parameters,
        "steps": spec.num_steps,
        "tokens": data.tokens(spec.num_steps),
        "batch_tokens": batch_tokens,
        "final_train_loss": sum(last) / len(last),
        "final_validation_loss": history[result_step - 1]["validation_loss"],
        "least_validation_loss": least["validation_loss"],
        "least_validation_step": least["step"],
        "result_step": result_step,
        "skipped_steps": sum(row["skipped"] for row in history),
        "epochs": data.epochs(spec.num_steps),
        "device": hardware.device,
        "precision": hardware.precision,
        "compiled": hardware.compiled,
    }
    counts["started_from"] = spec.started_from["origin"] if spec.started_from is not None else RANDOM_WEIGHTS
    if spec.averaged_sgd is not None:
        counts["averaged_from_step"] = averaging_begins(history, patience=spec.averaged_sgd["patience"])
    if start_loss is not None:
        counts["start_validation_loss"] = start_loss
    more = {"notes": data.remarks, "settings": spec.what_decides_the_weights()}
    write_json(output / "training.json", counts | more)


def metrics_of(
    spec: TrainingSpec,
    figures: dict[str, Any],
    *,
    num_skipped: int,
    tokens_per_second: float,
) -> dict[str, float]:
    """A step's figures under the tracker's names."""
    metrics = {
        "train/loss": figures["train_loss"],
        "train/gradient_norm": figures["gradient_norm"],
        "train/learning_rate": figures["learning_rate_scale"] * spec.matrix_learning_rate,
        "train/learning_rate_embedding": figures["learning_rate_scale"] * spec.embedding_learning_rate,
        "train/learning_rate_head": figures["learning_rate_scale"] * spec.head_learning_rate,
        "train/learning_rate_vector": figures["learning_rate_scale"] * spec.vector_learning_rate,
        "train/tokens": float(figures["tokens"]),
        "train/tokens_per_second": tokens_per_second,
        "train/skipped_steps": float(num_skipped),
    }
    if figures["validation_loss"] is not None:
        metrics["validation/loss"] = figures["validation_loss"]
    return metrics


def params_of(spec: TrainingSpec, hardware: Hardware, shape: Shape) -> dict[str, Any]:
    """A run's settings under the tracker's names; they stay the same when it is resumed."""
    own = spec.what_decides_the_weights()
    return {**own.pop("shape"), **own, **asdict(hardware), "num_parameters": shape.num_parameters}


def _lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)
