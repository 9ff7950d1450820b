"""What the machine offers is found once and kept; what fails is given up while nothing depends on it yet."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import spec_of

from pipeline.errors import TrainingError, TrainingInterrupted
from pipeline.models.recurrent.shape import RecurrentShape, derive_recurrent_shape
from pipeline.models.seq2seq_transformer.shape import derive_seq2seq_transformer_shape
from pipeline.models.transformer.network import Transformer
from pipeline.models.transformer.shape import derive_shape
from pipeline.training import random_state, warmup
from pipeline.training.console import Console
from pipeline.training.data import Batch
from pipeline.training.distributed import Alone
from pipeline.training.families import cpu_forward_tokens
from pipeline.training.hardware import Hardware, choose_hardware, even_share, num_cores, resumed
from pipeline.training.launch import training_environment
from pipeline.training.stopping import StopRequest
from pipeline.training.trainer import Trainer
from pipeline.training.warmup import make_ready

PLAIN = Hardware(device="cpu", precision="float32", compiled=False, num_threads=1, micro_windows=4)
COMPILED = replace(PLAIN, compiled=True)


def network() -> Transformer:
    built = Transformer(derive_shape(vocab_size=20, context_tokens=8, depth=1, width=16, num_heads=2))
    built.initialise(seed=0)
    return built


@pytest.mark.parametrize(
    ("total", "largest", "share"), [(41, 16, 14), (32, 16, 16), (16, 64, 16), (17, 16, 9), (1, 1, 1)]
)
def test_shares_are_even_and_small_enough(total: int, largest: int, share: int) -> None:
    assert even_share(total, largest) == share


def test_a_forward_pass_is_what_was_asked_for_or_what_suits_the_device() -> None:
    settings: dict[str, Any] = {
        "device": "cpu",
        "precision": "float32",
        "compile": "off",
        "total_flops": 1.0,
        "batch_windows": 64,
        "context_tokens": 256,
    }
    assert choose_hardware(**settings, micro_windows=16).micro_windows == 16
    assert choose_hardware(**settings, micro_windows=None).micro_windows == 8  # 2,048 tokens
    assert choose_hardware(**settings, micro_windows=None, cpu_forward_tokens=8_192).micro_windows == 32
    assert choose_hardware(**settings, micro_windows=16, cpu_forward_tokens=8_192).micro_windows == 16


@pytest.mark.parametrize(("has_it", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_that_only_emulates_bfloat16_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch, has_it: bool, precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or has_it)
    found = choose_hardware(
        device="auto",
        precision="auto",
        compile="off",
        total_flops=1.0,
        batch_windows=64,
        micro_windows=None,
        context_tokens=256,
    )
    assert (found.device, found.precision) == ("cuda", precision)


def test_recurrent_networks_alone_take_as_many_rows_as_their_logits_leave_room_for() -> None:
    def sizes(vocab_size: int) -> RecurrentShape:
        return derive_recurrent_shape(cell="lstm", vocab_size=vocab_size, context_tokens=256, depth=2)

    assert cpu_forward_tokens(sizes(500)) == cpu_forward_tokens(sizes(8_192)) == 8_192
    assert cpu_forward_tokens(sizes(16_384)) == 4_096  # 16,384 * 4,096 float32 are 256 MiB
    assert cpu_forward_tokens(sizes(256_000)) == 2_048
    transformer = derive_shape(vocab_size=8_192, context_tokens=256, depth=4)
    of_pairs = derive_seq2seq_transformer_shape(vocab_size=8_192, source_vocab_size=8_192, context_tokens=256, depth=2)
    assert cpu_forward_tokens(transformer) == cpu_forward_tokens(of_pairs) == 2_048


def test_the_training_process_takes_what_the_user_says_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    environment = training_environment()
    assert (environment["OMP_WAIT_POLICY"], environment["GOMP_SPINCOUNT"]) == ("PASSIVE", "2000")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    environment = training_environment()
    assert environment["OMP_WAIT_POLICY"] == "ACTIVE"
    assert "GOMP_SPINCOUNT" not in environment  # it would overrule the policy


def test_threads_are_cores_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert 1 <= num_cores() <= (os.cpu_count() or 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert num_cores() == 7


def test_a_resumed_run_keeps_the_hardware_it_began_with_as_far_as_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = replace(PLAIN, num_threads=8, precision="bfloat16", micro_windows=2)
    assert resumed(PLAIN, chosen=chosen) == (PLAIN, None)
    on_gpu = replace(COMPILED, device="cuda")
    assert resumed(on_gpu, chosen=chosen) == (
        chosen,
        "The run began on cuda and goes on on cpu: its last bits will differ.",
    )
    monkeypatch.setattr("shutil.which", lambda name: None)
    hardware, remark = resumed(COMPILED, chosen=chosen)
    assert hardware == PLAIN
    assert remark is not None and "there is no compiler now" in remark


def test_the_hardware_in_a_checkpoint_is_used_again(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = StopRequest()
    trainer = Trainer(spec_of(tiny_data, tmp_path, micro_windows=None, precision="bfloat16"), stop)
    monkeypatch.setattr(
        StopRequest, "reason", property(lambda self: "was told" if self is stop and trainer._step == 2 else None)
    )
    with pytest.raises(TrainingInterrupted):
        trainer.run()
    again = Trainer(spec_of(tiny_data, tmp_path, micro_windows=None, precision="float32"), StopRequest())
    assert again.hardware == trainer.hardware
    assert again.network.compute_dtype == torch.bfloat16
    smaller = Trainer(spec_of(tiny_data, tmp_path, micro_windows=1), StopRequest())
    assert smaller.hardware == replace(trainer.hardware, micro_windows=1)
    larger = Trainer(spec_of(tiny_data, tmp_path, micro_windows=10_000), StopRequest())
    assert larger.hardware == trainer.hardware


def broken_compiler(*words: Any, **settings: Any) -> Any:
    def fails(*words: Any) -> torch.Tensor:
        raise RuntimeError("g++: internal compiler error")

    return fails


def test_a_compiler_that_fails_is_done_without_while_nothing_depends_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", broken_compiler)
    batch, notes = Batch.of_windows(torch.zeros(8, 9, dtype=torch.int64)), []
    built = network()
    loss_of, hardware = make_ready(
        built, COMPILED, batch, may_halve=False, may_give_up_compiling=True, note=notes.append
    )
    assert hardware == PLAIN
    assert loss_of(*batch.inputs, batch.targets) > 0
    assert notes == ["does not compile and runs uncompiled (RuntimeError: g++: internal compiler error)"]
    assert all(parameter.grad is None for parameter in built.parameters())
    with pytest.raises(TrainingError, match="does not compile .* Set train.compile to off"):
        make_ready(built, COMPILED, batch, may_halve=True, may_give_up_compiling=False, note=notes.append)


def test_a_forward_pass_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    def accumulate(loss_of: Any, net: Any, batch: Batch, *, micro_rows: int, ranks: Alone) -> None:
        if micro_rows > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(warmup, "accumulate", accumulate)
    batch, notes = Batch.of_windows(torch.zeros(8, 9, dtype=torch.int64)), []
    on_gpu = replace(PLAIN, device="cuda")
    fits = 1
    _, hardware = make_ready(network(), on_gpu, batch, may_halve=True, may_give_up_compiling=False, note=notes.append)
    assert hardware.micro_windows == 1
    assert notes[0] == "out of GPU memory: forward passes of 2 windows from now on"
    fits = 0
    with pytest.raises(
        TrainingError, match="1 windows of 8 tokens does not fit the GPU's memory. Lower train.micro_batch"
    ):
        make_ready(network(), on_gpu, batch, may_halve=True, may_give_up_compiling=False, note=notes.append)
    with pytest.raises(TrainingError, match="4 windows of 8 tokens does not fit"):
        make_ready(network(), on_gpu, batch, may_halve=False, may_give_up_compiling=True, note=notes.append)


def test_every_generator_goes_on_where_it_was() -> None:
    def draw() -> list[float]:
        return [random.random(), random.gauss(0, 1), float(np.random.rand()), float(torch.rand(()))]  # noqa: S311

    random_state.seed_all(5)
    draw()
    tensors, values = random_state.capture("cpu")
    expected = [draw(), draw()]
    random_state.restore(tensors, values, "cpu")
    assert [draw(), draw()] == expected


def test_the_progress_line_says_how_far_how_fast_and_how_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    console = Console(num_steps=1000, tokens_until=lambda steps: 500 * steps, flops_per_token=10**6, pipes=None)
    console.begin(100, peak=1e10)
    for step in range(101, 301):
        now += 0.1
        console.loss(2.0, learning_rate=0.02, gradient_norm=0.5)
        console.step(step)
        console.state({"train/data_wait_fraction": 0.0123, "system/memory_bytes": 2.5e9})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4  # one every five of twenty seconds
    assert lines[-1] == (
        "step 300/1,000 (30%) | loss 2.000 | norm 0.50 | lr 2.00e-02 | 100 ms/step | 5,000 tokens/s | MFU 50.0% | data 1.2% | "
        "2.5 GB | 0:20 elapsed, 1:10 left"
    )
