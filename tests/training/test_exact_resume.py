"""A run that is killed, stopped or damaged anywhere ends with the same bits as one that is not."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import spec_of

from pipeline.errors import TrainingDiverged, TrainingError, TrainingInterrupted
from pipeline.models.transformer.shape import derive_shape
from pipeline.training.stopping import StopRequest
from pipeline.training.trainer import Trainer


def finish(spec: Any) -> None:
    Trainer(spec, StopRequest()).run()


def result(folder: Path) -> dict[str, str]:
    """sha256 of everything that is deterministic."""
    files = [*sorted((folder / "output" / "model").iterdir()), folder / "output" / "history.jsonl"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def straight(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("straight")
    finish(spec_of(tiny_data, folder))
    return result(folder)


@pytest.mark.slow
def test_training_learns_what_can_be_known(tiny_data: Path, tmp_path: Path) -> None:
    finish(spec_of(tiny_data, tmp_path, num_steps=150, checkpoint_every_steps=None))
    history = [json.loads(line) for line in (tmp_path / "output" / "history.jsonl").read_text().splitlines()]
    entropy = -(0.8 * torch.tensor(0.8).log() + 0.2 * torch.tensor(0.1).log()).item()  # of the random walk: 0.639 nats
    assert entropy - 0.05 < history[-1]["validation_loss"] < entropy + 0.25
    assert history[0]["train_loss"] > 2.5


def test_two_runs_give_the_same_bits(tiny_data: Path, tmp_path: Path, straight: dict[str, str]) -> None:
    finish(spec_of(tiny_data, tmp_path, checkpoint_every_steps=None))
    assert result(tmp_path) == straight


@pytest.mark.parametrize("stop_at", [0, 1, 5, 6, 8, 11, 12])  # 8 and 12 are in validation
def test_a_stopped_run_goes_on_to_the_same_bits(
    tiny_data: Path, tmp_path: Path, straight: dict[str, str], stop_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(tiny_data, tmp_path, checkpoint_every_steps=None)
    stop = StopRequest()
    trainer = Trainer(spec, stop)
    monkeypatch.setattr(
        StopRequest, "reason", property(lambda self: "asked" if self is stop and trainer._step == stop_at else None)
    )
    with pytest.raises(TrainingInterrupted, match=f"stopped at step {stop_at} of 12"):
        trainer.run()
    finish(spec)
    assert result(tmp_path) == straight


_DIES = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    import pipeline.training.checkpoint as checkpoint, pipeline.training.step as step
    left = int(sys.argv[3])
    def dying(function):
        def call(*words, **named):
            global left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*words, **named)
        return call
    if sys.argv[2] == "save":
        for name in ("write_bytes", "write_json", "sha256_file", "fsync_directory"):
            setattr(checkpoint, name, dying(getattr(checkpoint, name)))
    else:  # between the micro-batches of a step
        import torch
        torch.autograd.backward = dying(torch.autograd.backward)
    from pipeline.training.__main__ import main
    sys.exit(main([sys.argv[1]]))
    """
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "calls"), [("save", n) for n in (0, 3, 7, 9, 13, 21, 40)] + [("micro", n) for n in (1, 9, 14)]
)
def test_a_kill_anywhere_loses_at_most_a_checkpoint_interval_and_no_bit(
    tiny_data: Path, tmp_path: Path, straight: dict[str, str], where: str, calls: int
) -> None:
    spec = spec_of(tiny_data, tmp_path)
    spec.write(tmp_path / "spec.json")
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    words = [sys.executable, "-c", _DIES, str(tmp_path / "spec.json"), where, str(calls)]
    killed = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert killed.returncode == -9, killed.stderr
    again = subprocess.run([*words[:-1], "1000000"], env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert result(tmp_path) == straight


def test_a_corrupted_newest_checkpoint_falls_back_to_the_same_bits(
    tiny_data: Path, tmp_path: Path, straight: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(tiny_data, tmp_path)
    stop = StopRequest()
    trainer = Trainer(spec, stop)
    with monkeypatch.context() as patched:
        patched.setattr(StopRequest, "reason", property(lambda self: "asked" if trainer._step == 7 else None))
        with pytest.raises(TrainingInterrupted):
            trainer.run()
    newest = tmp_path / "checkpoints" / "step-00000007" / "optimizer.safetensors"
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(bytes(data))
    finish(spec)
    assert result(tmp_path) == straight
    assert list((tmp_path / "checkpoints").glob("damaged-step-00000007-*"))


def test_changed_data_under_the_same_version_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    finish(spec_of(tiny_data, tmp_path))
    with pytest.raises(TrainingError, match="belongs to the training version v1, not v2"):
        Trainer(spec_of(tiny_data, tmp_path, version="v2"), StopRequest())


def test_a_tokenizer_that_is_not_the_shards_own_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.model"
    import sentencepiece

    with other.open("wb") as file:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(["other words entirely"] * 20),
            model_writer=file,
            model_type="char",
            vocab_size=30,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    with pytest.raises(TrainingError, match="its shards were made with"):
        Trainer(spec_of(tiny_data, tmp_path, tokenizer_file=str(other)), StopRequest())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_with_the_last_checkpoint_intact(
    tiny_data: Path, tmp_path: Path, straight: dict[str, str], value: float
) -> None:
    spec = spec_of(tiny_data, tmp_path)
    trainer = Trainer(spec, StopRequest())
    plain = trainer.network.forward
    trainer.network.forward = lambda x, y: plain(x, y) * (value if trainer._step >= 5 else 1.0)
    with pytest.raises(TrainingDiverged, match="Step 6: the loss is (nan|inf) .* twice on the same data"):
        trainer.run()
    finish(spec)
    assert result(tmp_path) == straight


def test_a_fault_that_does_not_repeat_is_called_one_of_the_hardware(tiny_data: Path, tmp_path: Path) -> None:
    trainer = Trainer(spec_of(tiny_data, tmp_path), StopRequest())
    plain, calls = trainer.network.forward, iter(range(10**6))
    trainer.network.forward = lambda x, y: plain(x, y) * (float("nan") if next(calls) == 5 else 1.0)
    with pytest.raises(TrainingError, match="Suspect the hardware"):
        trainer.run()


@pytest.mark.slow
def test_a_spike_is_skipped_and_counted_and_too_many_stop_the_run(tiny_data: Path, tmp_path: Path) -> None:
    def spike(trainer: Trainer, steps: range) -> None:
        plain = trainer.network.forward
        trainer.network.forward = lambda x, y: plain(x, y) * (1000.0 if trainer._step in steps else 1.0)

    trainer = Trainer(spec_of(tiny_data, tmp_path / "1", num_steps=90, checkpoint_every_steps=None), StopRequest())
    spike(trainer, range(80, 82))
    trainer.run()
    assert json.loads((tmp_path / "1" / "output" / "training.json").read_text())["skipped_steps"] == 2
    trainer = Trainer(spec_of(tiny_data, tmp_path / "2", num_steps=90, checkpoint_every_steps=None), StopRequest())
    spike(trainer, range(80, 90))
    with pytest.raises(TrainingDiverged, match="6 of the last 128 steps were spikes"):
        trainer.run()


def run_process(spec_path: Path, *, until: Path | None = None, sent: signal.Signals = signal.SIGKILL) -> int:
    """Trains in a process of its own and returns its exit code; with `until`, it gets a signal once that path is there."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    words = [sys.executable, "-m", "pipeline.training", str(spec_path)]
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as process:
        if until is not None:
            deadline = time.monotonic() + 300
            while not until.exists() and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(sent)
        return process.wait(timeout=300)


@pytest.mark.slow
def test_a_compiled_run_in_bfloat16_that_is_killed_ends_with_the_same_bits(tiny_data: Path, tmp_path: Path) -> None:
    settings = {
        "compile": "on",
        "precision": "bfloat16",
        "num_steps": 30,
        "batch_windows": 40,
        "micro_windows": 16,  # shares of 14, 14 and 12
        "shape": asdict(
            derive_shape(
                vocab_size=json.loads((tiny_data / "shards.json").read_text())["vocab_size"],
                context_tokens=32,
                depth=2,
                width=64,
                num_heads=2,
                num_kv_heads=1,
            )
        ),
    }
    results = []
    for name, until in (("straight", None), ("again", None), ("killed", "step-00000009"), ("stopped", "step-00000017")):
        folder = tmp_path / name
        spec = spec_of(tiny_data, folder, **settings)
        spec.write(folder / "spec.json")
        if until is not None:
            sent = signal.SIGKILL if name == "killed" else signal.SIGTERM
            code = run_process(folder / "spec.json", until=folder / "checkpoints" / until, sent=sent)
            assert code == {"killed": -signal.SIGKILL, "stopped": 3}[name]
        assert run_process(folder / "spec.json") == 0
        results.append(result(folder))
    assert results[0] == results[1] == results[2] == results[3]
