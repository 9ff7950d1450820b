"""Several processes train as one does, whatever they divide; what one of them saved, any number of them goes on from."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from pair_run import pair_spec, tiny_pairs
from safetensors.torch import load_file, save_file
from tiny_run import averaged, lstm, odd, spec_of

from pipeline.errors import ConfigurationError, TrainingInterrupted
from pipeline.training.__main__ import main
from pipeline.training.checkpoint import _read_tensors
from pipeline.training.distributed import Sharded
from pipeline.training.hardware import choose_hardware, count_processes
from pipeline.training.stopping import StopRequest
from pipeline.training.trainer import Trainer

__all__ = ["tiny_pairs"]

ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent
needs_two_processors = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two processes need two processors")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE)]), "GLOO_SOCKET_IFNAME": "lo"}


def alone(spec: Any, *, until: int | None = None) -> None:
    """Trains in this process, to the end or to a step."""

    class Stop(StopRequest):
        @property
        def reason(self) -> str | None:
            return "was told" if trainer._step == until else None

    trainer = Trainer(spec, Stop())
    if until is None:
        trainer.run()
    else:
        with pytest.raises(TrainingInterrupted):
            trainer.run()


def history(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "output" / "history.jsonl").read_text().splitlines()]


def assert_same_curve(found: Path, expected: Path, *, rel: float) -> None:
    mine, wanted = history(found), history(expected)
    assert [row["step"] for row in mine] == [row["step"] for row in wanted]
    for key in ("train_loss", "gradient_norm", "validation_loss"):
        assert [row[key] for row in mine if row[key]] == pytest.approx(
            [row[key] for row in wanted if row[key]], rel=rel
        )
    weights = load_file(expected / "output" / "model" / "model.safetensors")
    for name, tensor in load_file(found / "output" / "model" / "model.safetensors").items():
        assert torch.allclose(tensor, weights[name], rtol=1e-3, atol=1e-5), name


@pytest.fixture(scope="module")
def runs(tiny_data: Path, tiny_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one process, of two, and of one, then two, then one."""
    folder = tmp_path_factory.mktemp("runs")
    alone(spec_of(tiny_data, folder / "alone"))
    alone(spec_of(tiny_data, folder / "alone_odd", **odd(tiny_data)))
    alone(spec_of(tiny_data, folder / "alone_lstm", **lstm(tiny_data)))
    alone(spec_of(tiny_data, folder / "alone_averaged", **averaged(tiny_data, learning_rate=20.0)))
    for family in ("seq2seq_transformer", "seq2seq_rnn"):
        alone(pair_spec(tiny_data, tiny_pairs, folder / f"alone_{family}", family=family, num_steps=6))
    for strategy in ("ddp", "fsdp"):
        alone(spec_of(tiny_data, folder / f"began_alone_{strategy}"), until=4)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    words += ["--nproc-per-node", "2", str(HERE / "two_processes.py"), str(tiny_data), str(tiny_pairs), str(folder)]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-6000:]
    return folder


@needs_two_processors
@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_that_are_stopped_and_go_on_give_the_curve_of_one(runs: Path, strategy: str) -> None:
    assert_same_curve(runs / strategy, runs / "alone_odd", rel=1e-5)
    assert_same_curve(runs / f"lstm_{strategy}", runs / "alone_lstm", rel=1e-5)
    assert_same_curve(runs / f"averaged_{strategy}", runs / "alone_averaged", rel=1e-5)
    counts = json.loads((runs / f"averaged_{strategy}" / "output" / "training.json").read_text())
    assert counts["averaged_from_step"] < 10
    for family in ("seq2seq_transformer", "seq2seq_rnn"):
        assert_same_curve(runs / f"{family}_{strategy}", runs / f"alone_{family}", rel=1e-5)


@needs_two_processors
@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_one_process_then_two_then_one_give_the_curve_of_one(runs: Path, tiny_data: Path, strategy: str) -> None:
    alone(spec_of(tiny_data, runs / f"began_alone_{strategy}"))
    assert_same_curve(runs / f"began_alone_{strategy}", runs / "alone", rel=1e-5)


@needs_two_processors
@pytest.mark.slow
def test_a_damaged_part_of_a_divided_checkpoint_falls_back_to_the_one_before(runs: Path) -> None:
    checkpoints = runs / "fsdp" / "checkpoints"
    assert list(checkpoints.glob("damaged-step-00000005-*"))
    newest = sorted(path.name for path in (checkpoints / "step-00000012").iterdir())
    assert [name for name in newest if name.startswith("optimizer")] == [
        "optimizer-00001-of-00002.safetensors",
        "optimizer-00002-of-00002.safetensors",
    ]
    parts = [load_file(checkpoints / "step-00000012" / f"model-0000{n}-of-00002.safetensors") for n in (1, 2)]
    rows = [part["model.layers.0.mlp.gate_proj.weight"].shape for part in parts]
    assert [tuple(shape) for shape in rows] == [(22, 16), (21, 16)]


def test_parts_of_two_processes_are_read_by_three(tmp_path: Path) -> None:
    whole = {"exp_avg.a": torch.arange(14.0).view(7, 2), "step.a": torch.tensor(3.0)}
    save_file({**whole, "exp_avg.a": whole["exp_avg.a"][:4].clone()}, tmp_path / "1")
    save_file({"exp_avg.a": whole["exp_avg.a"][4:].clone()}, tmp_path / "2")
    found = []
    for rank in range(3):
        ranks = Sharded(rank, 3)
        ranks._parameters = {"a": whole["exp_avg.a"]}
        found.append(dict(_read_tensors([tmp_path / "1", tmp_path / "2"], ranks)))
    assert [len(part["exp_avg.a"]) for part in found] == [3, 3, 1]  # as torch.chunk divides seven rows
    assert torch.equal(torch.cat([part["exp_avg.a"] for part in found]), whole["exp_avg.a"])
    assert all(torch.equal(part["step.a"], whole["step.a"]) for part in found)


def ended(words: list[str], folder: Path, *, until: str, harm: Any) -> tuple[int, str, list[psutil.Process]]:
    """Starts training, harms it once a checkpoint is there, and gives exit code, standard error, and who is left."""
    with subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not (folder / "checkpoints" / until).exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        workers = psutil.Process(process.pid).children()
        harm(process, workers)
        _, errors = process.communicate(timeout=120)
    _, left = psutil.wait_procs(workers, timeout=10)
    return process.returncode, errors, left


@needs_two_processors
@pytest.mark.slow
def test_a_killed_process_ends_the_others_a_stop_stops_all_and_both_go_on(tiny_data: Path, tmp_path: Path) -> None:
    settings = {"num_steps": 60, "devices": 2, "strategy": "fsdp"}
    spec_of(tiny_data, tmp_path, **settings).write(tmp_path / "spec.json")
    words = [sys.executable, "-m", "pipeline.training", str(tmp_path / "spec.json")]

    def kill(process: subprocess.Popen[str], workers: list[psutil.Process]) -> None:
        workers[1].kill()

    code, errors, left = ended(words, tmp_path, until="step-00000003", harm=kill)
    assert (code, left) == (5, [])
    assert errors.splitlines()[-1] == (
        "Training process 1 (of 2, from 0) was ended by SIGKILL, and the others were stopped; running again goes on from "
        "the last checkpoint."
    )
    assert "Traceback" not in errors and "gloo" not in errors

    def stop(process: subprocess.Popen[str], workers: list[psutil.Process]) -> None:
        process.send_signal(signal.SIGTERM)

    code, errors, left = ended(words, tmp_path, until="step-00000020", harm=stop)
    assert (code, left) == (3, [])
    assert "Training of tiny received SIGTERM and stopped at step" in errors.splitlines()[-1]
    assert errors.count("received SIGTERM") == 1 and "Traceback" not in errors

    assert subprocess.run(words, env=environment(), capture_output=True, check=False, timeout=120).returncode == 0
    alone(spec_of(tiny_data, tmp_path / "alone", num_steps=60, checkpoint_every_steps=None))
    assert_same_curve(tmp_path, tmp_path / "alone", rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"devices": 4096},
            r"models.\*.train.devices is 4096, but this machine has \d+ processors?. Set it to auto or to at",
        ),
        ({"device": "cuda"}, r"models.\*.train.device is cuda, but torch sees no CUDA device. Set it to auto or cpu."),
    ],
)
def test_devices_that_are_not_there_are_one_sentence(
    tiny_data: Path, tmp_path: Path, settings: dict[str, Any], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available() and "device" in settings:
        pytest.skip("this machine has a CUDA device")
    spec_of(tiny_data, tmp_path, **settings).write(tmp_path / "spec.json")
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        assert main([str(tmp_path / "spec.json")]) == 2  # never tried again
    finally:
        signal.signal(signal.SIGINT, handlers[0])
        signal.signal(signal.SIGTERM, handlers[1])
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    with pytest.raises(ConfigurationError, match=sentence):
        raise ConfigurationError(error)


def test_a_step_needs_a_window_a_process_and_auto_means_every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert count_processes("auto", device="cuda") == 4
    assert count_processes("auto", device="cpu") == 1
    assert count_processes(3, device="cuda") == 3
    with pytest.raises(
        ConfigurationError, match="devices is 8, but this machine has 4 CUDA devices. Set it to auto or to at most 4"
    ):
        count_processes(8, device="cuda")
    settings: dict[str, Any] = {"device": "cpu", "precision": "float32", "compile": "off", "total_flops": 1e9}
    sizes: dict[str, Any] = {"micro_windows": 4, "context_tokens": 32, "strategy": "ddp"}
    assert choose_hardware(**settings, **sizes, batch_windows=17, num_processes=2).micro_windows == 3  # of 9 rows
    with pytest.raises(
        ConfigurationError, match="devices is 4, but a step has 3 windows of 32 tokens. Raise batch_tokens to 128"
    ):
        choose_hardware(**settings, **sizes, batch_windows=3, num_processes=4)
