"""The parts of training, each against what can be worked out without it."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pipeline.config import TransformerConfig
from pipeline.errors import ConfigurationError, StorageError, TrainingDiverged, TrainingError, TrainingInterrupted
from pipeline.models.transformer.network import Transformer
from pipeline.models.transformer.shape import derive_shape
from pipeline.training.checkpoint import Checkpoint, load_best, load_newest, save_checkpoint
from pipeline.training.data import Batch
from pipeline.training.derive import derive
from pipeline.training.guard import MIN_STEPS, WINDOW_STEPS, SpikeGuard, Verdict
from pipeline.training.hardware import choose_hardware
from pipeline.training.keeping import Keep
from pipeline.training.launch import check_exit, run_subprocess
from pipeline.training.optimizer import ADAM_BETAS, ADAM_EPSILON, MOMENTUM, Optimizer, orthogonalised
from pipeline.training.schedule import learning_rate_scale
from pipeline.training.spec import TrainingSpec
from pipeline.training.spool import Spool
from pipeline.training.step import accumulate
from pipeline.training.stopping import write_last_words


def test_the_schedule_rises_stays_and_falls() -> None:
    scales = [learning_rate_scale(s, num_steps=10, warmup_fraction=0.2, cooldown_fraction=0.5) for s in range(10)]
    assert scales == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    assert learning_rate_scale(0, num_steps=3, warmup_fraction=0, cooldown_fraction=0) == 1


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 24, 8), (2, 8, 24)])
def test_muons_updates_are_nearly_orthogonal_and_keep_the_singular_vectors(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = orthogonalised(matrices, torch.float32)
    singular = torch.linalg.svdvals(found)
    assert ((singular > 0.6) & (singular < 1.3)).all()  # the quintic iteration's own bounds (Jordan et al. 2024)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    inner = u.mT @ found @ v.mT  # diagonal where the singular vectors are kept
    assert torch.allclose(inner, torch.diag_embed(torch.diagonal(inner, dim1=-2, dim2=-1)), atol=1e-4)


def test_a_stack_is_its_matrices_one_by_one() -> None:
    matrices = torch.randn(4, 16, 8, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([orthogonalised(matrix[None], torch.float32) for matrix in matrices])
    assert torch.allclose(orthogonalised(matrices, torch.float32), alone, atol=1e-5)


def small_network() -> Transformer:
    network = Transformer(derive_shape(vocab_size=20, context_tokens=8, depth=1, width=16, num_heads=2))
    network.initialise(seed=0)
    return network


def optimizer_of(network: nn.Module) -> Optimizer:
    rates = {"matrix": 0.02, "embedding": 0.1, "head": 0.01, "vector": 0.005}
    words = {f"{kind}_learning_rate": rate for kind, rate in rates.items()}
    return Optimizer(network, **words, weight_decay=0.1, dtype=torch.float32)


def test_one_step_is_adamw_for_tables_and_vectors_and_muon_for_matrices() -> None:
    network = small_network()
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    gradients = {name: parameter.grad.clone() for name, parameter in network.named_parameters()}
    optimizer_of(network).step(scale=0.5)
    for name, parameter in network.named_parameters():
        gradient = gradients[name]
        if parameter.ndim == 1 or "embed" in name or "lm_head" in name:
            rate = 0.5 * (0.1 if "embed" in name else 0.01 if "lm_head" in name else 0.005)
            expected = before[name] - rate * gradient / (gradient.abs() + ADAM_EPSILON)  # Adam's first step is the sign
        else:
            momentum = (1 - MOMENTUM) * gradient
            nesterov = (1 - MOMENTUM) * gradient + MOMENTUM * momentum
            update = (
                orthogonalised(nesterov[None], torch.float32)[0] * max(1, gradient.shape[0] / gradient.shape[1]) ** 0.5
            )
            expected = before[name] * (1 - 0.01 * 0.1) - 0.01 * update
        assert torch.allclose(parameter, expected, atol=1e-5), name
    assert ADAM_BETAS == (0.8, 0.95)


def test_a_tied_table_learns_at_the_heads_rate_and_the_table_of_values_at_its_own() -> None:
    shape = derive_shape(
        vocab_size=20, context_tokens=8, depth=1, width=16, num_heads=2, tie_embeddings=True, value_embeddings=True
    )
    network = Transformer(shape)
    network.initialise(seed=0)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer_of(network).step(scale=1.0)
    for name, rate in (("model.embed_tokens.weight", 0.01), ("model.value_embed_tokens.weight", 0.1)):
        assert torch.allclose(network.get_parameter(name), before[name] - rate, atol=1e-5), name


def test_the_optimizers_state_carries_on_exactly() -> None:
    networks = [small_network(), small_network()]
    optimizers = [optimizer_of(network) for network in networks]

    def step(network: nn.Module, optimizer: Optimizer, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step(1.0)

    step(networks[0], optimizers[0], 1)
    networks[1].load_state_dict(networks[0].state_dict())
    optimizers[1].load_state({name: tensor.clone() for name, tensor in optimizers[0].state().items()})
    for network, optimizer in zip(networks, optimizers, strict=True):
        step(network, optimizer, 2)
    for first, second in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert torch.equal(first, second)


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    network = small_network()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    batch = Batch.of_windows(torch.randint(0, 20, (6, 9), generator=torch.Generator().manual_seed(2)))
    whole = [float(value) for value in accumulate(network, network, batch, micro_rows=6)]
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    for micro_rows in (2, 4):  # even shares, and a smaller last one
        parts = [float(value) for value in accumulate(network, network, batch, micro_rows=micro_rows)]
        assert parts == pytest.approx(whole, rel=1e-5)
        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
            assert torch.allclose(parameter.grad, gradient, atol=1e-6)
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
    assert whole[1] == pytest.approx(norm, rel=1e-5)


def judge(guard: SpikeGuard, *, loss: float, norm: float) -> Verdict:
    return Verdict.read(guard.judge(torch.tensor(loss), torch.tensor(norm))[1].tolist())


def test_the_guard_skips_what_lies_six_deviations_above_and_nothing_early() -> None:
    guard = SpikeGuard(sigma=6.0, max_skipped_steps=5)
    assert not judge(guard, loss=1e9, norm=1.0).skipped  # nothing to compare with
    guard = SpikeGuard(sigma=6.0, max_skipped_steps=5)
    for step in range(MIN_STEPS):  # losses alternate 1 and 3: mean 2, standard deviation 1.008
        assert not judge(guard, loss=1.0 + 2 * (step % 2), norm=1.0).skipped
    assert not judge(guard, loss=8.0, norm=1.0).skipped
    assert judge(guard, loss=14.0, norm=1.0).skipped
    found = judge(guard, loss=2.0, norm=1.1)  # the norms never moved
    assert (found.skipped, found.halted, found.num_recently_skipped) == (True, False, 2)
    again = SpikeGuard(sigma=6.0, max_skipped_steps=5)
    again.load_state({name: tensor.clone() for name, tensor in guard.state().items()})
    for loss in (14.0, 7.0, 2.0):
        assert judge(again, loss=loss, norm=1.0) == judge(guard, loss=loss, norm=1.0)


def test_the_guard_forgets_what_is_older_than_its_window() -> None:
    guard = SpikeGuard(sigma=6.0, max_skipped_steps=5)
    for step in range(WINDOW_STEPS):
        judge(guard, loss=100.0 + step % 2, norm=1.0)
    for step in range(WINDOW_STEPS):
        assert not judge(guard, loss=1.0 + 2 * (step % 2), norm=1.0).skipped
    assert judge(guard, loss=14.0, norm=1.0).skipped


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_after_a_loss_that_is_not_finite_no_update_is_allowed(loss: float) -> None:
    guard = SpikeGuard(sigma=6.0, max_skipped_steps=5)
    assert not judge(guard, loss=2.0, norm=1.0).halted
    assert judge(guard, loss=loss, norm=1.0).halted
    assert judge(guard, loss=2.0, norm=1.0).halted
    assert not guard.judge(torch.tensor(2.0), torch.tensor(1.0))[0]


def test_a_forbidden_update_changes_no_bit_not_even_by_nan() -> None:
    network = small_network()
    optimizer = optimizer_of(network)
    generator = torch.Generator().manual_seed(1)

    def step(value: float, *, allowed: bool) -> None:
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator) * value
        optimizer.step(1.0, torch.tensor(allowed))

    def everything() -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in {**network.state_dict(), **optimizer.state()}.items()}

    step(1.0, allowed=True)
    before = everything()
    step(1.0, allowed=False)
    step(float("nan"), allowed=False)
    assert all(torch.equal(before[name], tensor) for name, tensor in everything().items())
    step(1.0, allowed=True)
    assert not any(torch.equal(before[name], tensor) for name, tensor in everything().items())


def checkpoint(step: int) -> Checkpoint:
    tensors = {name: {"x": torch.full((4,), float(step))} for name in ("model", "optimizer", "guard", "random")}
    return Checkpoint(step=step, tensors=tensors, state={"step": step})


def test_checkpoints_come_back_and_only_the_last_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, checkpoint(step), version="v", identity={"tokenizer_hash": "t"}, keep=Keep(newest=2))
    found, remarks = load_newest(tmp_path, version="v", identity={"tokenizer_hash": "t"})
    assert found is not None
    assert (found.step, found.state, remarks) == (3, {"step": 3}, [])
    assert torch.equal(found.tensors["model"]["x"], torch.full((4,), 3.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_every_nth_checkpoint_and_the_best_are_kept_beside_the_newest(tmp_path: Path) -> None:
    losses = {1: 3.0, 2: 2.0, 3: None, 4: 1.5, 5: 1.9, 6: 1.6, 7: None}
    for step, loss in losses.items():
        save_checkpoint(
            tmp_path,
            replace(checkpoint(step), validation_loss=loss),
            version="v",
            identity={"tokenizer_hash": "t"},
            keep=Keep(newest=2, every_steps=5, best=True),
        )
    assert [int(path.name[-1]) for path in sorted(tmp_path.iterdir())] == [4, 5, 6, 7]  # best, fifth, newest two
    assert Keep(newest=0, every_steps=7).kept(sorted(tmp_path.iterdir())) == {tmp_path / "step-00000007"}


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "has no readable manifest"),
        (lambda folder: (folder / "model.safetensors").unlink(), "lacks model.safetensors"),
        (lambda folder: (folder / "state.json").write_text("{}"), "a state.json that does not match"),
    ],
)
def test_a_damaged_newest_checkpoint_is_kept_as_evidence_and_the_one_before_used(
    tmp_path: Path, damage: object, problem: str
) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, checkpoint(step), version="v", identity={"tokenizer_hash": "t"}, keep=Keep(newest=2))
    damage(tmp_path / "step-00000002")  # type: ignore[operator]
    found, (remark,) = load_newest(tmp_path, version="v", identity={"tokenizer_hash": "t"})
    assert found is not None and found.step == 1
    assert problem in remark
    assert list(tmp_path.glob("damaged-step-00000002-*"))


def test_the_best_is_the_one_with_the_least_validation_loss_and_gives_way_where_it_is_damaged(tmp_path: Path) -> None:
    for step, loss in {1: 3.0, 2: 1.5, 3: 1.75, 4: None, 5: 2.0}.items():
        saved = replace(checkpoint(step), validation_loss=loss)
        save_checkpoint(tmp_path, saved, version="v", identity={"tokenizer_hash": "t"}, keep=Keep(newest=9))
    found, remarks = load_best(tmp_path, version="v", identity={"tokenizer_hash": "t"})
    assert found is not None and (found.step, found.validation_loss, remarks) == (2, 1.5, [])
    (tmp_path / "step-00000002" / "model.safetensors").unlink()
    found, (remark,) = load_best(tmp_path, version="v", identity={"tokenizer_hash": "t"})
    assert found is not None and found.step == 3 and torch.equal(found.tensors["model"]["x"], torch.full((4,), 3.0))
    assert "step-00000002 lacks model.safetensors" in remark


def test_a_checkpoint_that_was_saved_before_its_validation_learns_of_it(tmp_path: Path) -> None:
    for loss in (None, 1.5):
        saved = replace(checkpoint(1), validation_loss=loss)
        save_checkpoint(tmp_path, saved, version="v", identity={"tokenizer_hash": "t"}, keep=Keep(newest=2))
    found, _ = load_best(tmp_path, version="v", identity={"tokenizer_hash": "t"})
    assert found is not None and found.validation_loss == 1.5


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, checkpoint(1), version="other", identity={"tokenizer_hash": "t"}, keep=Keep(newest=2))
    with pytest.raises(TrainingError, match="belongs to the training version other, not v"):
        load_newest(tmp_path, version="v", identity={"tokenizer_hash": "t"})


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, checkpoint(1), version="v", identity={"tokenizer_hash": "t"}, keep=Keep(newest=2))

    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("pipeline.training.checkpoint.write_bytes", full)
    with pytest.raises(StorageError, match="step 2 could not be saved; earlier ones are intact"):
        save_checkpoint(tmp_path, checkpoint(2), version="v", identity={"tokenizer_hash": "t"}, keep=Keep(newest=2))
    found, _ = load_newest(tmp_path, version="v", identity={"tokenizer_hash": "t"})
    assert found is not None and found.step == 1


def test_what_is_left_open_follows_from_the_written_rules() -> None:
    config = TransformerConfig(family="transformer", dataset="d", depth=4, train={"tokens": 3_000_000})
    derived = derive(config, vocab_size=8192)
    assert (derived.batch_windows * 256, derived.num_steps) == (4096, 732)
    assert derived.validation_windows * 256 == pytest.approx(3_000_000 / 100, rel=0.01)
    odd = derive(TransformerConfig(family="transformer", dataset="d", train={"batch_tokens": 10_000}), vocab_size=8192)
    assert odd.batch_windows == 39
    larger = derive(
        TransformerConfig(family="transformer", dataset="d", train={"tokens": 3_000_000_000}), vocab_size=8192
    )
    assert larger.batch_windows * 256 == 65_536  # the power of two nearest to 4096 * 1000**0.383 = 57,740
    assert derive(TransformerConfig(family="transformer", dataset="d"), vocab_size=8192).num_steps > 8_000


SIZES: dict[str, Any] = {"batch_windows": 16, "micro_windows": None, "context_tokens": 256}


def test_asking_for_what_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(ConfigurationError, match="torch sees no CUDA device. Set it to auto or cpu"):
            choose_hardware(device="cuda", precision="auto", compile="auto", **SIZES, total_flops=1e9)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ConfigurationError, match="there is no C\\+\\+ compiler"):
        choose_hardware(device="cpu", precision="float32", compile="on", **SIZES, total_flops=1e9)
    chosen = choose_hardware(device="cpu", precision="float32", compile="auto", **SIZES, total_flops=1e20)
    assert not chosen.compiled


def test_compiling_is_for_runs_long_enough_to_pay_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/c++")
    assert not choose_hardware(device="cpu", precision="float32", compile="auto", **SIZES, total_flops=1e11).compiled
    assert choose_hardware(device="cpu", precision="float32", compile="auto", **SIZES, total_flops=1e15).compiled


@pytest.mark.parametrize(
    ("code", "kind", "sentence"),
    [
        (3, TrainingInterrupted, "left this"),
        (4, TrainingDiverged, "left this"),
        (5, TrainingError, "left this"),
        (-signal.SIGKILL, TrainingError, "was ended by SIGKILL"),
    ],
)
def test_exit_codes_become_the_errors_they_stand_for(tmp_path: Path, code: int, kind: type, sentence: str) -> None:
    write_last_words(tmp_path / "spec.json", code=code, sentence="the process left this")
    with pytest.raises(kind, match=sentence):
        check_exit(code, tmp_path / "spec.json")
    check_exit(0, tmp_path / "spec.json")


def test_a_spec_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"name": "x"}')
    with pytest.raises(ConfigurationError, match="is a training spec of another version"):
        TrainingSpec.read(tmp_path / "spec.json")
    with pytest.raises(ConfigurationError, match="is a training spec of another version"):
        run_subprocess(tmp_path / "spec.json")


def test_a_torn_last_line_of_the_spool_does_not_swallow_the_next(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text('{"kind": "metr')
    spool = Spool(tmp_path)
    spool.metrics(3, {"train/loss": 1.5})
    spool.finish("FINISHED")
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert lines[0] == '{"kind": "metr'
    assert json.loads(lines[1])["metrics"] == {"train/loss": 1.5}
    assert json.loads(lines[2])["status"] == "FINISHED"


def test_the_process_imports_neither_dagster_nor_mlflow_nor_pydantic() -> None:
    code = (
        "import sys, pipeline.training.trainer, pipeline.training.__main__;"
        "print([m for m in ('dagster', 'mlflow', 'pydantic', 'duckdb', 'matplotlib', 'jaxtyping') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stdout.strip() == "[]"


def test_on_a_disk_that_is_full_for_a_while_metrics_wait_and_training_goes_on(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").symlink_to("/dev/full")
    spool = Spool(tmp_path)
    spool.start({}, {})
    spool.metrics(1, {"loss": 3.0})
    with (tmp_path / "freed").open("wb") as freed:
        assert spool._file is not None
        os.dup2(freed.fileno(), spool._file.fileno())
    spool.metrics(2, {"loss": 2.0})
    spool.finish("FINISHED")
    events = [json.loads(line) for line in (tmp_path / "freed").read_text().splitlines()]
    assert [(event["kind"], event.get("step")) for event in events] == [
        ("start", None),
        ("metrics", 1),
        ("metrics", 2),
        ("finish", None),
    ]
