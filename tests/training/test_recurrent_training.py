"""Recurrent networks learn in the same loop as the Transformer, and an interrupted run ends with the same bits, dropout and all."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import interrupt, spec_of

from pipeline.models.interface import GenerationParameters
from pipeline.models.loading import load_model
from pipeline.models.recurrent.shape import derive_recurrent_shape
from pipeline.shards.reader import TokenShards
from pipeline.training import random_state
from pipeline.training.spec import TrainingSpec
from pipeline.training.stopping import StopRequest
from pipeline.training.trainer import Trainer

CELLS = ("rnn", "gru", "lstm")
DROPPING = {"dropout": 0.2, "embedding_dropout": 0.1, "weight_drop": 0.3}


def recurrent_spec(data: Path, folder: Path, *, cell: str, sizes: dict[str, Any], **changes: Any) -> TrainingSpec:
    vocab_size = json.loads((data / "shards.json").read_text())["vocab_size"]
    shape = derive_recurrent_shape(
        cell=cell, vocab_size=vocab_size, **{"context_tokens": 32, "depth": 1, "width": 32, **sizes}
    )
    return spec_of(data, folder, family=cell, shape=asdict(shape), **changes)


def result(folder: Path) -> dict[str, str]:
    """sha256 of everything that is deterministic."""
    files = [*sorted((folder / "output" / "model").iterdir()), folder / "output" / "history.jsonl"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_a_short_run_learns_more_than_the_frequencies_of_tokens(tiny_data: Path, tmp_path: Path, cell: str) -> None:
    spec = recurrent_spec(tiny_data, tmp_path, cell=cell, sizes={}, num_steps=80, checkpoint_every_steps=None)
    Trainer(spec, StopRequest()).run()
    history = [json.loads(line) for line in (tmp_path / "output" / "history.jsonl").read_text().splitlines()]
    counts = Counter(token for part in TokenShards(tiny_data).tokens("train") for token in part.tolist())
    total = sum(counts.values())
    unigram = -sum(count / total * log(count / total) for count in counts.values())
    entropy = -(0.8 * log(0.8) + 0.2 * log(0.1))  # of the random walk: 0.639 nats, and nobody can be better
    assert unigram > 2.5
    assert entropy - 0.05 < history[-1]["validation_loss"] < unigram - 1.0
    model = load_model(tmp_path / "output" / "model")
    assert (model.family, model.num_parameters) == (cell, Trainer(spec, StopRequest()).shape.num_parameters)
    assert len(model.generate([[2, 5]], GenerationParameters(max_new_tokens=9))[0]) == 9


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_a_run_stopped_between_steps_or_within_one_goes_on_to_the_same_bits(
    tiny_data: Path, tmp_path: Path, cell: str
) -> None:
    def spec_in(name: str) -> TrainingSpec:
        sizes = {"depth": 2, "width": 16, **DROPPING}
        return recurrent_spec(tiny_data, tmp_path / name, cell=cell, sizes=sizes, checkpoint_every_steps=None)

    Trainer(spec_in("straight"), StopRequest()).run()
    for name, asked_at in (("between", 9), ("within", 10)):  # two micro-batches a step, and each asks
        interrupt(spec_in(name), asked_at)
        Trainer(spec_in(name), StopRequest()).run()
        assert result(tmp_path / name) == result(tmp_path / "straight")


def test_dropout_is_off_in_validation_and_on_in_training(tiny_data: Path, tmp_path: Path) -> None:
    sizes = {"dropout": 0.5}
    trainer = Trainer(recurrent_spec(tiny_data, tmp_path, cell="gru", sizes=sizes), StopRequest())
    assert trainer._validate() == trainer._validate()
    assert trainer.network.training
    batch = trainer._batch_of(0)
    losses = {float(trainer.network(*batch.inputs, batch.targets).detach()) for _ in range(3)}
    assert len(losses) == 3


def test_a_step_draws_the_same_numbers_whenever_it_is_done() -> None:
    def drawn(seed: int, step: int) -> list[float]:
        random_state.seed_step(seed, step)
        return torch.rand(3).tolist()

    first = drawn(0, 7)
    torch.rand(5)
    assert drawn(0, 7) == first
    assert len({tuple(drawn(seed, step)) for seed in range(5) for step in range(50)}) == 250
