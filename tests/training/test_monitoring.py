"""What a person sees of a run while it goes on, and that looking changes nothing."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import spec_of

from pipeline.models.transformer.network import Transformer
from pipeline.models.transformer.shape import derive_shape
from pipeline.tokenizer.model import Tokenizer
from pipeline.training import monitor as monitoring
from pipeline.training.monitor import Monitor
from pipeline.training.prefetch import Prefetcher
from pipeline.training.sample import sample_text
from pipeline.training.stopping import StopRequest
from pipeline.training.trainer import Trainer


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "spool" / "events.jsonl").read_text().splitlines()]


def test_the_tracker_gets_rates_norm_waiting_memory_and_a_text_at_each_validation(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipeline.training.trainer.peak_flops", lambda device: 1e12)
    spec = spec_of(tiny_data, tmp_path, checkpoint_every_steps=None)
    trainer = Trainer(spec, StopRequest())
    trainer.run()
    found = {event["step"]: event["metrics"] for event in events(tmp_path) if event["kind"] == "metrics"}
    assert sorted(found) == [3, 4, 6, 8, 9, 12]  # every third step and each validation
    last = found[12]
    for kind, rate in (("_embedding", 0.1), ("_head", 0.02), ("_vector", 0.01), ("", 0.02)):
        assert last[f"train/learning_rate{kind}"] == pytest.approx(rate / 6)  # the last of six steps of cooldown
    assert last["train/mfu"] == pytest.approx(
        last["train/tokens_per_second"] * trainer.shape.flops_per_token / 1e12, rel=1e-6
    )
    assert 0 < last["train/data_wait_fraction"] < 1
    assert last["train/gradient_norm"] > 0
    assert 1e8 < last["system/memory_bytes"] < 1e11
    assert 0 < last["system/cpu_cores_used"] < 100
    texts = {event["path"]: event["text"] for event in events(tmp_path) if event["kind"] == "text"}
    assert sorted(texts) == [f"samples/step-{step:08d}.txt" for step in (4, 8, 12)]
    assert "step 12/12: it writes" in capsys.readouterr().err


def test_a_sample_is_drawn_from_the_network_and_leaves_no_trace(tiny_data: Path) -> None:
    tokenizer = Tokenizer.load(tiny_data / "tokenizer.model")
    network = Transformer(derive_shape(vocab_size=tokenizer.vocab_size, context_tokens=16, depth=1, width=16))
    network.initialise(0)
    wanted = tokenizer.encode("cat")[-1]
    with torch.no_grad():  # one token is far more likely than all others
        network.lm_head.weight.zero_()
        network.lm_head.weight[wanted] = 100.0 * network.model.norm.weight
        network.model.embed_tokens.weight.fill_(1.0)
    before = torch.get_rng_state()
    text = sample_text(network, tokenizer, [tokenizer.bos_id])
    assert text.strip() == tokenizer.decode([wanted] * 15).strip()
    assert torch.equal(torch.get_rng_state(), before)
    assert network.training
    network.eval()
    assert sample_text(network, tokenizer, [tokenizer.bos_id]) == text
    assert not network.training


def test_waiting_and_work_are_counted_since_they_were_last_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now, used = 100.0, 7.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr(monitoring, "_cpu_seconds", lambda: used)
    watched = Monitor(device="cpu")
    with watched.waiting_for_data():
        now += 1.0
    now, used = now + 3.0, used + 6.0
    figures = watched.figures()
    assert (figures["train/data_wait_fraction"], figures["system/cpu_cores_used"]) == (0.25, 1.5)
    now += 2.0
    assert watched.figures()["train/data_wait_fraction"] == 0.0


def test_the_next_batch_is_made_while_this_one_is_used_and_dropped_where_it_is_not_wanted() -> None:
    made: list[tuple[int, str]] = []
    ready = {step: threading.Event() for step in range(10)}

    def make(step: int) -> int:
        made.append((step, threading.current_thread().name))
        ready[step].set()
        if step == 7:
            raise ValueError("no such batch")
        return 10 * step

    prepared: list[str] = []
    ahead = Prefetcher(make, prepare=lambda: prepared.append(threading.current_thread().name))
    assert ahead.get(3) == 30
    assert ready[4].wait(10)
    assert ahead.get(4) == 40
    assert ready[5].wait(10)
    assert ahead.get(8) == 80  # another one: what was made ahead is not it
    assert ready[9].wait(10)
    assert [step for step, _ in made] == [3, 4, 5, 8, 9]
    assert [name.startswith("prefetch") for _, name in made] == [False, True, True, False, True]
    assert prepared == [made[1][1]]  # once, by the thread that makes
    with pytest.raises(ValueError, match="no such batch"):
        ahead.get(7)
    ahead.close()


def test_prefetched_batches_train_to_the_same_bits(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = []
    for name in ("plain", "ahead"):
        trainer = Trainer(spec_of(tiny_data, tmp_path / name, checkpoint_every_steps=None), StopRequest())
        if name == "ahead":
            monkeypatch.setattr(trainer, "_batch_of", trainer._ahead.get)
        trainer.run()
        histories.append((tmp_path / name / "output" / "history.jsonl").read_text())
    assert histories[0] == histories[1]


def test_a_profile_shows_as_many_steps_as_were_asked_for(tiny_data: Path, tmp_path: Path) -> None:
    spec = spec_of(tiny_data, tmp_path, checkpoint_every_steps=None, profile_steps=2, num_steps=8)
    Trainer(spec, StopRequest()).run()
    (trace,) = (tmp_path / "spool").glob("profile-*.json")
    assert trace.name == "profile-step-4.json"  # the first three are passed over
    names = [event.get("name") for event in json.loads(trace.read_text())["traceEvents"]]
    assert names.count("Optimizer.step#AdamW.step") == 2
