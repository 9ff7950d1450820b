"""A chain of pairs small enough for a test: numbers in English words, and the same in German."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import tiny_chain
import torch
from tiny_chain import commit, make_tokenizer

from pipeline.artifacts import Artifact, ArtifactStore, Report
from pipeline.config import DatasetConfig
from pipeline.files import write_json, write_parquet
from pipeline.models.transformer.model import TransformerModel
from pipeline.models.transformer.network import Transformer
from pipeline.models.transformer.shape import derive_shape
from pipeline.progress import SilentProgress
from pipeline.records import CORPUS_SCHEMA, SPLITS, document_id
from pipeline.shards.pair_batches import PromptLoader
from pipeline.shards.pair_build import build_pair_shards
from pipeline.tokenizer.model import Tokenizer

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
ZAHLEN = ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"]
CONTEXT_TOKENS = 64


def spelled(number: int, words: list[str]) -> str:
    return " ".join(words[int(digit)] for digit in str(number))


def number_pairs(start: int, stop: int) -> list[tuple[str, str]]:
    return [(spelled(number, NUMBERS), spelled(number, ZAHLEN)) for number in range(start, stop)]


def make_pair_corpus(store: ArtifactStore) -> Artifact:
    pairs = {"train": number_pairs(0, 600), "validation": number_pairs(600, 620), "test": number_pairs(700, 740)}

    def build(draft: Any) -> Artifact:
        counts = {}
        for split in SPLITS:
            rows = []
            for number, (text, target) in enumerate(pairs[split]):
                identity = document_id(text, target)
                row = tiny_chain._row(text, split, number)
                rows.append({**row, "id": identity, "text_hash": identity, "target": target})
            rows.sort(key=lambda row: row["id"])
            write_parquet(draft.path(f"documents/{split}.parquet"), pa.Table.from_pylist(rows, schema=CORPUS_SCHEMA))
            counts[split] = {"documents": len(rows), "bytes": sum(row["num_bytes"] for row in rows)}
        return draft.commit(counts={"splits": counts}, report=Report())

    return commit(store, stage="corpus", name="numbers", literals={"pairs": 1}, inputs={}, build=build)


def make_pair_shards(store: ArtifactStore, corpus: Artifact, tokenizer: Artifact) -> Artifact:
    config = DatasetConfig(corpus=corpus.ref.name, tokenizer=tokenizer.ref.name, task="translation")
    return commit(
        store,
        stage="token_shards",
        name="numbers",
        literals=config.literals(),
        inputs={"corpus": corpus, "tokenizer": tokenizer},
        build=lambda draft: build_pair_shards(
            draft, config=config, corpus=corpus, tokenizer=tokenizer, num_workers=1, progress=SilentProgress()
        ),
    )


def make_pair_model(
    store: ArtifactStore, shards: Artifact, tokenizer: Artifact, *, num_steps: int, name: str = "translator"
) -> Artifact:
    """A decoder alone that learnt to translate through the template for so many steps."""

    def build(draft: Any) -> Artifact:
        pieces = Tokenizer.load(tokenizer.file("tokenizer.model"))
        shape = derive_shape(
            vocab_size=pieces.vocab_size, context_tokens=CONTEXT_TOKENS, depth=2, width=64, num_heads=2
        )
        network = Transformer(shape)
        network.initialise(0)
        _train(network, shards, num_steps=num_steps)
        model = TransformerModel(
            network, tokenizer_hash=pieces.hash, bos_id=pieces.bos_id, eos_id=pieces.eos_id, pad_id=pieces.pad_id
        )
        model.save(draft.path("model/model.safetensors").parent)
        draft.path("model/tokenizer.model").write_bytes(tokenizer.file("tokenizer.model").read_bytes())
        history = {"tokens": [1, 2], "train_loss": [3.0, 2.0], "validation_loss": pa.array([None, 2.0], pa.float64())}
        write_parquet(draft.path("history.parquet"), pa.table(history))
        write_json(draft.path("training.json"), {"steps": num_steps})
        counts = {"num_parameters": model.num_parameters, "tokens": 512 * num_steps, "steps": num_steps}
        return draft.commit(counts=counts, report=Report(notes=[f"Trained for {num_steps} steps alone."]))

    literals = {"family": "transformer", "num_steps": num_steps}
    inputs = {"shards": shards, "tokenizer": tokenizer}
    return commit(store, stage="trained_model", name=name, literals=literals, inputs=inputs, build=build)


def _train(network: Transformer, shards: Artifact, *, num_steps: int) -> None:
    folder = shards.file("pairs.json").parent
    loader = PromptLoader(folder, split="train", batch_tokens=512, seed=0, context_tokens=CONTEXT_TOKENS)
    optimizer = torch.optim.Adam(network.parameters(), lr=4e-3)
    for step in range(num_steps):
        batch = loader.batch(step)
        loss = network(torch.from_numpy(batch.token_ids), torch.from_numpy(batch.targets))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def pair_chain_of(folder: Path) -> tuple[ArtifactStore, Artifact, Artifact, Artifact]:
    """Store, corpus, tokenizer and shards of the numbers."""
    torch.set_num_threads(1)
    store = ArtifactStore(folder)
    corpus = make_pair_corpus(store)
    tokenizer = make_tokenizer(store, corpus, vocab_size=320)
    return store, corpus, tokenizer, make_pair_shards(store, corpus, tokenizer)
