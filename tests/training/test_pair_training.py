"""Encoder-decoders and decoders alone learn from pairs in the one loop, and an interrupted run ends with the same bits."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from pair_run import BOS, EOS, MIDDLE, PREFIX, pair_spec, tiny_pairs
from tiny_run import interrupt, spec_of

from pipeline.config import Seq2SeqRnnConfig, Seq2SeqTransformerConfig
from pipeline.errors import ConfigurationError
from pipeline.models.interface import GenerationParameters
from pipeline.models.loading import load_model
from pipeline.models.seq2seq_transformer.shape import derive_seq2seq_transformer_shape
from pipeline.shards.pair_batches import PairLoader
from pipeline.training.derive import derive
from pipeline.training.forecast import forecast
from pipeline.training.stopping import StopRequest
from pipeline.training.trainer import Trainer

__all__ = ["tiny_pairs"]
FAMILIES = ("seq2seq_transformer", "seq2seq_rnn", "gru")
RATES: dict[str, Any] = {"matrix_learning_rate": 0.03, "embedding_learning_rate": 0.03, "head_learning_rate": 0.03}
IDENTITY = {"vocab_size": 31, "source_vocab_size": 31}


def result(folder: Path) -> dict[str, str]:
    """sha256 of everything that is deterministic."""
    files = [*sorted((folder / "output" / "model").iterdir()), folder / "output" / "history.jsonl"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_batches_are_the_pairs_padded_with_the_ends_to_predict(
    tiny_data: Path, tiny_pairs: Path, tmp_path: Path
) -> None:
    trainer = Trainer(pair_spec(tiny_data, tiny_pairs, tmp_path, family="seq2seq_rnn"), StopRequest())
    seen = []
    for step in range(round(1 / trainer._data.epochs(1))):  # an epoch
        batch = trainer._batch_of(step)
        source, lengths, read = batch.inputs
        for row, length in enumerate(lengths.tolist()):
            inner = source[row, 1 : length - 1].tolist()
            assert source[row, 0] == BOS and source[row, length - 1] == EOS and not source[row, length:].any()
            count = batch.targets_of_row[row]
            assert batch.targets[row, :count].tolist() == [*inner[::-1], EOS]
            assert (batch.targets[row, count:] == -100).all()
            assert read[row, :count].tolist() == [BOS, *inner[::-1]]
            seen.append(tuple(inner))
        assert source.numel() + read.numel() + len(read) <= 160
    loader = PairLoader(tiny_pairs, split="train", batch_tokens=160, seed=0)
    assert len(seen) == loader.num_pairs == 200


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_that_are_copied_elsewhere_hold_the_same(
    tiny_data: Path, tiny_pairs: Path, tmp_path: Path, family: str
) -> None:
    batch = Trainer(pair_spec(tiny_data, tiny_pairs, tmp_path, family=family), StopRequest())._batch_of(0)
    copied = batch.sent(torch.clone)  # as a GPU has it: dense, whatever the strides of the original
    for mine, yours in zip((*batch.inputs, batch.targets), (*copied.inputs, copied.targets), strict=True):
        assert torch.equal(mine, yours) and mine.data_ptr() != yours.data_ptr()


def test_a_decoder_alone_reads_the_pair_in_one_row_and_predicts_the_target(
    tiny_data: Path, tiny_pairs: Path, tmp_path: Path
) -> None:
    trainer = Trainer(pair_spec(tiny_data, tiny_pairs, tmp_path, family="gru"), StopRequest())
    batch = trainer._batch_of(0)
    (token_ids,) = batch.inputs
    for row, targets in zip(token_ids.tolist(), batch.targets.tolist(), strict=True):
        assert row[0] == BOS and tuple(row[1:2]) == PREFIX
        middle = row.index(MIDDLE[0])
        source = row[2:middle]
        wanted = [*source[::-1], EOS]
        assert targets[: middle + len(wanted)] == [-100] * middle + wanted
    first = next(iter(trainer._data.validation()))
    opening = trainer._data.opening  # of a sample text: the first pair that is validated, up to where its target begins
    assert opening[:2] == [BOS, *PREFIX] and opening[-1] == MIDDLE[-1]
    assert first.inputs[0][0, : len(opening)].tolist() == opening
    assert first.targets[0, len(opening) - 1] == opening[-1 - len(MIDDLE)]  # targets are their sources backwards


def test_a_decoder_that_learns_whole_pairs_predicts_all_it_reads_and_is_validated_on_targets(
    tiny_data: Path, tiny_pairs: Path, tmp_path: Path
) -> None:
    spec = pair_spec(tiny_data, tiny_pairs, tmp_path, family="gru", loss_on="whole_pairs")
    data = Trainer(spec, StopRequest())._data
    batch = data.batch(0)
    (token_ids,) = batch.inputs
    for row, targets in zip(token_ids.tolist(), batch.targets.tolist(), strict=True):
        read = [token for token in row if token]  # 0 pads
        assert targets == [*read[1:], EOS] + [-100] * (len(row) - len(read))
    (one, *_) = data.validation()
    middles = (one.inputs[0] == MIDDLE[0]).nonzero()[:, 1]
    assert all((targets[:middle] == -100).all() for targets, middle in zip(one.targets, middles, strict=True))


@pytest.mark.parametrize(
    ("family", "context_tokens", "longest", "longest_whole"),
    [
        ("seq2seq_rnn", 5, 4, 3),  # the source has two marks there, the target one
        ("gru", 7, 3, 2),  # <s>, prefix and middle leave four places to both sides, and one of them is the source's
    ],
)
def test_pairs_that_do_not_fit_the_model_are_told(
    tiny_data: Path,
    tiny_pairs: Path,
    tmp_path: Path,
    family: str,
    context_tokens: int,
    longest: int,
    longest_whole: int,
) -> None:
    sizes = {"context_tokens": context_tokens}
    trainer = Trainer(
        pair_spec(tiny_data, tiny_pairs, tmp_path, family=family, sizes=sizes, num_steps=1), StopRequest()
    )
    lengths = PairLoader(tiny_pairs, split="train", batch_tokens=160, seed=0).shards.lengths("train")[:, 0] - 2
    fitting = lengths[lengths <= longest]  # both sides are equally long
    left_out, cut = trainer._data.remarks
    assert left_out.startswith(
        f"{200 - len(fitting)} of 200 training pairs are left out, since their targets do not fit"
    )
    assert cut.startswith(
        f"{(fitting > longest_whole).sum()} of {len(fitting)} training texts are cut at their end, since"
    )
    trainer.run()
    assert json.loads((tmp_path / "output" / "training.json").read_text())["notes"] == [left_out, cut]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_stopped_anywhere_goes_on_to_the_same_bits(
    tiny_data: Path, tiny_pairs: Path, tmp_path: Path, family: str
) -> None:
    def spec_in(name: str) -> Any:
        sizes = {"dropout": 0.2} if family == "gru" else {"dropout": 0.2, "label_smoothing": 0.1}
        return pair_spec(tiny_data, tiny_pairs, tmp_path / name, family=family, sizes=sizes)

    Trainer(spec_in("straight"), StopRequest()).run()
    for name, asked_at in (("validating", 20), ("within", 41), ("later", 70)):  # two or three micro-batches a step
        interrupt(spec_in(name), asked_at)
        Trainer(spec_in(name), StopRequest()).run()
        assert result(tmp_path / name) == result(tmp_path / "straight")


@pytest.mark.slow
@pytest.mark.parametrize("family", ["seq2seq_transformer", "seq2seq_rnn"])
def test_an_encoder_decoder_learns_to_reverse(tiny_data: Path, tiny_pairs: Path, tmp_path: Path, family: str) -> None:
    """Read often enough to learn its pairs by heart; written back by beams and one after the other."""
    # what is learnt by heart has small losses, of which a few are far above the rest
    settings = {"num_steps": 400, "validate_every_steps": 100, "spike_sigma": 1000.0, **RATES}
    spec = pair_spec(tiny_data, tiny_pairs, tmp_path, family=family, **settings)
    Trainer(spec, StopRequest()).run()
    history = [json.loads(line) for line in (tmp_path / "output" / "history.jsonl").read_text().splitlines()]
    assert history[0]["train_loss"] > 3.0 and history[-1]["train_loss"] < 0.3
    model = load_model(tmp_path / "output" / "model")
    loader = PairLoader(tiny_pairs, split="train", batch_tokens=160, seed=0)
    pairs = [loader.shards.pair("train", number) for number in range(40)]
    sources, targets = [source.tolist() for source, _ in pairs], [target[1:-1].tolist() for _, target in pairs]
    for parameters in (GenerationParameters(temperature=0.0), GenerationParameters(num_beams=4)):
        written = model.generate(sources, parameters)
        assert sum(text == target for text, target in zip(written, targets, strict=True)) >= 36


def test_the_family_and_the_data_must_fit(tiny_data: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    spec = pair_spec(tiny_data, tiny_data, tmp_path, family="seq2seq_rnn")
    with pytest.raises(
        ConfigurationError, match="the family seq2seq_rnn learns from pairs, and its dataset holds text alone"
    ):
        Trainer(spec, StopRequest())
    shape = derive_seq2seq_transformer_shape(
        source_vocab_size=17, vocab_size=spec.shape["vocab_size"], context_tokens=16, depth=1, share_vocabulary=False
    )
    spec = spec_of(
        tiny_data, tmp_path, family="seq2seq_transformer", shape=asdict(shape), shards_folder=str(tiny_pairs)
    )
    with pytest.raises(ConfigurationError, match="its encoder has a vocabulary of 17 tokens, its shards one of"):
        Trainer(spec, StopRequest())


def test_two_tokenizers_under_one_table_are_refused(tiny_data: Path, tiny_pairs: Path, tmp_path: Path) -> None:
    copied = tmp_path / "pairs"
    copied.mkdir()
    other = "1" * 64
    for file in tiny_pairs.iterdir():
        data = file.read_bytes()
        index = json.loads((tiny_pairs / "pairs.json").read_text())
        if ".source." in file.name:
            data = data.replace(index["source"]["tokenizer_hash"].encode(), other.encode(), 1)
        elif file.name == "pairs.json":
            index["source"]["tokenizer_hash"] = other
            data = json.dumps(index).encode()
        (copied / file.name).write_bytes(data)
    spec = pair_spec(tiny_data, copied, tmp_path, family="seq2seq_transformer")
    with pytest.raises(ConfigurationError, match="share one vocabulary, but its shards have a tokenizer for each side"):
        Trainer(spec, StopRequest())


def test_sizes_follow_from_the_depth_by_the_written_rules() -> None:
    transformer = Seq2SeqTransformerConfig(family="seq2seq_transformer", dataset="d", train={"tokens": 3_000_000})
    run = derive(transformer, vocab_size=8000)
    # width 256, feed-forward 704: an encoder layer 4 d^2 + 3 d f, a decoder layer 8 d^2 + 3 d f, one table
    matrices = 3 * (12 * 256**2 + 2 * 3 * 256 * 704)
    assert run.shape.num_matrix_parameters == matrices
    assert run.shape.num_parameters == matrices + 8000 * 256 + 3 * (5 * 256 + 6 * 64) + 2 * 256
    separate = derive(transformer, vocab_size=8000, source_vocab_size=5000).shape
    assert separate.num_parameters == run.shape.num_parameters + 5000 * 256
    recurrent = derive(Seq2SeqRnnConfig(family="seq2seq_rnn", dataset="d"), vocab_size=8000).shape
    assert (recurrent.width, recurrent.embedding_width, recurrent.num_layers) == (512, 256, 1)
    with pytest.raises(ValueError, match="many shapes, each of which would be compiled"):
        Seq2SeqRnnConfig(family="seq2seq_rnn", dataset="d", train={"compile": "on"})
    with pytest.raises(ValueError, match="set share_vocabulary to false"):
        shared = transformer.model_copy(update={"share_vocabulary": True})
        derive(shared, vocab_size=8000, source_vocab_size=5000)


@pytest.mark.parametrize("config", [Seq2SeqTransformerConfig, Seq2SeqRnnConfig])
def test_a_forecast_takes_steps_of_random_pairs(config: Any) -> None:
    family = "seq2seq_transformer" if config is Seq2SeqTransformerConfig else "seq2seq_rnn"
    train = {"tokens": 4096, "batch_tokens": 256, "precision": "float32", "device": "cpu"}
    made = config(family=family, dataset="d", depth=1, width=32, context_tokens=32, train=train)
    threads = torch.get_num_threads()
    found = forecast(made, vocab_size=100, source_vocab_size=60)
    assert torch.get_num_threads() == threads
    assert (found.num_steps, found.tokens_per_step) == (16, 256)
    assert found.memory.weights == 4 * found.num_parameters
