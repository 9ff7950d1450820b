"""Pairs small enough to train on many times: a target is its source backwards."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_run import spec_of

from pipeline.models.recurrent.shape import derive_recurrent_shape
from pipeline.models.seq2seq_rnn.shape import derive_seq2seq_rnn_shape
from pipeline.models.seq2seq_transformer.shape import derive_seq2seq_transformer_shape
from pipeline.shards.format import ShardWriter
from pipeline.training.spec import TrainingSpec

BOS, EOS = 2, 3
PREFIX, MIDDLE = (4,), (5,)


def write_pairs(folder: Path, data: Path, pairs: dict[str, list[tuple[list[int], list[int]]]]) -> Path:
    """Shards of pairs with the tokenizer of `data`, whose special ids they share."""
    index = json.loads((data / "shards.json").read_text())
    identity = {key: index[key] for key in ("vocab_size", "tokenizer_hash", "bos_id", "eos_id", "pad_id")}
    files: dict[str, dict[str, list[str]]] = {}
    for split, rows in pairs.items():
        files[split] = {}
        for number, side in enumerate(("source", "target")):
            name = f"{split}-00000.{side}.tokens"
            writer = ShardWriter(
                folder / name, vocab_size=identity["vocab_size"], tokenizer_hash=identity["tokenizer_hash"]
            )
            for pair in rows:
                writer.add(np.array([BOS, *pair[number], EOS]))
            writer.close()
            files[split][side] = [name]
    template = {"prefix_ids": list(PREFIX), "middle_ids": list(MIDDLE)}
    words = {"task": "translation", "keep_source": "beginning", "template": template}
    (folder / "pairs.json").write_text(json.dumps({**words, "source": identity, "target": identity, "files": files}))
    return folder


def reversals(count: int, *, vocab_size: int, seed: int) -> list[tuple[list[int], list[int]]]:
    rng = np.random.default_rng(seed)
    sources = [rng.integers(6, vocab_size, size=rng.integers(1, 6)).tolist() for _ in range(count)]
    return [(source, source[::-1]) for source in sources]


@pytest.fixture(scope="session")
def tiny_pairs(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    vocab_size = json.loads((tiny_data / "shards.json").read_text())["vocab_size"]
    pairs = {
        "train": reversals(200, vocab_size=vocab_size, seed=0),
        "validation": reversals(40, vocab_size=vocab_size, seed=1),
    }
    return write_pairs(tmp_path_factory.mktemp("pairs"), tiny_data, pairs)


def pair_spec(data: Path, pairs: Path, folder: Path, *, family: str, **changes: Any) -> TrainingSpec:
    """Batches of at most 160 tokens: an epoch is about 13 steps, of which two micro-batches each."""
    vocab_size = json.loads((data / "shards.json").read_text())["vocab_size"]
    sizes: dict[str, Any] = {"context_tokens": 16, "depth": 1, **changes.pop("sizes", {})}
    if family == "seq2seq_transformer":
        settings = {"width": 32, "num_heads": 2, "source_vocab_size": vocab_size, **sizes}
        shape: Any = derive_seq2seq_transformer_shape(vocab_size=vocab_size, **settings)
    elif family == "seq2seq_rnn":
        settings = {"width": 32, "embedding_width": 16, "cell": "gru", "source_vocab_size": vocab_size, **sizes}
        shape = derive_seq2seq_rnn_shape(vocab_size=vocab_size, **settings)
    else:
        shape = derive_recurrent_shape(cell=family, vocab_size=vocab_size, **{"width": 32, **sizes})
    settings = {"family": family, "shape": asdict(shape), "shards_folder": str(pairs), "num_steps": 30}
    settings |= {"batch_windows": 10, "micro_windows": 3, "validation_windows": 20, "checkpoint_every_steps": None}
    return spec_of(data, folder, **{**settings, **changes})
