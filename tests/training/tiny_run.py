"""A training run small enough to repeat many times."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece

from pipeline.errors import TrainingInterrupted
from pipeline.models.recurrent.shape import derive_recurrent_shape
from pipeline.models.transformer.shape import derive_shape
from pipeline.shards.format import ShardWriter
from pipeline.tokenizer.model import Tokenizer
from pipeline.training.spec import TrainingSpec
from pipeline.training.stopping import StopRequest
from pipeline.training.trainer import Trainer

TEXT = "the cat sat on the mat and the dog sat on the log while the moon rose over the hill\n"


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `write_tiny_data` wrote."""
    return write_tiny_data(tmp_path_factory.mktemp("data"))


def write_tiny_data(folder: Path) -> Path:
    """Shards of random walks over a small vocabulary, and the tokenizer they claim to come from; returns the folder."""
    with (folder / "tokenizer.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter([TEXT] * 50),
            model_writer=file,
            model_type="char",
            vocab_size=40,
            hard_vocab_limit=False,
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            minloglevel=2,
        )
    tokenizer = Tokenizer.load(folder / "tokenizer.model")
    rng = np.random.default_rng(0)
    files = {}
    for split, size in (("train", 3000), ("validation", 400)):
        steps = rng.choice([1, 2, 3], p=[0.8, 0.1, 0.1], size=size)
        tokens = np.cumsum(steps) % (tokenizer.vocab_size - 4) + 4
        writer = ShardWriter(
            folder / f"{split}-00000.tokens", vocab_size=tokenizer.vocab_size, tokenizer_hash=tokenizer.hash
        )
        writer.add(tokens)
        writer.close()
        files[split] = [f"{split}-00000.tokens"]
    index = {
        "vocab_size": tokenizer.vocab_size,
        "tokenizer_hash": tokenizer.hash,
        "bos_id": 2,
        "eos_id": 3,
        "pad_id": 0,
    }
    (folder / "shards.json").write_text(json.dumps({**index, "files": files}))
    return folder


def spec_of(data: Path, folder: Path, **changes: Any) -> TrainingSpec:
    """A run of 12 steps of two micro-batches; an epoch is about 5.8 steps, so steps cross epochs."""
    vocab_size = json.loads((data / "shards.json").read_text())["vocab_size"]
    shape = derive_shape(vocab_size=vocab_size, context_tokens=32, depth=1, width=16, num_heads=2)
    (folder / "output").mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "name": "tiny",
        "version": "v1",
        "shards_folder": str(data),
        "tokenizer_file": str(data / "tokenizer.model"),
        "output_folder": str(folder / "output"),
        "checkpoint_folder": str(folder / "checkpoints"),
        "spool_folder": str(folder / "spool"),
        "family": "transformer",
        "shape": asdict(shape),
        "start_folder": None,
        "started_from": None,
        "freeze": [],
        "lora": None,
        "num_steps": 12,
        "batch_windows": 16,
        "batch_warmup_steps": 0,
        "packing": "stream",
        "loss_on": "targets",
        "attend": "window",
        "micro_windows": 8,
        "matrix_learning_rate": 0.02,
        "embedding_learning_rate": 0.1,
        "head_learning_rate": 0.02,
        "vector_learning_rate": 0.01,
        "weight_decay": 0.05,
        "cautious_weight_decay": False,
        "averaged_sgd": None,
        "ema_decay": None,
        "schedule": "wsd",
        "warmup_fraction": 0.1,
        "cooldown_fraction": 0.5,
        "gradient_clip": 1.0,
        "seed": 0,
        "precision": "float32",
        "compile": "off",
        "device": "cpu",
        "devices": 1,
        "strategy": "ddp",
        "validate_every_steps": 4,
        "validation_windows": 5,
        "log_every_steps": 3,
        "checkpoint_every_steps": 1,
        "checkpoint_every_seconds": 1e9,
        "keep_checkpoints": 2,
        "keep_every_steps": None,
        "keep_best_checkpoint": False,
        "result": "last",
        "profile_steps": None,
        "spike_sigma": 6.0,
        "max_skipped_steps": 5,
        "tracking": {"experiment": "test", "run_name": "tiny", "tags": {}, "inputs": []},
    }
    return TrainingSpec(**{**settings, **changes})


def interrupt(spec: TrainingSpec, ask: int) -> None:
    """Trains until the run asks whether to stop for the `ask`-th time, from 0, and is told to: between steps, in the middle of
    one, or in validation."""
    asked = iter(range(10**6))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopRequest, "reason", property(lambda self: "was told" if next(asked) == ask else None))
        with pytest.raises(TrainingInterrupted):
            Trainer(spec, StopRequest()).run()


def odd(data: Path) -> dict[str, Any]:
    """Settings that two processes cannot halve: 17 rows, of which one has a micro-batch more, and matrices of 43 rows."""
    shape = derive_shape(
        vocab_size=json.loads((data / "shards.json").read_text())["vocab_size"],
        context_tokens=32,
        depth=2,
        width=16,
        num_heads=2,
        feed_forward_width=43,
    )
    return {"shape": asdict(shape), "batch_windows": 17, "micro_windows": 4}


def lstm(data: Path) -> dict[str, Any]:
    """A recurrent network with tied tables."""
    shape = derive_recurrent_shape(
        cell="lstm",
        vocab_size=json.loads((data / "shards.json").read_text())["vocab_size"],
        context_tokens=32,
        depth=1,
        width=16,
        tie_embeddings=True,
    )
    return {"family": "lstm", "shape": asdict(shape)}


def averaged(data: Path, *, learning_rate: float) -> dict[str, Any]:
    """The same network by averaged gradient descent, validated at every step and soon out of patience."""
    rule = {"learning_rate": learning_rate, "gradient_clip": 0.25, "weight_decay": 0.01, "patience": 1}
    constant = {"warmup_fraction": 0.0, "cooldown_fraction": 0.0, "gradient_clip": 0.25}
    checks = {"validate_every_steps": 1, "validation_windows": 2, "checkpoint_every_steps": None}
    return {**lstm(data), "averaged_sgd": rule, **constant, **checks}
