"""A chain small enough for a test: a made-up language, its tokenizer and shards, and Transformers trained for seconds.

Every artifact is real (the stages' own builders, or their file layout), so what reads them is tested as it runs.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from pipeline.artifacts import Artifact, ArtifactStore, Report
from pipeline.config.data import DatasetConfig, TokenizerConfig
from pipeline.config.training import EvaluateConfig, PromoteConfig
from pipeline.evaluation.build import build_evaluation
from pipeline.files import fingerprint, write_json, write_parquet
from pipeline.models.transformer.model import TransformerModel
from pipeline.models.transformer.network import Transformer
from pipeline.models.transformer.shape import derive_shape
from pipeline.progress import SilentProgress
from pipeline.records import CORPUS_SCHEMA, SPLITS, document_id
from pipeline.shards.build import build_token_shards
from pipeline.shards.loader import TokenLoader
from pipeline.tokenizer.build import build_tokenizer
from pipeline.tokenizer.model import Tokenizer

CONTEXT_TOKENS = 32


def sentences(seed: int, *, count: int) -> str:
    """Text of a tiny grammar: `the red fox sees a small door. `"""
    draw = random.Random(seed)  # noqa: S311 - a fixed text, not a secret
    nouns, verbs = ["fox", "door", "river", "lamp", "child", "song"], ["sees", "opens", "follows", "hears"]
    adjectives = ["red", "small", "old", "quiet"]

    def noun() -> str:
        return f"{draw.choice(['the', 'a'])} {draw.choice(adjectives)} {draw.choice(nouns)}"

    return " ".join(f"{noun()} {draw.choice(verbs)} {noun()}." for _ in range(count))


def default_texts() -> dict[str, list[str]]:
    """Split -> documents; two sources by turns."""
    return {
        "train": [sentences(number, count=12) for number in range(150)],
        "validation": [sentences(1_000 + number, count=4) for number in range(10)],
        "test": [sentences(2_000 + number, count=4 + number % 9) for number in range(30)],
    }


def commit(
    store: ArtifactStore,
    *,
    stage: str,
    name: str,
    literals: Mapping[str, Any],
    inputs: Mapping[str, Artifact],
    build: Any,
) -> Artifact:
    """What `find_or_build` does, without a project file."""
    refs = {role: artifact.ref for role, artifact in inputs.items()}
    content = {role: ref.content_hash for role, ref in refs.items()}
    version = fingerprint([stage, dict(literals), content])
    found = store.find(stage, name, version)
    if found is not None:
        return found
    with store.draft(
        stage=stage, name=name, version=version, code_version="test", literals=literals, inputs=refs
    ) as draft:
        artifact: Artifact = build(draft)
    store.set_current(artifact)
    return artifact


def make_corpus(store: ArtifactStore, texts: dict[str, list[str]] | None = None, *, name: str = "made_up") -> Artifact:
    """A corpus artifact of these texts."""
    texts = texts or default_texts()

    def build(draft: Any) -> Artifact:
        counts = {}
        for split in SPLITS:
            rows = [_row(text, split, number) for number, text in enumerate(texts[split])]
            rows.sort(key=lambda row: row["id"])
            write_parquet(draft.path(f"documents/{split}.parquet"), pa.Table.from_pylist(rows, schema=CORPUS_SCHEMA))
            counts[split] = {"documents": len(rows), "bytes": sum(row["num_bytes"] for row in rows)}
        return draft.commit(counts={"splits": counts}, report=Report())

    literals = {"texts": fingerprint(texts), "sources": {"left": 1.0, "right": 1.0}}
    return commit(store, stage="corpus", name=name, literals=literals, inputs={}, build=build)


def _row(text: str, split: str, number: int) -> dict[str, Any]:
    identity = document_id(text)
    return {
        "id": identity,
        "source": "left" if number % 2 else "right",
        "path": "x.txt",
        "index": number,
        "title": None,
        "text": text,
        "num_bytes": len(text.encode()),
        "raw_bytes": len(text.encode()),
        "text_hash": identity,
        "language": "en",
        "language_confidence": 1.0,
        "num_characters": len(text),
        "num_words": len(text.split()),
        "num_lines": 1,
        "letter_fraction": 0.8,
        "duplicate_line_fraction": 0.0,
        "repaired": False,
        "cluster_id": identity,
        "cluster_size": 1,
        "split": split,
        "repeats": 1,
    }


def make_tokenizer(store: ArtifactStore, corpus: Artifact, *, vocab_size: int = 330) -> Artifact:
    config = TokenizerConfig(corpus=corpus.ref.name, vocab_size=vocab_size)
    return commit(
        store,
        stage="tokenizer",
        name="pieces",
        literals=config.literals(),
        inputs={"corpus": corpus},
        build=lambda draft: build_tokenizer(draft, config=config, corpus=corpus, progress=SilentProgress()),
    )


def make_shards(store: ArtifactStore, corpus: Artifact, tokenizer: Artifact) -> Artifact:
    config = DatasetConfig(corpus=corpus.ref.name, tokenizer=tokenizer.ref.name)
    return commit(
        store,
        stage="token_shards",
        name="tokens",
        literals=config.literals(),
        inputs={"corpus": corpus, "tokenizer": tokenizer},
        build=lambda draft: build_token_shards(
            draft, config=config, corpus=corpus, tokenizer=tokenizer, num_workers=1, progress=SilentProgress()
        ),
    )


def make_model(
    store: ArtifactStore, shards: Artifact, tokenizer: Artifact, *, num_steps: int, name: str = "gpt", seed: int = 0
) -> Artifact:
    """A Transformer of one layer after so many steps of Adam; 0 steps leave it random."""

    def build(draft: Any) -> Artifact:
        pieces = Tokenizer.load(tokenizer.file("tokenizer.model"))
        shape = derive_shape(
            vocab_size=pieces.vocab_size, context_tokens=CONTEXT_TOKENS, depth=1, width=32, num_heads=2
        )
        network = Transformer(shape)
        network.initialise(seed)
        losses = _train(network, shards, num_steps=num_steps, seed=seed)
        model = TransformerModel(
            network, tokenizer_hash=pieces.hash, bos_id=pieces.bos_id, eos_id=pieces.eos_id, pad_id=pieces.pad_id
        )
        model.save(draft.path("model/model.safetensors").parent)
        draft.path("model/tokenizer.model").write_bytes(tokenizer.file("tokenizer.model").read_bytes())
        steps = max(num_steps, 1)
        history = {
            "step": np.arange(steps),
            "tokens": np.arange(steps) * 512,
            "train_loss": np.array(losses or [5.0]),
            "validation_loss": pa.array([None] * (steps - 1) + [2.0], pa.float64()),
            "gradient_norm": np.ones(steps),
            "learning_rate_scale": np.ones(steps),
        }
        write_parquet(draft.path("history.parquet"), pa.table(history))
        write_json(draft.path("training.json"), {"steps": num_steps})
        counts = {
            "num_parameters": model.num_parameters,
            "tokens": 512 * num_steps,
            "steps": num_steps,
            "device": "cpu",
        }
        return draft.commit(counts=counts, report=Report())

    literals = {"family": "transformer", "num_steps": num_steps, "seed": seed}
    inputs = {"shards": shards, "tokenizer": tokenizer}
    return commit(store, stage="trained_model", name=name, literals=literals, inputs=inputs, build=build)


def _train(network: Transformer, shards: Artifact, *, num_steps: int, seed: int) -> list[float]:
    folder = shards.file("token_counts.parquet").parent
    loader = TokenLoader(folder, split="train", context_tokens=CONTEXT_TOKENS, seed=seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for step in range(num_steps):
        batch = torch.from_numpy(np.asarray(loader.batch(16 * step, 16), dtype=np.int64))
        hidden = network.hidden(batch[:, :-1])
        logits = network.logits(hidden)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def make_evaluation(
    store: ArtifactStore, model: Artifact, corpus: Artifact, shards: Artifact, config: EvaluateConfig | None = None
) -> Artifact:
    config = config or EvaluateConfig(num_samples=2, sample_tokens=12)
    return commit(
        store,
        stage="evaluation",
        name=model.ref.name,
        literals=config.literals(),
        inputs={"model": model, "corpus": corpus, "shards": shards},
        build=lambda draft: build_evaluation(
            draft,
            name=model.ref.name,
            config=config,
            model=model,
            corpus=corpus,
            shards=shards,
            progress=SilentProgress(),
        ),
    )


def make_registered(
    store: ArtifactStore,
    evaluation: Artifact,
    model: Artifact,
    corpus: Artifact,
    shards: Artifact,
    *,
    config: PromoteConfig | None = None,
    baseline: Artifact | None = None,
) -> Artifact:
    from pipeline.registry.build import build_registered_model

    config = config or PromoteConfig(num_resamples=500)
    inputs = {"evaluation": evaluation, "model": model, "corpus": corpus, "shards": shards}
    return commit(
        store,
        stage="registered_model",
        name=model.ref.name,
        literals=config.literals(),
        inputs=inputs,
        build=lambda draft: build_registered_model(
            draft,
            name=model.ref.name,
            config=config,
            evaluation=evaluation,
            model=model,
            corpus=corpus,
            shards=shards,
            baseline=baseline,
            storage=store.root,
            lineage_tags={"dagster_run_id": "run-1", "textmill.project": "tiny"},
            progress=SilentProgress(),
        ),
    )


def chain_of(folder: Path) -> tuple[ArtifactStore, Artifact, Artifact, Artifact]:
    """Store, corpus, tokenizer and shards of the made-up language."""
    torch.set_num_threads(1)  # matrices this small lose by more
    store = ArtifactStore(folder)
    corpus = make_corpus(store)
    tokenizer = make_tokenizer(store, corpus)
    return store, corpus, tokenizer, make_shards(store, corpus, tokenizer)
