"""A chain that is trained once, and a test's own storage and registry."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiny_chain import make_registered

from pipeline.artifacts import Artifact, ArtifactStore
from pipeline.registry import aliases

STEPS = {"random": 0, "fair": 40, "good": 120}


@dataclass
class Chain:
    """What is trained once for all tests; registered in each test's own storage."""

    store: ArtifactStore
    corpus: Artifact
    tokenizer: Artifact
    shards: Artifact
    models: dict[str, Artifact]
    evaluations: dict[str, Artifact]


@dataclass
class Project:
    """One test's storage and registry."""

    chain: Chain
    storage: Path
    uri: str

    def register(self, name: str, *, storage: Path | None = None, **words: Any) -> Artifact:
        chain = self.chain
        store = ArtifactStore(storage or self.storage)
        return make_registered(store, chain.evaluations[name], chain.models[name], chain.corpus, chain.shards, **words)

    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.uri, self.uri)

    def champion(self, name: str = "gpt") -> str | None:
        return aliases.holder(self.client(), name)


def decision_of(artifact: Artifact) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(artifact.file("decision.json").read_text())
    return found
