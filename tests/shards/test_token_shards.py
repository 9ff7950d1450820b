"""Shards hold every token once, in an order that can be entered anywhere; damage is refused."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.artifacts import Artifact, ArtifactStore, Report
from pipeline.config import DatasetConfig, TokenizerConfig
from pipeline.errors import ArtifactDamaged, ConfigurationError
from pipeline.files import write_parquet
from pipeline.progress import SilentProgress
from pipeline.shards.build import build_token_shards
from pipeline.shards.format import HEADER_BYTES, ShardWriter, map_tokens, read_header, read_offsets
from pipeline.shards.loader import TokenLoader
from pipeline.shards.reader import TokenShards
from pipeline.shards.shuffle import permute
from pipeline.tokenizer.build import build_tokenizer
from pipeline.tokenizer.model import Tokenizer

WORDS: dict[str, Any] = {"code_version": "1", "inputs": {}}
TEXTS = {
    "train": [f"Document {number} says: the cat sat on mat {number * number}." for number in range(120)],
    "validation": ["The validation cat.", "Another one."],
    "test": ["The test cat."],
}


def corpus_of(store: ArtifactStore, repeats: dict[str, list[int]]) -> Artifact:
    """Sources by turns; a source's documents repeat by turns as often as its list says."""
    with store.draft(stage="corpus", name="c", version="v", literals={}, **WORDS) as draft:
        splits = {}
        for split, texts in TEXTS.items():
            sources = list(repeats)
            turns = [repeats[sources[number % len(sources)]] for number in range(len(texts))]
            rows = {
                "id": [f"{split}-{number}" for number in range(len(texts))],
                "source": [sources[number % len(sources)] for number in range(len(texts))],
                "text": pa.array(texts, pa.large_string()),
                "num_bytes": [len(text.encode()) for text in texts],
                "repeats": [turn[number // len(sources) % len(turn)] for number, turn in enumerate(turns)],
            }
            write_parquet(draft.path(f"documents/{split}.parquet"), pa.table(rows))
            splits[split] = {"documents": len(texts), "bytes": sum(map(len, texts))}
        return draft.commit(counts={"splits": splits}, report=Report())


def shards_of(
    folder: Path, *, repeats: dict[str, list[int]] | None = None, num_workers: int = 1, **settings: Any
) -> tuple[Artifact, Tokenizer]:
    store = ArtifactStore(folder)
    corpus = corpus_of(store, repeats or {"a": [1]})
    with store.draft(stage="tokenizer", name="t", version="v", literals={}, **WORDS) as draft:
        config = TokenizerConfig(corpus="c", vocab_size=300)
        tokenizer = build_tokenizer(draft, config=config, corpus=corpus, progress=SilentProgress())
    with store.draft(stage="token_shards", name="d", version="v", literals={}, **WORDS) as draft:
        config_ = DatasetConfig(corpus="c", tokenizer="t", **settings)
        shards = build_token_shards(
            draft,
            config=config_,
            corpus=corpus,
            tokenizer=tokenizer,
            num_workers=num_workers,
            progress=SilentProgress(),
        )
    return shards, Tokenizer.load(tokenizer.file("tokenizer.model"))


def stream(artifact: Artifact, split: str) -> list[int]:
    return np.concatenate(TokenShards(artifact.folder).tokens(split)).tolist()


def test_every_document_stands_between_bos_and_eos(tmp_path: Path) -> None:
    artifact, tokenizer = shards_of(tmp_path)
    for split, texts in TEXTS.items():
        expected = [token for text in texts for token in [2, *tokenizer.encode(text), 3]]
        assert stream(artifact, split) == expected
        assert artifact.manifest.counts["tokens"][split] == len(expected)


def test_the_documents_table_tells_where_each_one_lies(tmp_path: Path) -> None:
    artifact, tokenizer = shards_of(tmp_path, shard_tokens=1024)
    assert len(artifact.files("train-*.tokens")) > 1
    tokens = stream(artifact, "train")
    table = pq.read_table(artifact.file("train.documents.parquet")).to_pylist()
    assert [row["id"] for row in table] == [f"train-{number}" for number in range(120)]
    for row, text in zip(table, TEXTS["train"], strict=True):
        found = tokens[row["first_token"] : row["first_token"] + row["num_tokens"]]
        assert tokenizer.decode(found) == text
        assert row["num_bytes"] == len(text)
    header = read_header(artifact.files("train-*.tokens")[0])
    offsets = read_offsets(artifact.files("train-*.tokens")[0], header)
    assert offsets[: len(offsets) - 1].tolist() == [row["first_token"] for row in table[: header.num_documents]]


def test_counts_are_those_of_the_training_stream(tmp_path: Path) -> None:
    artifact, tokenizer = shards_of(tmp_path)
    counts = pq.read_table(artifact.file("token_counts.parquet"))["count"].to_numpy()
    assert counts.tolist() == np.bincount(stream(artifact, "train"), minlength=tokenizer.vocab_size).tolist()


def test_training_documents_stand_there_as_often_as_the_corpus_says_pass_after_pass(tmp_path: Path) -> None:
    artifact, _ = shards_of(tmp_path, repeats={"a": [2], "b": [0, 3]})
    table = pq.read_table(artifact.file("train.documents.parquet")).to_pylist()
    ids = [row["id"] for row in table if row["source"] == "a"]
    assert sorted(ids) == sorted([f"train-{number}" for number in range(0, 120, 2)] * 2)
    assert ids[:60] == ids[60:]
    thrice = [row["id"] for row in table if row["source"] == "b"]
    assert thrice == [f"train-{number}" for number in range(3, 120, 4)] * 3
    assert artifact.manifest.counts["documents"]["test"] == 1


def test_workers_change_no_byte(tmp_path: Path) -> None:
    first, _ = shards_of(tmp_path / "1", num_workers=1)
    second, _ = shards_of(tmp_path / "2", num_workers=2)
    assert first.ref.content_hash == second.ref.content_hash


def test_batches_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = shards_of(tmp_path / "1", repeats={"a": [1, 2], "b": [1]}, shard_tokens=1024)
    monkeypatch.setattr("pipeline.shards.build.BATCH_DOCUMENTS", 7)
    monkeypatch.setattr("pipeline.shards.build.BATCH_BYTES", 100)
    second, _ = shards_of(tmp_path / "2", repeats={"a": [1, 2], "b": [1]}, shard_tokens=1024)
    assert first.ref.content_hash == second.ref.content_hash


def test_shards_end_between_documents_and_a_long_document_has_one_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "The long cat. " * 600
    monkeypatch.setitem(TEXTS, "train", [TEXTS["train"][0], long, *TEXTS["train"][1:]])
    artifact, tokenizer = shards_of(tmp_path, shard_tokens=1024)
    sizes = []
    for path in artifact.files("train-*.tokens"):
        header = read_header(path)
        tokens, offsets = map_tokens(path, header), read_offsets(path, header)
        assert (tokens[offsets[:-1]] == tokenizer.bos_id).all()
        assert (tokens[offsets[1:] - 1] == tokenizer.eos_id).all()
        sizes.append(header.num_tokens)
    assert sizes[1] == len(tokenizer.encode(long)) + 2
    assert all(size <= 1024 for size in sizes[:1] + sizes[2:])
    expected = [token for text in TEXTS["train"] for token in [2, *tokenizer.encode(text), 3]]
    assert stream(artifact, "train") == expected


@pytest.mark.parametrize(("vocab_size", "token_bytes"), [(65536, 2), (65537, 4)])
def test_ids_take_two_bytes_where_they_fit(tmp_path: Path, vocab_size: int, token_bytes: int) -> None:
    writer = ShardWriter(tmp_path / "x.tokens", vocab_size=vocab_size, tokenizer_hash="0" * 64)
    writer.add(np.array([0, vocab_size - 1]))
    writer.close()
    header = read_header(tmp_path / "x.tokens")
    assert header.token_bytes == token_bytes
    assert map_tokens(tmp_path / "x.tokens", header).tolist() == [0, vocab_size - 1]


def test_an_id_outside_the_vocabulary_is_not_written(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "x.tokens", vocab_size=10, tokenizer_hash="0" * 64)
    with pytest.raises(ValueError, match="token id 10 is outside the vocabulary of 10"):
        writer.add(np.array([3, 10]))
    writer.abandon()
    with pytest.raises(ArtifactDamaged, match="is no token shard"):
        read_header(tmp_path / "x.tokens")


def test_damage_is_refused_in_one_sentence(tmp_path: Path) -> None:
    artifact, _ = shards_of(tmp_path)
    path = artifact.file("train-00000.tokens")
    whole = path.read_bytes()

    def damaged(data: bytes, sentence: str) -> None:
        path.write_bytes(data)
        with pytest.raises(ArtifactDamaged, match=sentence):
            TokenShards(artifact.folder)

    damaged(b"", "is no token shard")
    damaged(b"X" + whole[1:], "is no token shard")
    damaged(whole[:-1], "bytes where its header promises")
    damaged(whole + b"\0", "bytes where its header promises")
    damaged(whole[:8] + struct.pack("<I", 2) + whole[12:], "shard format 2/2, not 1")
    damaged(whole[:40] + b"f" * 64 + whole[104:], "made with another tokenizer")
    damaged(whole[:HEADER_BYTES] + b"\xff\xff" + whole[HEADER_BYTES + 2 :], "holds the token id 65535")
    path.unlink()
    with pytest.raises(ArtifactDamaged, match="is listed and not there"):
        TokenShards(artifact.folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"vocab_size": null}'])
def test_an_index_that_says_nothing_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "shards.json").write_text(text)
    with pytest.raises(ArtifactDamaged, match="holds no readable shards.json"):
        TokenShards(tmp_path)
    with pytest.raises(ArtifactDamaged, match="holds no readable shards.json"):
        TokenShards(tmp_path / "nowhere")


def test_offsets_that_do_not_cover_the_tokens_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tokens"
    writer = ShardWriter(path, vocab_size=10, tokenizer_hash="0" * 64)
    writer.add(np.arange(5), [2, 3])
    writer.close()
    header = read_header(path)
    assert read_offsets(path, header).tolist() == [0, 2, 5]
    path.write_bytes(path.read_bytes()[:-8] + struct.pack("<Q", 4))
    with pytest.raises(ArtifactDamaged, match="document offsets that do not cover its tokens"):
        read_offsets(path, header)


def test_a_shard_without_a_document_is_empty_and_an_empty_split_is_one_sentence(tmp_path: Path) -> None:
    ShardWriter(tmp_path / "x.tokens", vocab_size=10, tokenizer_hash="0" * 64).close()
    names = {"vocab_size": 10, "tokenizer_hash": "0" * 64, "bos_id": 2, "eos_id": 3, "pad_id": 0}
    (tmp_path / "shards.json").write_text(json.dumps({**names, "files": {"train": ["x.tokens"], "test": []}}))
    shards = TokenShards(tmp_path)
    assert (shards.num_tokens("train"), shards.num_tokens("test")) == (0, 0)
    with pytest.raises(ValueError, match="there is no split 'dev'; the shards hold train, test"):
        shards.num_tokens("dev")
    for split in ("train", "test"):
        with pytest.raises(ConfigurationError, match="has 0 tokens; one window of 8 needs 9"):
            TokenLoader(tmp_path, split=split, context_tokens=8, seed=0)


def test_the_reader_and_the_loader_run_where_only_numpy_is() -> None:
    missing = ["pyarrow", "sentencepiece", "pydantic", "duckdb", "matplotlib", "dagster", "mlflow", "torch"]
    program = f"import sys; sys.modules.update(dict.fromkeys({missing}))\nimport pipeline.shards.loader"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 4097])
def test_a_shuffle_is_a_bijection_that_differs_by_seed_and_epoch(size: int) -> None:
    everywhere = np.arange(size)
    orders = {}
    for seed, epoch in [(0, 0), (0, 1), (1, 0)]:
        order = permute(everywhere, size=size, seed=seed, epoch=epoch)
        assert sorted(order.tolist()) == everywhere.tolist()
        orders[seed, epoch] = order.tolist()
    if size >= 64:
        assert len({tuple(order) for order in orders.values()}) == 3
        assert abs(np.corrcoef(everywhere, orders[0, 0])[0, 1]) < 4 / size**0.5


@given(st.integers(1, 3000), st.integers(0, 2**63), st.integers(0, 10**6))
@settings(max_examples=50, deadline=None)
def test_a_shuffle_is_a_bijection_of_any_size(size: int, seed: int, epoch: int) -> None:
    order = permute(np.arange(size), size=size, seed=seed, epoch=epoch)
    assert np.array_equal(np.sort(order), np.arange(size))


def test_a_shuffle_of_a_trillion_windows_takes_no_memory() -> None:
    size = 10**12 + 7
    order = permute(np.arange(size - 10_000, size), size=size, seed=1, epoch=1)
    assert len(set(order.tolist())) == 10_000
    assert order.min() >= 0
    assert order.max() < size
    assert abs(order.mean() / size - 0.5) < 4 / (12 * 10_000) ** 0.5  # uniform: standard deviation 1 / sqrt(12 n)


def test_positions_are_independent_of_how_they_are_asked_for() -> None:
    whole = permute(np.arange(1000), size=1000, seed=5, epoch=2)
    assert permute(np.array([999, 3, 500]), size=1000, seed=5, epoch=2).tolist() == whole[[999, 3, 500]].tolist()


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """The stream 0, 1, 2, ..., 1036 over three shards."""
    tokens = np.arange(1037)
    names = []
    for number, part in enumerate(np.split(tokens, [333, 700])):
        names.append(f"train-{number:05d}.tokens")
        writer = ShardWriter(tmp_path / names[-1], vocab_size=2000, tokenizer_hash="0" * 64)
        writer.add(part)
        writer.close()
    index = {
        "vocab_size": 2000,
        "tokenizer_hash": "0" * 64,
        "bos_id": 2,
        "eos_id": 3,
        "pad_id": 0,
        "files": {"train": names},
    }
    (tmp_path / "shards.json").write_text(json.dumps(index))
    return tmp_path


def test_an_epoch_sees_every_window_once_also_across_shards(numbered: Path) -> None:
    loader = TokenLoader(numbered, split="train", context_tokens=10, seed=0)
    assert loader.num_windows == 103  # (1037 - 1) // 10
    for epoch in (0, 1):
        batch = loader.batch(epoch * 103, 103)
        assert sorted(batch[:, 0].tolist()) == list(range(0, 1030, 10))
        assert (np.diff(batch, axis=1) == 1).all()
    assert loader.batch(0, 103).tolist() != loader.batch(103, 103).tolist()
    assert loader.in_order(0, 3)[:, 0].tolist() == [0, 10, 20]
    with pytest.raises(ValueError, match="the split has the windows 0 to 102"):
        loader.in_order(100, 4)
    with pytest.raises(ValueError, match="not negative"):
        loader.batch(-1, 4)


def test_positions_are_those_of_the_shuffle_across_blocks_and_epochs(numbered: Path) -> None:
    loader = TokenLoader(numbered, split="train", context_tokens=7, seed=5)
    size = loader.num_windows
    last = 20 * size  # blocks are of eight epochs here
    expected = [
        int(permute(np.array([position % size]), size=size, seed=5, epoch=position // size)[0]) * 7
        for position in range(last)
    ]
    assert loader.batch(0, last)[:, 0].tolist() == expected
    assert loader.batch(8 * size - 3, 6)[:, 0].tolist() == expected[8 * size - 3 : 8 * size + 3]
    assert loader.batch(2, 3)[:, 0].tolist() == expected[2:5]  # and back


def test_any_batch_size_and_any_number_of_ranks_read_the_same_order(numbered: Path) -> None:
    loader = TokenLoader(numbered, split="train", context_tokens=10, seed=3)
    straight = loader.batch(0, 240)
    resumed = np.concatenate([loader.batch(0, 100), loader.batch(100, 7), loader.batch(107, 133)])
    assert np.array_equal(straight, resumed)
    for first in (1, 57, 102, 103, 104, 239):  # from any position, across the end of the epoch at 103
        assert np.array_equal(loader.batch(first, 240 - first), straight[first:])
    ranks = [straight[rank::4] for rank in range(4)]
    assert np.array_equal(np.stack(ranks, axis=1).reshape(240, -1), straight)


def test_a_split_shorter_than_a_window_is_one_sentence(numbered: Path) -> None:
    with pytest.raises(
        ConfigurationError, match="has 1037 tokens; one window of 2000 needs 2001. Lower context_tokens"
    ):
        TokenLoader(numbered, split="train", context_tokens=2000, seed=0)
