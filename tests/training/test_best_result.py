"""`train.result: best` saves the weights of the best validation, and dropout is for training alone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import interrupt, spec_of

from pipeline.models.transformer.shape import TransformerShape
from pipeline.training.hardware import can_compile
from pipeline.training.spec import TrainingSpec
from pipeline.training.stopping import StopRequest
from pipeline.training.trainer import Trainer

BEST: dict[str, Any] = {"result": "best", "keep_best_checkpoint": True, "checkpoint_every_steps": None}
LOSSES = {4: 2.5, 8: 2.25, 12: 3.0}
"""Said of the validations, in place of what they find."""


@pytest.fixture
def said_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Trainer._validation_loss

    def said(trainer: Trainer) -> float:
        measured(trainer)  # which is where a stop may come
        return LOSSES[trainer._step]

    monkeypatch.setattr(Trainer, "_validation_loss", said)


def dropping(spec: TrainingSpec, part: float) -> TrainingSpec:
    return replace(spec, shape=asdict(replace(TransformerShape(**spec.shape), dropout=part)))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "output" / "model" / "model.safetensors")


def digests(folder: Path) -> dict[str, str]:
    files = [*sorted((folder / "output" / "model").iterdir()), folder / "output" / "history.jsonl"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def final_counts(folder: Path) -> dict[str, Any]:
    counts: dict[str, Any] = json.loads((folder / "output" / "training.json").read_text())
    return counts


@pytest.mark.parametrize("averaging", [{}, {"ema_decay": 0.9}])
def test_the_model_is_that_of_the_least_validation_loss(
    tiny_data: Path, tmp_path: Path, said_losses: None, averaging: dict[str, Any]
) -> None:
    Trainer(spec_of(tiny_data, tmp_path / "best", **BEST, **averaging), StopRequest()).run()
    Trainer(spec_of(tiny_data, tmp_path / "last", **averaging), StopRequest()).run()
    found, last = weights(tmp_path / "best"), weights(tmp_path / "last")
    state = tmp_path / "best" / "checkpoints" / "step-00000008"
    kept = load_file(state / "model.safetensors")
    if averaging:
        averages = load_file(state / "optimizer.safetensors")
        kept = {name: averages[f"average.{name}"] for name in kept}
    for name, tensor in found.items():
        assert torch.equal(tensor, kept[name][: len(tensor)]), name  # tables are saved without the vocabulary's padding
    assert any(not torch.equal(tensor, last[name]) for name, tensor in found.items())
    counts = final_counts(tmp_path / "best")
    assert (counts["result_step"], counts["final_validation_loss"], counts["steps"]) == (8, 2.25, 12)
    counts = final_counts(tmp_path / "last")
    assert (counts["result_step"], counts["final_validation_loss"]) == (12, 3.0)
    assert (counts["least_validation_step"], counts["least_validation_loss"]) == (8, 2.25)


@pytest.mark.parametrize("ask", [3, 8, 9, 17, 19, 26])  # two a step; 8, 17 and 26 are in validation
def test_a_run_stopped_anywhere_ends_with_the_same_best(
    tiny_data: Path, tmp_path: Path, said_losses: None, ask: int
) -> None:
    Trainer(dropping(spec_of(tiny_data, tmp_path / "straight", **BEST), 0.2), StopRequest()).run()
    spec = dropping(spec_of(tiny_data, tmp_path / "stopped", **BEST), 0.2)
    interrupt(spec, ask)
    Trainer(spec, StopRequest()).run()
    assert digests(tmp_path / "stopped") == digests(tmp_path / "straight")
    assert final_counts(tmp_path / "stopped")["result_step"] == 8


@pytest.mark.filterwarnings("ignore")  # of the compiler itself
@pytest.mark.parametrize(
    "compiled",
    [
        "off",
        pytest.param(
            "on", marks=[pytest.mark.slow, pytest.mark.skipif(not can_compile("cpu"), reason="needs a C++ compiler")]
        ),
    ],
)
def test_validation_and_the_saved_model_drop_nothing(tiny_data: Path, tmp_path: Path, compiled: str) -> None:
    spec = dropping(spec_of(tiny_data, tmp_path, compile=compiled, num_steps=4, validation_windows=8), 0.5)
    trainer = Trainer(spec, StopRequest())
    trainer.run()
    trainer.network.eval()
    batches = list(trainer._data.validation())
    with torch.no_grad():
        total = sum(float(trainer.network(*batch.inputs, batch.targets)) * batch.num_targets for batch in batches)
        trainer.network.train()
        dropped = sum(float(trainer.network(*batch.inputs, batch.targets)) * batch.num_targets for batch in batches)
    num_targets = sum(batch.num_targets for batch in batches)
    found = final_counts(tmp_path)["final_validation_loss"]
    assert found == pytest.approx(total / num_targets, rel=1e-5)
    assert abs(dropped - total) / num_targets > 1e-3
