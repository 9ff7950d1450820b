"""What changes how a model learns, each against values worked out by hand, and all of it resumed bit for bit."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_exact_resume import result
from tiny_run import spec_of
from torch import nn

from pipeline.config import TransformerConfig
from pipeline.errors import TrainingInterrupted
from pipeline.models.transformer.network import Transformer
from pipeline.models.transformer.shape import derive_shape
from pipeline.shards.format import ShardWriter
from pipeline.shards.pair_batches import IGNORED
from pipeline.training.averaging import Exponential, WeightAverage
from pipeline.training.batch_size import BatchSizes
from pipeline.training.console import Console
from pipeline.training.data import WindowData
from pipeline.training.derive import derive
from pipeline.training.documents import document_starts
from pipeline.training.optimizer import Optimizer
from pipeline.training.schedule import learning_rate_scale
from pipeline.training.stopping import StopRequest
from pipeline.training.trainer import Trainer

BOS, EOS, CONTEXT = 2, 3, 32


def test_a_cosine_falls_from_one_to_zero_after_its_warm_up() -> None:
    words = {"num_steps": 10, "warmup_fraction": 0.2, "cooldown_fraction": 0.6, "schedule": "cosine"}
    scales = [learning_rate_scale(step, **words) for step in range(10)]
    # (1 + cos(pi k / 8)) / 2 for k = 0 .. 7 after two steps of warm-up
    half = [1, 0.961940, 0.853553, 0.691342, 0.5, 0.308658, 0.146447, 0.038060]
    assert scales == pytest.approx([0.5, 1, *half], abs=1e-6)
    words["warmup_fraction"] = 0.0
    assert learning_rate_scale(5, **words) == pytest.approx(0.5)


def test_cautious_decay_spares_weights_that_the_update_makes_larger() -> None:
    def changed(*, cautious: bool) -> torch.Tensor:
        network = nn.Sequential(nn.Linear(2, 2, bias=False))
        network[0].weight.data = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
        network[0].weight.grad = torch.tensor(
            [[1.0, 1.0], [-1.0, 1.0]]
        )  # orthogonal already: the update is along its sign
        rates = {f"{kind}_learning_rate": 0.1 for kind in ("matrix", "embedding", "head", "vector")}
        optimizer = Optimizer(network, **rates, weight_decay=0.5, cautious_weight_decay=cautious, dtype=torch.float32)
        before = network[0].weight.clone()
        optimizer.step(1.0)
        return network[0].weight.detach() - before

    plain, cautious = changed(cautious=False), changed(cautious=True)
    # descent moves against the gradient: 1 down, -1 down (away from zero), 1 up (away), -1 down (away)
    towards_zero = torch.tensor([[True, False], [False, False]])
    decay = -0.1 * 0.5 * torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    assert torch.allclose(plain - cautious, torch.where(towards_zero, 0.0, decay), atol=1e-6)
    assert (plain - decay).abs().min() > 0.01  # there was an update


def test_the_average_follows_the_weights_as_worked_out_by_hand() -> None:
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(0.0)
    average = WeightAverage({"weight": network.weight.data}, shares=Exponential(0.5))
    expected = 0.0
    for step, weight in enumerate((1.0, 2.0, 4.0), start=1):
        network.weight.data.fill_(weight)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))  # 2/11, 3/12, 4/13
        expected = decay * expected + (1 - decay) * weight
    assert expected == pytest.approx(3.2937063, abs=1e-6)  # 0.818182, 1.704545, then 4 (9/13) + 1.704545 (4/13)
    average.put_in_place()
    average.put_in_place()
    assert network.weight.item() == pytest.approx(expected, abs=1e-6)
    average.take_back()
    assert network.weight.item() == 4.0
    again = WeightAverage({"weight": network.weight.data}, shares=Exponential(0.5))
    again.load_state(average.state())
    again.put_in_place()
    assert network.weight.item() == pytest.approx(expected, abs=1e-6)


def test_the_batch_doubles_twice_and_the_tokens_are_still_those_asked_for(tiny_data: Path, tmp_path: Path) -> None:
    sizes = BatchSizes(rows=16, warmup_steps=5)
    assert [sizes.of(step) for step in range(7)] == [4, 4, 4, 8, 8, 16, 16]
    assert [sizes.before(step) for step in range(8)] == [0, 4, 8, 12, 20, 28, 44, 60]
    train = {"tokens": 1_000_000, "batch_tokens": 4096, "batch_warmup_fraction": 0.2}
    run = derive(TransformerConfig(family="transformer", dataset="x", train=train), vocab_size=100)
    read = BatchSizes(rows=run.batch_windows, warmup_steps=run.batch_warmup_steps).before(run.num_steps) * 256
    assert run.num_steps == round(1_000_000 / (4096 * 0.875))
    assert abs(read - 1_000_000) < 4096
    trainer = Trainer(spec_of(tiny_data, tmp_path, batch_warmup_steps=5, checkpoint_every_steps=None), StopRequest())
    rows = [trainer._data.batch(step) for step in range(7)]
    straight = WindowData(spec_of(tiny_data, tmp_path / "other"), context_tokens=CONTEXT)
    assert torch.equal(
        torch.cat([batch.targets for batch in rows])[:48],
        torch.cat([straight.batch(step).targets for step in range(3)]),
    )
    trainer.run()
    history = [json.loads(line) for line in (tmp_path / "output" / "history.jsonl").read_text().splitlines()]
    assert [row["tokens"] for row in history][:7] == [CONTEXT * rows for rows in (4, 8, 12, 20, 28, 44, 60)]
    counts = json.loads((tmp_path / "output" / "training.json").read_text())
    assert counts["tokens"] == CONTEXT * (28 + 7 * 16)
    assert counts["epochs"] == pytest.approx((28 + 7 * 16) / ((3000 - 1) // CONTEXT))


def test_the_progress_counts_the_tokens_of_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 10.0, 20.0])
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    sizes = BatchSizes(rows=8, warmup_steps=2)
    console = Console(num_steps=10, tokens_until=sizes.before, flops_per_token=1, pipes=None)
    console._times.append((1, 10.0))
    console._times.append((3, 20.0))
    assert console.timing()["tokens_per_second"] == (2 + 4 + 8) / 20


def network_of(**changes: Any) -> Transformer:
    sizes = {"vocab_size": 40, "context_tokens": CONTEXT, "depth": 2, "width": 32, "num_heads": 2, **changes}
    network = Transformer(derive_shape(**sizes))
    network.initialise(seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


def documents_of(*sizes: int, seed: int = 0) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [np.concatenate(([BOS], draw.integers(4, 34, size - 2), [EOS])) for size in sizes]


def test_documents_begin_at_their_bos() -> None:
    rows = np.array([[7, 8, BOS, 9, BOS, 5], [BOS, 1, 1, 1, 1, BOS]])
    assert document_starts(rows, bos_id=BOS).tolist() == [[0, 0, 2, 2, 4, 4], [0, 0, 0, 0, 0, 5]]


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_documents_in_one_row_are_as_each_alone_and_nothing_of_another_counts(kv_heads: int) -> None:
    network = network_of(num_kv_heads=kv_heads)
    documents = documents_of(9, 5, 12)
    row = torch.from_numpy(np.concatenate(documents))[None]
    starts = torch.from_numpy(document_starts(row.numpy(), bos_id=BOS))
    targets = torch.full_like(row, IGNORED)
    alone, place = [], 0
    for document in documents:
        ids = torch.from_numpy(document)[None]
        targets[0, place : place + ids.shape[1] - 1] = ids[0, 1:]
        alone.append(network(ids[:, :-1], ids[:, 1:]) * (ids.shape[1] - 1))
        place += ids.shape[1]
    together = network(row, starts, targets)
    expected = torch.stack(alone).sum() / (len(row[0]) - 3)
    assert together.item() == pytest.approx(expected.item(), rel=1e-6)
    assert network(row, targets).item() != pytest.approx(expected.item(), rel=1e-3)  # without the border it is not
    only_last = torch.where(torch.arange(row.shape[1]) >= 14, targets, IGNORED)
    changed = row.clone()
    changed[0, 1:8] = 30
    assert torch.equal(network(row, starts, only_last), network(changed, starts, only_last))
    assert not torch.equal(network(row, only_last), network(changed, only_last))
    embedded = network.embedded(row).detach().requires_grad_()
    network.loss(embedded, starts, only_last).backward()
    assert not embedded.grad[0, :14].any() and embedded.grad[0, 14:25].any()


@pytest.fixture(scope="module")
def document_data(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data's tokenizer with shards of many documents, in two files, some longer than a window."""
    folder = tmp_path_factory.mktemp("documents")
    index = json.loads((tiny_data / "shards.json").read_text())
    (folder / "tokenizer.model").write_bytes((tiny_data / "tokenizer.model").read_bytes())
    sizes = np.random.default_rng(0).integers(3, 50, size=100).tolist()
    words = {"vocab_size": index["vocab_size"], "tokenizer_hash": index["tokenizer_hash"]}
    index["files"] = {"train": ["train-0.tokens", "train-1.tokens"], "validation": ["validation-0.tokens"]}
    parts = {"train-0": sizes[:60], "train-1": sizes[60:], "validation-0": [20] * 20}
    for number, (name, some) in enumerate(parts.items()):
        writer = ShardWriter(folder / f"{name}.tokens", **words)
        for document in documents_of(*some, seed=number):
            writer.add(document % index["vocab_size"])
        writer.close()
    (folder / "shards.json").write_text(json.dumps(index))
    return folder


def read_documents(folder: Path) -> list[list[int]]:
    from pipeline.shards.reader import TokenShards

    shards = TokenShards(folder)
    stream, offsets = np.concatenate(shards.tokens("train")), shards.document_offsets("train")
    return [stream[a:b].tolist() for a, b in pairwise(offsets)]


def test_an_epoch_of_packed_rows_predicts_every_token_of_every_document_once(
    document_data: Path, tmp_path: Path
) -> None:
    spec = spec_of(document_data, tmp_path, packing="best_fit", attend="document", batch_windows=1)
    data = WindowData(spec, context_tokens=CONTEXT)
    num_rows = round(1 / data.epochs(1))
    documents = read_documents(document_data)
    pairs = sorted(pair for document in documents for pair in pairwise(document))
    places = sum(len(document) - 1 for document in documents)
    assert places / (num_rows * CONTEXT) > 0.97  # little padding
    whole = 0
    for epoch in (0, 1):
        found = []
        for step in range(epoch * num_rows, (epoch + 1) * num_rows):
            batch = data.batch(step)
            (token_ids, starts), targets = (tensor[0].tolist() for tensor in batch.inputs), batch.targets[0].tolist()
            found += [pair for pair in zip(token_ids, targets, strict=True) if pair[1] != IGNORED]
            for start in set(starts):
                text = [token for token, at in zip(token_ids, starts, strict=True) if at == start]
                whole += [*text, EOS] in documents
        assert sorted(found) == pairs
    assert whole == 2 * sum(len(document) - 1 <= CONTEXT for document in documents)
    assert not torch.equal(data.batch(0).targets, data.batch(num_rows).targets)  # an order of each epoch's own
    assert torch.equal(data.batch(7).targets, WindowData(spec, context_tokens=CONTEXT).batch(7).targets)


def test_windows_of_the_stream_know_their_documents(document_data: Path, tmp_path: Path) -> None:
    data = WindowData(spec_of(document_data, tmp_path, attend="document"), context_tokens=CONTEXT)
    batch = data.batch(0)
    assert batch.num_targets == 16 * CONTEXT
    token_ids, starts = batch.inputs
    assert (token_ids.gather(1, starts)[starts > 0] == BOS).all()
    assert all(len(validation.inputs) == 2 for validation in data.validation())


CASES: dict[str, dict[str, Any]] = {
    "everything": {
        "packing": "best_fit",
        "attend": "document",
        "ema_decay": 0.9,
        "schedule": "cosine",
        "cautious_weight_decay": True,
        "batch_warmup_steps": 5,
    },
    "research": {"research": {"softcap": 15.0, "relu_squared": True, "value_embeddings": True}},
    "window of packed documents": {"packing": "best_fit"},
    "documents of the stream": {"attend": "document", "ema_decay": 0.5},
}


@pytest.mark.parametrize("case", CASES)
def test_a_stopped_run_ends_with_the_same_bits(
    document_data: Path, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = dict(CASES[case])
    if "research" in changes:
        vocab_size = json.loads((document_data / "shards.json").read_text())["vocab_size"]
        sizes = {"vocab_size": vocab_size, "context_tokens": CONTEXT, "depth": 1, "width": 16, "num_heads": 2}
        changes = {"shape": asdict(derive_shape(**sizes, **changes.pop("research"))), **changes}
    Trainer(spec_of(document_data, tmp_path / "straight", **changes), StopRequest()).run()
    spec = spec_of(document_data, tmp_path / "stopped", checkpoint_every_steps=None, **changes)
    for stop_at in (3, 4, 9):  # at 4 the first thing to see it is validation
        trainer = Trainer(spec, StopRequest())
        asked = property(lambda self, at=stop_at, trainer=trainer: "asked" if trainer._step == at else None)
        with monkeypatch.context() as patched:
            patched.setattr(StopRequest, "reason", asked)
            with pytest.raises(TrainingInterrupted, match=f"stopped at step {stop_at} of 12"):
                trainer.run()
    Trainer(spec, StopRequest()).run()
    assert result(tmp_path / "stopped") == result(tmp_path / "straight")


def test_the_average_is_what_is_evaluated_and_saved(document_data: Path, tmp_path: Path) -> None:
    from pipeline.models.loading import load_model
    from pipeline.models.transformer.model import TransformerModel

    losses = {}
    for name, decay in (("raw", None), ("averaged", 0.9)):
        folder = tmp_path / name
        trainer = Trainer(spec_of(document_data, folder, ema_decay=decay, checkpoint_every_steps=None), StopRequest())
        trainer.run()
        losses[name] = json.loads((folder / "output" / "training.json").read_text())["final_validation_loss"]
        model = load_model(folder / "output" / "model")
        assert isinstance(model, TransformerModel)
        (batch,) = trainer._data.validation()
        with torch.inference_mode():
            found = model.network(*batch.inputs, batch.targets).item()
        assert found == pytest.approx(losses[name], rel=1e-6)
    assert losses["raw"] != losses["averaged"]
    history = [(tmp_path / name / "output" / "history.jsonl").read_text().splitlines() for name in losses]
    trained = [[json.loads(line)["train_loss"] for line in lines] for lines in history]
    assert trained[0] == trained[1]  # the weights that are trained are the same
