"""Corpora of pairs and shards of them, made up in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.artifacts import Artifact, ArtifactStore, Report
from pipeline.config import DatasetConfig, TokenizerConfig
from pipeline.files import write_parquet
from pipeline.progress import SilentProgress
from pipeline.shards.pair_build import build_pair_shards
from pipeline.tokenizer.build import build_tokenizer
from pipeline.tokenizer.model import Tokenizer

_WORDS: dict[str, Any] = {"code_version": "1", "inputs": {}, "literals": {}}
Pair = tuple[str, str | None]

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
ZAHLEN = ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"]


def spelled(number: int, words: list[str]) -> str:
    return " ".join(words[int(digit)] for digit in str(number))


def number_pairs(start: int, stop: int) -> list[Pair]:
    """English and German numbers, digit by digit: of one to several words."""
    return [(spelled(number, NUMBERS), spelled(number, ZAHLEN)) for number in range(start, stop)]


def default_pairs() -> dict[str, list[Pair]]:
    return {"train": number_pairs(0, 400), "validation": number_pairs(1000, 1020), "test": number_pairs(2000, 2010)}


def pair_corpus(store: ArtifactStore, pairs: dict[str, list[Pair]]) -> Artifact:
    with store.draft(stage="corpus", name="c", version="v", **_WORDS) as draft:
        splits = {}
        for split, rows in pairs.items():
            texts, targets = [text for text, _ in rows], [target for _, target in rows]
            table = {
                "id": [f"{split}-{number}" for number in range(len(rows))],
                "source": ["numbers"] * len(rows),
                "text": pa.array(texts, pa.large_string()),
                "num_bytes": [len(text.encode()) for text in texts],
                "target": pa.array(targets, pa.large_string()),
                "repeats": [1] * len(rows),
            }
            write_parquet(draft.path(f"documents/{split}.parquet"), pa.table(table))
            splits[split] = {"documents": len(rows), "bytes": sum(len(text.encode()) for text in texts)}
        return draft.commit(counts={"splits": splits}, report=Report())


def tokenizer_of(store: ArtifactStore, corpus: Artifact, name: str, **settings: Any) -> Artifact:
    with store.draft(stage="tokenizer", name=name, version="v", **_WORDS) as draft:
        config = TokenizerConfig(corpus="c", **{"vocab_size": 300, **settings})
        return build_tokenizer(draft, config=config, corpus=corpus, progress=SilentProgress())


def pair_shards(
    folder: Path,
    pairs: dict[str, list[Pair]] | None = None,
    *,
    separate: bool = False,
    num_workers: int = 1,
    **settings: Any,
) -> tuple[Artifact, Tokenizer, Tokenizer]:
    """Shards of the pairs, with the tokenizers of sources and targets (the same one unless `separate`)."""
    store = ArtifactStore(folder)
    corpus = pair_corpus(store, pairs or default_pairs())
    source = tokenizer_of(store, corpus, "t", learns_from="text" if separate else "both")
    target = tokenizer_of(store, corpus, "u", learns_from="target", vocab_size=290) if separate else None
    changes = {"task": "translation", **settings, **({"target_tokenizer": "u"} if separate else {})}
    with store.draft(stage="token_shards", name="d", version="v", **_WORDS) as draft:
        shards = build_pair_shards(
            draft,
            config=DatasetConfig(corpus="c", tokenizer="t", **changes),
            corpus=corpus,
            tokenizer=source,
            target_tokenizer=target,
            num_workers=num_workers,
            progress=SilentProgress(),
        )
    of_source = Tokenizer.load(source.file("tokenizer.model"))
    return shards, of_source, Tokenizer.load((target or source).file("tokenizer.model"))
