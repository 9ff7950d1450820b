"""What a run will cost, against sums done by hand."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from torch import Tensor

from assets.cli import main
from pipeline.config import RecurrentConfig, Seq2SeqRnnConfig, TransformerConfig
from pipeline.models.seq2seq_rnn.network import Seq2SeqRnn
from pipeline.training import families
from pipeline.training.forecast import forecast

TRAIN = {"tokens": 4096, "batch_tokens": 256, "compile": "off", "precision": "float32", "device": "cpu"}


def test_a_transformers_sizes() -> None:
    """Width 64, one head of 64, feed-forward 192, vocabulary 100, context 32, one layer, tables apart.

    Matrices: attention 4 * 64 * 64, feed-forward 3 * 64 * 192, together 53,248. Tables 2 * 100 * 64; norms 2 * 64 + 2 * 64 + 64.
    FLOPs: 6 * (53,248 + 64 * 128) for the head padded to 128, and 6 * 32 * 64 for attention.
    """
    config = TransformerConfig.model_validate(
        {"family": "transformer", "dataset": "d", "depth": 1, "context_tokens": 32, "train": TRAIN}
    )
    found = forecast(config, vocab_size=100, train_tokens=800)
    assert found.num_parameters == 53_248 + 12_800 + 320
    assert found.flops_per_token == 6 * (53_248 + 8_192) + 12_288
    assert (found.num_steps, found.tokens_per_step, found.tokens) == (16, 256, 4096)
    assert found.epochs == pytest.approx(5.12)
    assert found.flops == 4096 * found.flops_per_token
    # the tables are padded to 128 rows on the device; Muon keeps one number a matrix entry, AdamW two of the rest and a step
    padded = 4 * (53_248 + 2 * 128 * 64 + 320)
    assert found.memory.weights == found.memory.gradients == padded
    assert found.memory.optimizer == pytest.approx(4 * 53_248 + 2 * (padded - 4 * 53_248), abs=100)
    # the process's peak is what it holds now, or was more; torch alone is 150 MB
    assert found.memory.process >= 0.99 * psutil.Process().memory_info().rss > 150e6
    # at least the logits and each layer's inputs of a forward pass of 256 tokens
    assert found.memory.activations > 4 * 256 * (100 + 4 * 64)
    assert found.seconds == pytest.approx(4096 / found.tokens_per_second)
    (warning,) = found.warnings()
    assert "5.1 times" in warning


def test_a_recurrent_networks_sizes() -> None:
    """An LSTM of width 32: 4 gates of 2 * 32 * 32 and two biases of 32 each; a table of 50 * 32 for both ends."""
    config = RecurrentConfig.model_validate(
        {
            "family": "lstm",
            "dataset": "d",
            "depth": 1,
            "width": 32,
            "context_tokens": 16,
            "train": {**TRAIN, "compile": "auto"},
        }
    )
    found = forecast(config, vocab_size=50)
    assert found.num_parameters == 8_192 + 256 + 1_600
    assert found.epochs is None
    assert not found.warnings()


@pytest.mark.parametrize(
    ("pair_tokens", "rows", "length"), [(None, 2, 64), (16.4, 16, 8), (500.0, 2, 64), (1.0, 128, 1)]
)
def test_pairs_are_probed_in_rows_of_their_own_length(
    pair_tokens: float | None, rows: int, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """256 tokens a step are 2 pairs that fill a context of 128, half of it a side, and 16 pairs of 16 tokens."""
    seen = []

    class Watched(Seq2SeqRnn):
        def forward(self, source: Tensor, source_lengths: Tensor, target: Tensor, targets: Tensor) -> Tensor:
            seen.append([tuple(source.shape), source_lengths.tolist(), tuple(target.shape), tuple(targets.shape)])
            return super().forward(source, source_lengths, target, targets)

    monkeypatch.setattr(families, "Seq2SeqRnn", Watched)
    config = Seq2SeqRnnConfig.model_validate(
        {"family": "seq2seq_rnn", "dataset": "d", "depth": 1, "width": 8, "context_tokens": 128, "train": TRAIN}
    )
    forecast(config, vocab_size=20, pair_tokens=pair_tokens)
    assert seen
    assert all(shapes == [(rows, length), [length] * rows, (rows, length), (rows, length)] for shapes in seen)


PROJECT = """
name: p
sources: {notes: {reader: text, path: "*.txt"}}
corpora: {notes: {sources: {notes: 1.0}}}
tokenizers: {small: {corpus: notes, vocab_size: 300}}
datasets: {shards: {corpus: notes, tokenizer: small}}
models:
  writer: {family: transformer, dataset: shards, depth: 1, context_tokens: 32, train: {tokens: 2048, compile: "off"}}
  counts: {family: ngram, dataset: shards}
"""
PAIRS = """
name: p
sources: {notes: {reader: parallel, path: "*.de", target_path: "*.en"}}
corpora: {notes: {sources: {notes: 1.0}}}
tokenizers: {de: {corpus: notes, vocab_size: 400}, en: {corpus: notes, vocab_size: 300}}
datasets: {pairs: {corpus: notes, tokenizer: de, target_tokenizer: en, task: translation}}
models:
  mt: {family: seq2seq_transformer, dataset: pairs, depth: 1, width: 16, num_heads: 1, feed_forward_width: 16, context_tokens: 32,
       train: {tokens: 2048}}
"""


def test_check_model_prints_it_before_anything_is_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "p.yaml").write_text(PROJECT)

    def check(model: str) -> int:
        return main(["check", "--config", str(tmp_path / "p.yaml"), "--model", model])

    assert check("writer") == 0
    printed = capsys.readouterr().out
    assert "known once the dataset is built" in printed
    assert all(word in printed for word in ("parameters", "FLOPs", "memory", "process", "tokens/s", "time"))
    assert check("counts") == 1
    assert "counted in one pass" in capsys.readouterr().err
    assert check("wrter") == 1
    assert "It has counts, writer" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_check_model_knows_the_vocabulary_of_each_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.yaml").write_text(PAIRS)
    assert main(["check", "--config", str(tmp_path / "p.yaml"), "--model", "mt"]) == 0
    # an encoder layer 4 d^2 + 3 d f, a decoder layer 8 d^2 + 3 d f, tables of 400 and 300, norms 5 d + 6 d + 2 d
    assert f"{18 * 16**2 + 700 * 16 + 13 * 16:,}" in capsys.readouterr().out
