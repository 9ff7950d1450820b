"""Models that are trained once for all tests, and each test's own registry."""

from __future__ import annotations

from pathlib import Path

import pytest
from registered import STEPS, Chain, Project
from tiny_chain import chain_of, make_evaluation, make_model


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    store, corpus, tokenizer, shards = chain_of(tmp_path_factory.mktemp("chain"))
    models = {name: make_model(store, shards, tokenizer, num_steps=steps) for name, steps in STEPS.items()}
    evaluations = {name: make_evaluation(store, model, corpus, shards) for name, model in models.items()}
    return Chain(store, corpus, tokenizer, shards, models, evaluations)


@pytest.fixture
def project(chain: Chain, tmp_path: Path, tracking: str, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)  # of every storage folder of the test
    return Project(chain, tmp_path / "data", tracking)
