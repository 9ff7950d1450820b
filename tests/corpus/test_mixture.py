"""Training reads documents as often as epochs, weights, budget and buckets ask; the account says what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from corpus_building import build_from, clean_row, documents_of

from pipeline.artifacts import Artifact
from pipeline.config import CorpusConfig
from pipeline.corpus.mixture import asked_epochs
from pipeline.errors import StageError

SPLITS = {"validation": 0.05, "test": 0.05}


def rows(source: str, count: int, **changes: Any) -> list[dict[str, Any]]:
    texts = [f"{source} number {number:05d}, as long as the others" for number in range(count)]
    return [clean_row(text, number, source=source, **changes) for number, text in enumerate(texts)]


def mixed(folder: Path, **settings: Any) -> Artifact:
    sources = {"news": rows("news", 2000), "blog": rows("blog", 1000)}
    return build_from(folder, sources, splits=SPLITS, **settings)


def account(artifact: Artifact) -> dict[str, dict[str, Any]]:
    return {row["source"]: row for row in artifact.manifest.counts["mixture"]["sources"]}


def repeats(artifact: Artifact, source: str, split: str = "train") -> dict[str, int]:
    return {r["id"]: r["repeats"] for r in documents_of(artifact) if (r["source"], r["split"]) == (source, split)}


def test_epochs_are_whole_reads_and_a_fraction_by_the_ids_digits(tmp_path: Path) -> None:
    artifact = mixed(tmp_path, sources={"news": 2.5, "blog": 0.25})
    news, blog = repeats(artifact, "news"), repeats(artifact, "blog")
    for id_, count in news.items():
        assert count == 2 + (int(id_[13:26], 16) / 16**13 < 0.5)
    for id_, count in blog.items():
        assert count == (int(id_[13:26], 16) / 16**13 < 0.25)
    for split in ("validation", "test"):
        assert set(repeats(artifact, "news", split).values()) | set(repeats(artifact, "blog", split).values()) == {1}


def test_a_smaller_fraction_is_a_part_of_a_larger_one_and_the_splits_stay(tmp_path: Path) -> None:
    half = mixed(tmp_path / "1", sources={"news": 0.5, "blog": 1.0})
    more = mixed(tmp_path / "2", sources={"news": 0.75, "blog": 3.0})
    read = [{id_ for id_, count in repeats(a, "news").items() if count} for a in (half, more)]
    assert read[0] < read[1]
    assert {r["id"]: r["split"] for r in documents_of(half)} == {r["id"]: r["split"] for r in documents_of(more)}


def test_the_account_says_what_was_asked_and_what_came_of_it(tmp_path: Path) -> None:
    artifact = mixed(tmp_path, sources={"news": 1.0, "blog": 3.0})
    rows_ = account(artifact)
    for source, size in (("news", 1), ("blog", 3)):
        texts = [row for row in documents_of(artifact) if (row["source"], row["split"]) == (source, "train")]
        num_bytes = sum(row["num_bytes"] for row in texts)
        assert rows_[source]["documents"] == rows_[source]["documents_read"] == len(texts)
        assert (rows_[source]["bytes"], rows_[source]["bytes_read"]) == (num_bytes, size * num_bytes)
        assert rows_[source]["epochs_asked"] == rows_[source]["epochs_obtained"] == size
        assert rows_[source]["fraction_asked"] == pytest.approx(rows_[source]["fraction_obtained"])
    assert rows_["blog"]["fraction_obtained"] == pytest.approx(0.6, abs=0.02)  # 3 x 1000 of 3 x 1000 + 2000
    assert artifact.report().tables["Mixture"] == artifact.manifest.counts["mixture"]["sources"]


def test_weights_and_a_budget_by_hand() -> None:
    config = CorpusConfig.model_validate(
        {"sources": {"a": 1, "b": 1}, "mixture": {"weights": {"a": 3, "b": 1}, "budget_bytes": 80}}
    )
    assert asked_epochs(config, {"a": 20.0, "b": 40.0}) == ({"a": 3.0, "b": 0.5}, [])
    config = CorpusConfig.model_validate({"sources": {"a": 2, "b": 1}, "mixture": {"budget_bytes": 40}})
    assert asked_epochs(config, {"a": 20.0, "b": 40.0}) == ({"a": 1.0, "b": 0.5}, [])  # 80 bytes asked, half of them
    config = CorpusConfig.model_validate({"sources": {"a": 1, "b": 1}, "mixture": {"weights": {"a": 1, "b": 1}}})
    assert asked_epochs(config, {"a": 20.0, "b": 60.0})[0] == {"a": 2.0, "b": pytest.approx(2 / 3)}


def test_a_source_too_small_for_its_weight_is_held_back_and_reported(tmp_path: Path) -> None:
    artifact = mixed(tmp_path, mixture={"weights": {"news": 0.1, "blog": 0.9}, "max_epochs": 2})
    rows_ = account(artifact)
    assert rows_["blog"]["epochs_asked"] == rows_["blog"]["epochs_obtained"] == 2
    assert rows_["blog"]["fraction_asked"] == pytest.approx(0.9)
    assert rows_["blog"]["fraction_obtained"] < 0.9
    (note,) = artifact.report().notes
    assert note.startswith("Source blog would be read 2.68 times for its share; ")


def test_weights_are_met_within_the_grain_of_documents(tmp_path: Path) -> None:
    artifact = mixed(tmp_path, mixture={"weights": {"news": 3, "blog": 7}, "budget_bytes": 60_000})
    rows_ = account(artifact)
    assert rows_["blog"]["fraction_asked"] == pytest.approx(0.7)
    assert rows_["blog"]["fraction_obtained"] == pytest.approx(0.7, abs=0.03)
    assert sum(row["bytes_read"] for row in rows_.values()) == pytest.approx(60_000, rel=0.05)


def test_buckets_read_better_documents_more_often(tmp_path: Path) -> None:
    sources = {
        "news": rows("news", 300, letter_fraction=0.5)
        + rows("good", 300, letter_fraction=0.9)
        + rows("edge", 300, letter_fraction=0.8)
        + rows("none", 300, mean_word_length=4.0)
    }
    for row in sources["news"]:
        row["source"] = "news"
    buckets = {"by": "letter_fraction", "edges": [0.6, 0.8], "factors": [0, 1, 3]}
    artifact = build_from(tmp_path, sources, splits=SPLITS, mixture={"buckets": buckets})
    train = [row for row in documents_of(artifact) if row["split"] == "train"]
    found = {(row["text"].split()[0], row["repeats"]) for row in train if not row["text"].startswith("none")}
    assert found == {("news", 0), ("good", 3), ("edge", 3)}
    table = artifact.report().tables["Quality buckets"]
    assert [(row["bucket"], row["factor_asked"]) for row in table] == [
        ("letter_fraction below 0.6", 0),
        ("letter_fraction 0.6 to 0.8", 1),
        ("letter_fraction from 0.8", 3),
    ]
    assert sum(row["bytes_read"] for row in table) == sum(row["repeats"] * row["num_bytes"] for row in train)


def test_a_signal_that_was_not_measured_changes_nothing(tmp_path: Path) -> None:
    sources = {"news": rows("news", 200) + rows("long", 200, mean_word_length=9.0)}
    for row in sources["news"]:
        row["source"] = "news"
    buckets = {"by": "mean_word_length", "edges": [5], "factors": [1, 4]}
    artifact = build_from(tmp_path, sources, splits=SPLITS, mixture={"buckets": buckets})
    train = [row for row in documents_of(artifact) if row["split"] == "train"]
    assert {(row["text"].split()[0], row["repeats"]) for row in train} == {("news", 1), ("long", 4)}
    assert [row["bucket"] for row in artifact.report().tables["Quality buckets"]][-1] == "mean_word_length not measured"


def test_a_mixture_that_reads_nothing_is_one_sentence(tmp_path: Path) -> None:
    buckets = {"by": "letter_fraction", "edges": [0.999], "factors": [0, 1]}
    with pytest.raises(StageError, match="corpora.english: its mixture reads none of the training documents"):
        mixed(tmp_path, mixture={"buckets": buckets})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"mixture": {"weights": {"a": 1}}}, "weights that differ from its sources in b"),
        ({"sources": {"a": 2, "b": 1}, "mixture": {"weights": {"a": 1, "b": 1}}}, "both mixture.weights and epochs"),
        ({"mixture": {"buckets": {"by": "letters", "edges": [1], "factors": [1, 2]}}}, "'letters', which is no signal"),
        ({"mixture": {"buckets": {"by": "words", "edges": [2, 1], "factors": [1, 2, 3]}}}, "edges that do not rise"),
        ({"mixture": {"buckets": {"by": "words", "edges": [1], "factors": [1]}}}, "1 factors for 2 buckets"),
    ],
)
def test_impossible_mixtures_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        CorpusConfig.model_validate({"sources": {"a": 1, "b": 1}} | settings)
