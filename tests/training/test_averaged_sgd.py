"""Averaged gradient descent takes the steps that a hand computes, averages what torch's own ASGD averages, and resumes exactly."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_exact_resume import result
from tiny_run import averaged, interrupt, spec_of
from torch import nn

from pipeline.config import RecurrentConfig
from pipeline.training.averaging import Triggered, WeightAverage, averaging_begins
from pipeline.training.derive import derive
from pipeline.training.forecast import forecast
from pipeline.training.guard import SpikeGuard, Verdict
from pipeline.training.launch import _spec
from pipeline.training.sgd import Sgd
from pipeline.training.spec import TrainingSpec
from pipeline.training.stopping import StopRequest
from pipeline.training.trainer import Trainer


def validations(*losses: float | None) -> list[dict[str, Any]]:
    return [{"step": step, "validation_loss": loss} for step, loss in enumerate(losses, start=1)]


@pytest.mark.parametrize(
    ("losses", "patience", "step"),
    [
        ([5.0, 4.0, 3.0, 2.0, 1.0], 1, None),  # it improves
        ([5.0, 4.0, 4.5], 1, None),  # worse than the last one, which patience forgives
        ([5.0, 4.0, 4.5, 4.2], 1, 4),  # 4.2 > min(5, 4)
        ([5.0, 4.0, 4.5, 4.0], 1, None),  # as good as the best is not above it
        ([5.0, 4.0, 4.5, 4.2], 2, None),  # min(5) is all there is before the last two
        ([5.0, 4.0, 4.5, None, 4.2, None, 4.1, 3.0], 2, 7),  # 4.1 > min(5, 4); steps in between are not validated
        ([1.0, 2.0], 1, None),  # too few before it
        ([1.0, 2.0, 1.5], 1, 3),
    ],
)
def test_averaging_begins_at_the_first_validation_above_the_best_but_for_the_last_few(
    losses: list[float | None], patience: int, step: int | None
) -> None:
    assert averaging_begins(validations(*losses), patience=patience) == step


def test_the_weights_and_their_mean_are_those_worked_out_by_hand() -> None:
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(1.0)
    optimizer = Sgd(network, learning_rate=0.5, weight_decay=0.2)
    average = WeightAverage({"weight": network.weight.data}, shares=Triggered(1))
    losses = [3.0, 2.0, 2.5, 2.4]  # the fourth is above the best of the first two
    expected = [0.4, 0.36, -0.176, -0.6584, 0.40744, 0.866696]
    # w - 0.5 (g + 0.2 w) = 0.9 w - 0.5 g: 0.9 - 0.5, 0.36 - 0, 0.324 - 0.5, -0.1584 - 0.5, -0.59256 + 1, 0.366696 + 0.5
    for step, gradient in enumerate([1.0, 0.0, 1.0, 1.0, -2.0, -1.0], start=1):
        network.weight.grad = torch.tensor([[gradient]])
        optimizer.step(1.0)
        assert network.weight.item() == pytest.approx(expected[step - 1], abs=1e-6)
        average.update(step)
        average.shares.look_at(validations(*losses[:step]))
        average.put_in_place()
        since = expected[3:step] if step > 4 else [expected[step - 1]]
        assert network.weight.item() == pytest.approx(sum(since) / len(since), abs=1e-6)
        average.take_back()
    network.weight.grad = torch.tensor([[torch.nan]])
    optimizer.step(1.0, torch.tensor(False))
    assert network.weight.item() == pytest.approx(expected[-1], abs=1e-6)


class Recording(Trainer):
    """Keeps weights and clipped gradients of every step, and validates to losses that a test wrote down."""

    def __init__(self, spec: TrainingSpec, losses: list[float]) -> None:
        super().__init__(spec, StopRequest())
        self.losses, self.weights, self.gradients = iter(losses), [self.copied()], []

    def copied(self) -> dict[str, torch.Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self.network.named_parameters()}

    def _take_step(self, batch: Any) -> torch.Tensor:
        row = super()._take_step(batch)
        self.weights.append(self.copied())
        self.gradients.append({name: p.grad.clone() for name, p in self.network.named_parameters()})
        return row

    def _validation_loss(self) -> float:
        self.validated = self.copied()
        return next(self.losses)


def test_a_run_saves_what_torch_s_asgd_averages_from_the_trigger_on(tiny_data: Path, tmp_path: Path) -> None:
    losses = [3.0, 2.0, 2.5, 2.4, 2.3, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]  # 2.4 > min(3, 2): from step 4 on
    trainer = Recording(spec_of(tiny_data, tmp_path, **averaged(tiny_data, learning_rate=2.0)), losses)
    trainer.run()
    # t0 = -1 makes torch's mean of k iterates begin with the first; a gradient that cancels the decay repeats w of step 4
    ours = {name: nn.Parameter(weight.clone()) for name, weight in trainer.weights[4].items()}
    theirs = torch.optim.ASGD(ours.values(), lr=2.0, lambd=0.0, t0=-1.0, weight_decay=0.01)
    for gradients in (None, *trainer.gradients[4:]):
        for name, parameter in ours.items():
            parameter.grad = -0.01 * parameter.detach() if gradients is None else gradients[name]
        theirs.step()
    saved = load_file(tmp_path / "output" / "model" / "model.safetensors")
    assert saved.keys() == ours.keys()
    for name, parameter in ours.items():
        assert torch.allclose(trainer.weights[-1][name], parameter, atol=1e-5), name
        expected = theirs.state[parameter]["ax"]
        assert torch.allclose(saved[name], expected, atol=1e-5), name
        mean = torch.stack([weights[name] for weights in trainer.weights[4:]]).mean(0)
        assert torch.allclose(saved[name], mean, atol=1e-5), name
        assert torch.equal(saved[name], trainer.validated[name]), name
        assert not torch.allclose(saved[name], trainer.weights[-1][name], atol=1e-3), name
    counts = json.loads((tmp_path / "output" / "training.json").read_text())
    assert counts["averaged_from_step"] == 4


def test_without_a_trigger_the_last_weights_are_saved(tiny_data: Path, tmp_path: Path) -> None:
    trainer = Recording(
        spec_of(tiny_data, tmp_path, **averaged(tiny_data, learning_rate=2.0)), [12.0 - step for step in range(12)]
    )
    trainer.run()
    saved = load_file(tmp_path / "output" / "model" / "model.safetensors")
    assert all(torch.equal(weight, saved[name]) for name, weight in trainer.weights[-1].items())
    assert json.loads((tmp_path / "output" / "training.json").read_text())["averaged_from_step"] is None


@pytest.mark.slow
def test_a_run_stopped_before_or_after_the_trigger_ends_with_the_same_bits(tiny_data: Path, tmp_path: Path) -> None:
    high = averaged(tiny_data, learning_rate=40.0)  # validation goes up and down from the first steps on
    Trainer(spec_of(tiny_data, tmp_path / "straight", **high), StopRequest()).run()
    counts = json.loads((tmp_path / "straight" / "output" / "training.json").read_text())
    assert 3 <= counts["averaged_from_step"] <= 9
    for asked_at in (2, 11, 14, 20, 27, 32):  # a step asks twice and a validation once: in steps and in validations
        spec = spec_of(tiny_data, tmp_path / str(asked_at), **high)
        interrupt(spec, asked_at)
        Trainer(spec, StopRequest()).run()
        assert result(tmp_path / str(asked_at)) == result(tmp_path / "straight")


def test_one_constant_rate_and_the_paper_s_values_are_what_the_settings_mean() -> None:
    sizes = {"family": "lstm", "dataset": "x", "depth": 1, "width": 16}
    config = RecurrentConfig(**sizes, train={"tokens": 90_000, "batch_tokens": 1024, "averaged_sgd": {"patience": 3}})
    run = derive(config, vocab_size=100)
    assert run.validate_every_steps == run.num_steps // 30
    places = dict.fromkeys(("name", "version", "output_folder", "checkpoint_folder", "spool_folder"), "")
    places |= {"shards_folder": "", "tokenizer_file": "", "start_folder": None, "started_from": None}
    spec = _spec(run, config, is_compilable=False, tracking={}, **places)  # type: ignore[arg-type]
    assert spec.averaged_sgd == {"learning_rate": 30, "gradient_clip": 0.25, "weight_decay": 1.2e-6, "patience": 3}
    assert {spec.matrix_learning_rate, spec.embedding_learning_rate, spec.vector_learning_rate} == {30}
    assert (spec.gradient_clip, spec.weight_decay, spec.spike_sigma) == (0.25, 1.2e-6, None)
    assert {Trainer._scale(type("Run", (), {"spec": spec})(), step) for step in (0, 1, spec.num_steps - 1)} == {1.0}
    found = forecast(config, vocab_size=100)
    assert found.memory.optimizer == 0
    other = replace(spec, averaged_sgd={**spec.averaged_sgd, "patience": 4})
    assert other.what_decides_the_weights() != spec.what_decides_the_weights()


def test_growing_gradients_are_no_spikes_and_what_is_not_finite_halts() -> None:
    guard = SpikeGuard(sigma=None, max_skipped_steps=1)
    for step in range(200):
        allowed, _ = guard.judge(torch.tensor(4.0), torch.tensor(0.1 if step < 150 else 10.0))
        assert allowed
    allowed, row = guard.judge(torch.tensor(torch.nan), torch.tensor(1.0))
    assert not allowed and Verdict.read(row.tolist()).halted
