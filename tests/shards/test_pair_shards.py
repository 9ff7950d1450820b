"""Pairs stand in two parallel series of shards; their batches keep the budget, see every pair once, and depend on the step alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pair_corpus import default_pairs, number_pairs, pair_shards

from pipeline.errors import ArtifactDamaged, ConfigurationError, StageError, TrainingError
from pipeline.shards.buckets import padded_tokens, plan_batches
from pipeline.shards.format import read_header, read_offsets
from pipeline.shards.pair_batches import IGNORED, PairLoader, PromptLoader
from pipeline.shards.pairs import PairShards, shorten
from pipeline.shards.reader import TokenShards


def test_document_n_of_both_sides_is_a_pair_between_its_marks(tmp_path: Path) -> None:
    artifact, source, target = pair_shards(tmp_path, separate=True)
    shards = PairShards(artifact.folder)
    for split, pairs in default_pairs().items():
        assert shards.num_pairs(split) == len(pairs)
        for number, (text, answer) in enumerate(pairs):
            ids, answer_ids = shards.pair(split, number)
            assert ids.tolist() == [2, *source.encode(text), 3]
            assert answer_ids.tolist() == [2, *target.encode(answer), 3]
    assert (shards.source.vocab_size, shards.target.vocab_size) == (source.vocab_size, target.vocab_size)
    assert source.hash != target.hash
    assert shards.template is None


def test_the_files_are_plain_shards_with_equally_many_documents(tmp_path: Path) -> None:
    artifact, source, _ = pair_shards(tmp_path, shard_tokens=1024)
    sources, targets = (artifact.files(f"train-*.{side}.tokens") for side in ("source", "target"))
    assert len(sources) == len(targets) > 2
    table = pq.read_table(artifact.file("train.documents.parquet")).to_pylist()
    place = 0
    for first, second in zip(sources, targets, strict=True):
        headers = [read_header(path) for path in (first, second)]
        assert headers[0].num_documents == headers[1].num_documents
        assert all(header.num_tokens <= 1024 for header in headers)
        sizes = [
            np.diff(read_offsets(path, header)).tolist() for path, header in zip((first, second), headers, strict=True)
        ]
        rows = table[place : place + len(sizes[0])]
        assert sizes == [[row[f"num_{side}_tokens"] for row in rows] for side in ("source", "target")]
        place += len(rows)
    assert place == 400
    counts = artifact.manifest.counts
    assert counts["tokens"]["train"] == counts["source_tokens"]["train"] + counts["target_tokens"]["train"]
    assert counts["target_tokens"]["train"] == sum(row["num_target_tokens"] for row in table)
    assert table[7]["num_target_bytes"] == len("sieben")
    of_targets = pq.read_table(artifact.file("token_counts.parquet"))["count"].to_numpy()
    assert of_targets.sum() == counts["target_tokens"]["train"]
    assert of_targets[source.bos_id] == 400


def test_workers_change_no_byte(tmp_path: Path) -> None:
    first, _, _ = pair_shards(tmp_path / "1", num_workers=1)
    second, _, _ = pair_shards(tmp_path / "2", num_workers=2)
    assert first.ref.content_hash == second.ref.content_hash


def test_the_index_says_who_speaks_in_most_conversations_and_how_long_their_texts_are(tmp_path: Path) -> None:
    said = [(f"USER: {text}\nSYSTEM: ja\nUSER: {text}\nSYSTEM:", target) for text, target in number_pairs(0, 60)]
    odd = [(f"SYSTEM: {text}\nUSER:", target) for text, target in number_pairs(100, 120)]
    for number, (some, speakers) in enumerate(((said + odd, ["USER", "SYSTEM"]), (number_pairs(0, 99) + said, None))):
        pairs = {**default_pairs(), "train": some}
        artifact, *_ = pair_shards(tmp_path / str(number), pairs, task="dialogue", max_source_tokens=77)
        index = json.loads(artifact.file("pairs.json").read_text())
        assert (index["speakers"], index["max_source_tokens"]) == (speakers, 77)


@pytest.mark.parametrize(("keep", "kept"), [("beginning", "one"), ("end", "four")])
def test_a_long_source_is_cut_and_a_pair_with_a_long_target_left_out(tmp_path: Path, keep: str, kept: str) -> None:
    pairs = default_pairs()
    pairs["train"] += [("one two three four", "x"), ("one", "neun " * 40)]
    artifact, source, _ = pair_shards(tmp_path, pairs, max_source_tokens=4, max_target_tokens=30, keep_source=keep)
    shards = PairShards(artifact.folder)
    counts = artifact.manifest.counts
    whole = source.encode("one two three four")
    assert counts["left_out_pairs"] == {"train": 1, "validation": 0, "test": 0}
    assert shards.num_pairs("train") == 401
    ids, _ = shards.pair("train", 400)
    assert ids.tolist() == [2, *(whole[:4] if keep == "beginning" else whole[-4:]), 3]
    assert kept in source.decode(ids)
    long = sum(len(source.encode(text)) > 4 for text, _ in pairs["train"][:401])
    assert counts["truncated_sources"]["train"] == long > 0
    notes = artifact.report().notes
    assert notes[0].startswith(f"Sources cut at their {'end' if keep == 'beginning' else 'beginning'}, to 4 tokens")
    assert "Pairs left out for a target of more than 30 tokens (max_target_tokens): 1." in notes


def test_documents_without_a_target_are_one_sentence(tmp_path: Path) -> None:
    pairs = default_pairs() | {"validation": [("one", "eins"), ("two", None)]}
    with pytest.raises(
        StageError, match=r"datasets.d: its task translation .*\(the first is validation-1\). Set `target`"
    ):
        pair_shards(tmp_path, pairs)


def test_targets_that_are_all_too_long_are_one_sentence(tmp_path: Path) -> None:
    sentence = "the targets of all 20 pairs of the validation split have more than 3 tokens. Raise max_target_tokens"
    with pytest.raises(StageError, match=sentence):
        pair_shards(tmp_path, max_target_tokens=3)


def test_language_models_and_pairs_refuse_each_other(tmp_path: Path) -> None:
    artifact, _, _ = pair_shards(tmp_path)
    with pytest.raises(TrainingError, match="holds pairs, and this family learns from text alone"):
        TokenShards(artifact.folder)
    artifact.file("pairs.json").unlink()
    with pytest.raises(ArtifactDamaged, match="holds no readable pairs.json"):
        PairShards(artifact.folder)


def test_sides_of_unequal_number_are_refused(tmp_path: Path) -> None:
    artifact, _, _ = pair_shards(tmp_path, shard_tokens=1024)
    path = artifact.file("pairs.json")
    index = json.loads(path.read_text())
    index["files"]["train"]["target"].pop()
    path.write_text(json.dumps(index))
    with pytest.raises(ArtifactDamaged, match="The train split has 400 sources and .* targets"):
        PairShards(artifact.folder)


def test_an_epoch_sees_every_pair_once_within_the_budget(tmp_path: Path) -> None:
    artifact, source, target = pair_shards(tmp_path, separate=True)
    loader = PairLoader(artifact.folder, split="train", batch_tokens=200, seed=1)
    expected = sorted(
        (tuple(source.encode(text)), tuple(target.encode(answer))) for text, answer in default_pairs()["train"]
    )
    for epoch in range(2):
        first = sum(loader.num_batches(number) for number in range(epoch))
        found = []
        for step in range(first, first + loader.num_batches(epoch)):
            batch = loader.batch(step)
            assert batch.source.size + batch.target.size <= 200
            assert (batch.source[:, 0] == source.bos_id).all()
            for ids, answer in zip(batch.source, batch.target, strict=True):
                assert set(ids[ids.tolist().index(3) + 1 :].tolist()) <= {source.pad_id}
                found.append(
                    (
                        tuple(ids[1 : ids.tolist().index(3)].tolist()),
                        tuple(answer[1 : answer.tolist().index(3)].tolist()),
                    )
                )
        assert sorted(found) == expected
    assert loader.num_pairs == 400
    assert loader.num_target_tokens == sum(len(answer) + 1 for _, answer in expected)


def test_the_batch_of_a_step_is_a_function_of_the_step(tmp_path: Path) -> None:
    artifact, _, _ = pair_shards(tmp_path)
    straight = PairLoader(artifact.folder, split="train", batch_tokens=200, seed=3)
    steps = 2 * straight.num_batches(0) + 5  # into the third epoch
    batches = [straight.batch(step) for step in range(steps)]
    for step in (steps - 1, 0, straight.num_batches(0), straight.num_batches(0) - 1):
        resumed = PairLoader(artifact.folder, split="train", batch_tokens=200, seed=3).batch(step)
        assert np.array_equal(resumed.source, batches[step].source)
        assert np.array_equal(resumed.target, batches[step].target)
    other = PairLoader(artifact.folder, split="train", batch_tokens=200, seed=4).batch(0)
    assert not np.array_equal(other.source, batches[0].source)
    assert not np.array_equal(batches[straight.num_batches(0)].source, batches[0].source)
    with pytest.raises(ValueError, match="not negative"):
        straight.batch(-1)


def test_batches_of_like_length_waste_little(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    lengths = draw.integers(3, 60, size=(5000, 1)) + draw.integers(0, 8, size=(5000, 2))
    batches = plan_batches(lengths, batch_tokens=4096, seed=0, epoch=0)
    padded = sum(padded_tokens(lengths[rows]) for rows in batches)
    assert lengths.sum() / padded > 0.85
    unsorted = np.array_split(np.arange(5000), len(batches))
    assert lengths.sum() / sum(padded_tokens(lengths[rows]) for rows in unsorted) < 0.6
    first_lengths = [int(lengths[rows].sum(axis=1).mean()) for rows in batches]
    assert first_lengths != sorted(first_lengths)  # shuffled


@given(
    lengths=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=200),
    budget=st.integers(80, 400),
    seed=st.integers(0, 2**31),
    pool=st.integers(1, 64),
)
@settings(max_examples=60, deadline=None)
def test_any_lengths_are_cut_into_batches_that_hold_each_row_once(
    lengths: list[tuple[int, int]], budget: int, seed: int, pool: int
) -> None:
    sizes = np.array(lengths, dtype=np.int64)
    batches = plan_batches(sizes, batch_tokens=budget, seed=seed, epoch=1, pool_rows=pool)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert all(0 < padded_tokens(sizes[rows]) <= budget for rows in batches)


def test_a_decoder_reads_the_template_and_answers_for_the_target_alone(tmp_path: Path) -> None:
    artifact, tokenizer, _ = pair_shards(tmp_path, template="Say {text} in German: {target}")
    loader = PromptLoader(artifact.folder, split="validation", batch_tokens=600, seed=0, context_tokens=64)
    before, between = tokenizer.encode("Say "), tokenizer.encode(" in German: ")
    expected = {}
    for text, answer in default_pairs()["validation"]:
        prompt = [2, *before, *tokenizer.encode(text), *between]
        expected[tuple(prompt)] = [*tokenizer.encode(answer), 3]
    for step in range(loader.num_batches(0)):
        batch = loader.batch(step)
        assert batch.token_ids.shape == batch.targets.shape
        assert batch.token_ids.size <= 600
        for ids, targets in zip(batch.token_ids.tolist(), batch.targets.tolist(), strict=True):
            start = next(place for place, token in enumerate(targets) if token != IGNORED)
            prompt = tuple(ids[: start + 1])
            answer = expected.pop(prompt)
            assert [token for token in targets if token != IGNORED] == answer
            assert ids[start + 1 :] == answer[:-1] + [tokenizer.pad_id] * (len(ids) - start - len(answer))
    assert expected == {}
    assert loader.shards.template is not None
    ids = tokenizer.encode("one")
    assert loader.shards.template.prompt(ids).tolist() == [2, *before, *ids, *between]


def test_what_does_not_fit_the_context_is_cut_at_the_source_or_left_out(tmp_path: Path) -> None:
    pairs = default_pairs() | {"validation": [("one two three", "acht"), ("one", "neun neun neun neun neun neun")]}
    artifact, tokenizer, _ = pair_shards(tmp_path, pairs, template="{text}={target}", keep_source="end")
    text, answer = tokenizer.encode("one two three"), tokenizer.encode("acht")
    context = (
        1 + 2 + 1 + len(answer)
    )  # <s>, two tokens of the text, the sign, the target; </s> is predicted and not read
    assert len(tokenizer.encode("neun neun neun neun neun neun")) > context
    loader = PromptLoader(artifact.folder, split="validation", batch_tokens=600, seed=0, context_tokens=context)
    assert (loader.num_pairs, loader.num_truncated, loader.num_left_out) == (1, 1, 1)
    batch = loader.batch(0)
    assert batch.token_ids.tolist() == [[2, *text[-2:], *tokenizer.encode("="), *answer]]
    assert batch.targets[0, -1] == tokenizer.eos_id


def test_limits_of_a_model_hold_with_the_marks(tmp_path: Path) -> None:
    pairs = default_pairs() | {"validation": [("one two three", "acht"), ("one", "neun neun neun neun")]}
    artifact, tokenizer, _ = pair_shards(tmp_path, pairs)
    limit = len(tokenizer.encode("acht")) + 2
    loader = PairLoader(
        artifact.folder, split="validation", batch_tokens=600, seed=0, max_source_tokens=4, max_target_tokens=limit
    )
    assert (loader.num_pairs, loader.num_truncated, loader.num_left_out) == (1, 1, 1)
    assert loader.batch(0).source.tolist() == [[2, *tokenizer.encode("one two three")[:2], 3]]


def test_what_cannot_be_batched_is_one_sentence(tmp_path: Path) -> None:
    artifact, _, _ = pair_shards(tmp_path / "1")
    with pytest.raises(
        ConfigurationError, match="A pair of the train split has .* a batch at most 8. Raise batch_tokens"
    ):
        PairLoader(artifact.folder, split="train", batch_tokens=8, seed=0)
    with pytest.raises(ConfigurationError, match="the targets of all its 20 pairs are too long"):
        PairLoader(artifact.folder, split="validation", batch_tokens=100, seed=0, max_target_tokens=2)
    separate, _, _ = pair_shards(tmp_path / "2", separate=True)
    with pytest.raises(ConfigurationError, match="a decoder-only model reads both as one text"):
        PromptLoader(separate.folder, split="train", batch_tokens=100, seed=0, context_tokens=64)


def test_a_text_is_cut_at_either_end() -> None:
    ids = np.array([5, 6, 7])
    assert [shorten(ids, 2, keep=keep).tolist() for keep in ("beginning", "end")] == [[5, 6], [6, 7]]
    assert [shorten(ids, 0, keep=keep).tolist() for keep in ("beginning", "end")] == [[], []]
    assert shorten(ids, 9, keep="end").tolist() == [5, 6, 7]


def test_the_loaders_of_pairs_run_where_only_numpy_is() -> None:
    missing = ["pyarrow", "sentencepiece", "pydantic", "duckdb", "matplotlib", "dagster", "mlflow", "torch"]
    program = f"import sys; sys.modules.update(dict.fromkeys({missing}))\nimport pipeline.shards.pair_batches"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_joint_tokenizer_learns_from_both_sides(tmp_path: Path) -> None:
    _, joint, _ = pair_shards(tmp_path / "1", {**default_pairs(), "train": number_pairs(0, 300)})
    _, source, target = pair_shards(tmp_path / "2", separate=True)
    assert len(joint.encode("sieben")) < len(source.encode("sieben"))
    assert len(joint.encode("seven")) < len(target.encode("seven"))
