"""An evaluation with a cache states both figures, and those of the model alone are as without it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import small_models
import torch
from tiny_chain import commit, default_texts, make_corpus, make_evaluation, make_shards, make_tokenizer

from pipeline.artifacts import Artifact, ArtifactStore, Report
from pipeline.config.training import EvaluateConfig
from pipeline.files import write_parquet
from pipeline.models.recurrent.cache import CachedScorer
from pipeline.tokenizer.model import Tokenizer

CACHE = {"tokens": 40, "theta": 0.5, "weight": 0.4}
SETTINGS: dict[str, Any] = {"num_samples": 1, "sample_tokens": 5}


def model_artifact(store: ArtifactStore, tokenizer: Artifact, shards: Artifact) -> Artifact:
    """An LSTM as the training stage leaves it, with random weights."""
    file = tokenizer.file("tokenizer.model")

    def build(draft: Any) -> Artifact:
        model = small_models.lstm(Tokenizer.load(file))
        folder = draft.path("model/x").parent
        model.save(folder)
        (folder / "tokenizer.model").write_bytes(file.read_bytes())
        history = {"step": [1], "tokens": [10], "train_loss": [5.0], "validation_loss": [5.0]}
        write_parquet(draft.path("history.parquet"), pa.table(history))
        counts = {"num_parameters": model.num_parameters, "tokens": 10, "steps": 1}
        return draft.commit(counts=counts, report=Report())

    inputs = {"tokenizer": tokenizer, "shards": shards}
    return commit(store, stage="trained_model", name="lstm", literals={}, inputs=inputs, build=build)


def test_figures_with_and_without_a_cache_stand_side_by_side(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    corpus = make_corpus(store)
    tokenizer = make_tokenizer(store, corpus)
    shards = make_shards(store, corpus, tokenizer)
    model = model_artifact(store, tokenizer, shards)
    plain, cached = (
        make_evaluation(store, model, corpus, shards, EvaluateConfig(**SETTINGS, cache=cache))
        for cache in (None, CACHE)
    )
    counts = dict(cached.manifest.counts)
    known = dict(plain.manifest.counts)
    assert {key: counts[key] for key in known} == known
    assert {key.removeprefix("cached_") for key in counts.keys() - known.keys()} < known.keys()
    loaded = Tokenizer.load(tokenizer.file("tokenizer.model"))
    scorer = CachedScorer(small_models.lstm(loaded), num_tokens=40, theta=0.5, weight=0.4)
    texts = default_texts()["test"]
    rows = [torch.tensor([[loaded.bos_id, *loaded.encode(text)]]) for text in texts]
    bits = [float(scorer.score(row).log_probabilities.double().sum()) / -np.log(2) for row in rows]
    expected = sum(bits) / sum(len(text.encode()) for text in texts)
    assert counts["cached_bits_per_byte"] == pytest.approx(expected, rel=1e-5)
    assert counts["cached_bits_per_byte"] < counts["bits_per_byte"] - 0.1  # few words, and a model that knows none
    metrics = json.loads(cached.file("metrics.json").read_text())
    saved = metrics["cache"]["saved_bits_per_byte"]
    assert saved["value"] == pytest.approx(counts["bits_per_byte"] - expected, rel=1e-5)
    assert 0 < saved["low"] < saved["value"] < saved["high"]
    assert metrics["cache"]["settings"] == CACHE
    assert metrics["cache"]["sources"].keys() == metrics["sources"].keys()
    assert json.loads(plain.file("metrics.json").read_text())["cache"] is None
    page = cached.file("report.html").read_text()
    assert "With a cache" in page and f"{counts['cached_bits_per_byte']:.3f}" in page
    assert f"{expected:.4f} bits per byte; without it {counts['bits_per_byte']:.4f}" in page
    assert "With a cache" not in plain.file("report.html").read_text()
