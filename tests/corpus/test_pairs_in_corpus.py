"""Pairs are judged by both sides, no split parts two that share one, and a published test set stays whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from corpus_building import build_from, clean_artifact, clean_row, documents_of, pair_row, rejects_of

from pipeline.artifacts import ArtifactStore
from pipeline.config import CorpusConfig
from pipeline.corpus.pairs import PairCounts, join_sides
from pipeline.errors import StageError

SPLITS = {"validation": 0.2, "test": 0.2}
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
WORTE = ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn"]


def sentence(number: int, words: list[str]) -> str:
    return " ".join(words[int(digit)] for digit in f"{number:04d}")


def pairs(start: int, stop: int) -> list[dict[str, Any]]:
    return [pair_row(sentence(n, WORDS), sentence(n, WORTE), n) for n in range(start, stop)]


def reasons(artifact: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rejects_of(artifact):
        found[row["reason"]] = found.get(row["reason"], 0) + 1
    return found


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        (
            pair_row("a " * 20, "ab", 900),
            "pairs.min_length_ratio",
            "0.05 characters of the target per character, at least 0.2",
        ),
        (
            pair_row("ab", "a " * 20, 900),
            "pairs.max_length_ratio",
            "20 characters of the target per character, at most 5",
        ),
        (
            pair_row("word " * 30, "wort " * 30, 900),
            "pairs.max_target_characters",
            "a target of 150 characters, at most 100",
        ),
        (
            pair_row("A dog runs over the green meadow.", "A dog runs over the green meadow.", 900),
            "pairs.target_languages",
            "language en, wanted de",
        ),
        (
            pair_row(
                "Ein Hund läuft über die grüne Wiese.", "Ein Hund läuft über die grüne Wiese.", 900, language="de"
            ),
            "pairs.languages",
            "language de, wanted en",
        ),
        (
            clean_row("A text without its other half.", 900),
            "pairs.no_target",
            "it has no target, and the corpus has rules",
        ),
    ],
)
def test_each_rule_for_pairs_rejects_with_its_values(tmp_path: Path, row: Any, reason: str, detail: str) -> None:
    rules = {
        "min_length_ratio": 0.2,
        "max_length_ratio": 5,
        "languages": ["en"],
        "target_languages": ["de"],
        "max_target_characters": 100,
    }
    artifact = build_from(tmp_path, {"notes": [*pairs(0, 60), row]}, pairs=rules, splits=SPLITS)
    (reject,) = rejects_of(artifact)
    assert (reject["reason"], reject["detail"][: len(detail)]) == (reason, detail)
    assert len(documents_of(artifact)) == 60


def test_a_language_that_is_not_sure_is_believed(tmp_path: Path) -> None:
    rows = [*pairs(0, 60), pair_row("Hello there.", "Servus.", 900, language="fr", language_confidence=0.5)]
    artifact = build_from(tmp_path, {"notes": rows}, pairs={"languages": ["en"]}, splits=SPLITS)
    assert rejects_of(artifact) == []
    artifact = build_from(
        tmp_path, {"notes": rows}, pairs={"languages": ["en"], "sure": 0.5}, splits=SPLITS, version="w"
    )
    assert reasons(artifact) == {"pairs.languages": 1}


def test_equal_pairs_are_one_and_pairs_with_one_equal_side_are_kept(tmp_path: Path) -> None:
    rows = [
        *pairs(0, 60),
        pair_row(sentence(3, WORDS), sentence(3, WORTE), 900),
        pair_row(sentence(3, WORDS), "drei!", 901),
    ]
    artifact = build_from(tmp_path, {"notes": rows}, splits=SPLITS)
    assert reasons(artifact) == {"duplicate": 1}
    assert len(documents_of(artifact)) == 61


@pytest.mark.parametrize(
    ("joined_by", "together"), [("either", True), ("text", False), ("target", False), ("group", False)]
)
def test_no_split_parts_pairs_that_share_a_side(tmp_path: Path, joined_by: str, together: bool) -> None:
    """Chains: pair k has the text of pair k - 1 or its target, by turns, in another case; all of a chain hangs together."""
    rows = []
    for chain in range(60):
        for link in range(6):
            text = sentence(10 * chain + (link + 1) // 2, WORDS)
            target = sentence(10 * chain + link // 2, WORTE)
            rows.append(
                pair_row(text.upper() if link % 2 else text, f"{target}." if link % 3 else target, 10 * chain + link)
            )
    artifact = build_from(tmp_path, {"notes": rows}, pairs={"joined_by": joined_by}, splits=SPLITS)
    by_chain: dict[int, set[str]] = {}
    for row in documents_of(artifact):
        by_chain.setdefault(row["index"] // 10, set()).add(row["split"])
    assert {split for splits in by_chain.values() for split in splits} == {"train", "validation", "test"}
    assert all(len(splits) == 1 for splits in by_chain.values()) is together
    if joined_by in ("text", "target"):
        sides = {"text": "source_hash", "target": "target_hash"}
        by_side: dict[str, set[str]] = {}
        for row in documents_of(artifact):
            by_side.setdefault(row[sides[joined_by]], set()).add(row["split"])
        assert all(len(splits) == 1 for splits in by_side.values())
    if together:
        assert artifact.report().figures["largest_joined_set"] == 6


def test_a_group_is_never_parted(tmp_path: Path) -> None:
    rows = [row | {"group_id": f"talk {number // 5}"} for number, row in enumerate(pairs(0, 200))]
    artifact = build_from(tmp_path, {"notes": rows}, pairs={"joined_by": "group"}, splits=SPLITS)
    groups: dict[str, set[str]] = {}
    for row in documents_of(artifact):
        groups.setdefault(row["group_id"], set()).add(row["split"])
    assert len(groups) == 40
    assert all(len(splits) == 1 for splits in groups.values())
    assert {"train", "validation", "test"} == set.union(*groups.values())


def test_large_groups_are_held_out_no_more_often_than_small_ones(tmp_path: Path) -> None:
    rows = [row | {"group_id": f"talk {number // 20}"} for number, row in enumerate(pairs(0, 6000))]
    artifact = build_from(tmp_path, {"notes": rows}, splits={"validation": 0.1, "test": 0.1})
    splits = [row["split"] for row in documents_of(artifact)]
    for split in ("validation", "test"):  # of 300 groups a tenth, three standard deviations of the binomial around it
        assert abs(splits.count(split) / 6000 - 0.1) < 3 * (0.1 * 0.9 / 300) ** 0.5


def test_the_order_and_number_of_files_change_no_split(tmp_path: Path) -> None:
    rows = pairs(0, 200) + [pair_row(sentence(n, WORDS), f"wie {n}", 1000 + n) for n in range(0, 200, 3)]
    first = build_from(tmp_path / "1", {"notes": rows}, splits=SPLITS)
    second = build_from(tmp_path / "2", {"notes": rows[::-1]}, splits=SPLITS, num_files=3)
    splits = [{row["id"]: row["split"] for row in documents_of(artifact)} for artifact in (first, second)]
    assert splits[0] == splits[1]


def test_a_target_that_joins_everything_is_a_remark_and_an_empty_split_one_sentence(tmp_path: Path) -> None:
    rows = [pair_row(sentence(n, WORDS), "Ja.", n) for n in range(100)]
    with pytest.raises(StageError, match=r"split is empty.*of pairs, see pairs.joined_by"):
        build_from(tmp_path / "1", {"notes": rows}, splits=SPLITS)
    artifact = build_from(tmp_path / "2", {"notes": [*rows[:20], *pairs(100, 200)]}, splits=SPLITS)
    (note,) = artifact.report().notes
    assert note.startswith("20 of 120 pairs hang together by what they share")
    artifact = build_from(tmp_path / "3", {"notes": rows}, splits=SPLITS, pairs={"joined_by": "text"})
    assert artifact.report().figures["largest_joined_set"] == 1


def test_of_a_repeated_target_the_training_split_keeps_a_few(tmp_path: Path) -> None:
    rows = [*pairs(0, 60), *(pair_row(sentence(100 + n, WORDS), "Ja." if n % 2 else "ja", 900 + n) for n in range(50))]
    rules = {"joined_by": "text", "max_target_repeats": 5}
    artifact = build_from(tmp_path, {"notes": rows}, pairs=rules, splits=SPLITS)
    kept = [row for row in documents_of(artifact) if row["target"] in ("Ja.", "ja")]
    assert sum(row["split"] == "train" for row in kept) == 5
    rejects = rejects_of(artifact)
    assert {row["reason"] for row in rejects} == {"pairs.max_target_repeats"}
    assert len(kept) + len(rejects) == 50
    assert min(rejects, key=lambda row: row["value"])["detail"].startswith(
        "the target of 5 pairs before it in the training split"
    )


def test_a_fixed_test_set_is_the_test_split_and_nothing_else_is(tmp_path: Path) -> None:
    sources = {"train": pairs(0, 300), "val": pairs(300, 320), "exam": pairs(400, 420)}
    artifact = build_from(tmp_path, sources, fixed={"val": "validation", "exam": "test"}, splits=SPLITS)
    assert rejects_of(artifact) == []
    splits = {source: {row["split"] for row in documents_of(artifact) if row["source"] == source} for source in sources}
    assert splits == {"train": {"train"}, "val": {"validation"}, "exam": {"test"}}


def test_only_the_split_that_is_not_fixed_is_drawn(tmp_path: Path) -> None:
    sources = {"train": pairs(0, 300), "exam": pairs(400, 420)}
    artifact = build_from(tmp_path, sources, fixed={"exam": "test"}, splits=SPLITS)
    drawn = [row["split"] for row in documents_of(artifact) if row["source"] == "train"]
    assert set(drawn) == {"train", "validation"}
    assert 30 < drawn.count("validation") < 90


def test_what_equals_a_held_out_pair_is_leakage_and_the_test_set_stays_whole(tmp_path: Path) -> None:
    exam = pairs(400, 420)
    rows = [
        *pairs(0, 100),
        pair_row(exam[0]["text"], exam[0]["target"], 900),  # the pair
        pair_row(exam[1]["text"].upper(), "anders", 901),  # its text
        pair_row("different", f"{exam[2]['target']}!", 902),  # its target
    ]
    val = [*pairs(300, 320), pair_row(exam[3]["text"], "auch anders", 903)]
    artifact = build_from(
        tmp_path, {"train": rows, "val": val, "exam": exam}, fixed={"val": "validation", "exam": "test"}, splits=SPLITS
    )
    assert {row["index"] for row in documents_of(artifact) if row["split"] == "test"} == set(range(400, 420))
    assert {row["index"] for row in documents_of(artifact) if row["split"] == "validation"} == set(range(300, 320))
    rejects = {row["index"]: row for row in rejects_of(artifact)}
    assert sorted(rejects) == [900, 901, 902, 903]
    assert {row["reason"] for row in rejects.values()} == {"leakage"}
    assert rejects[901]["detail"] == (
        f"shares its text with {exam[1]['id']} (exam:a.txt:401), of the test split that its source fixes"
    )
    assert rejects[902]["detail"].startswith("shares its target with")
    assert rejects[903]["source"] == "val"
    assert artifact.report().figures["num_leaks"] == 4


def test_near_duplicates_of_a_fixed_test_set_leak_and_its_own_stay(tmp_path: Path) -> None:
    long = " ".join(f"word{n}" for n in range(60))
    exam = [clean_row(f"{long} {ending}", 400 + n) for n, ending in enumerate(("first", "second"))]
    exam += [clean_row(f"Another text of the exam, number {n}, about something else.", 410 + n) for n in range(3)]
    rows = [
        clean_row(f"Text {n} is about {sentence(n, WORDS)} and {sentence(7 * n % 997, WORTE)}.", n) for n in range(60)
    ]
    rows += [clean_row(f"{long} third", 900), clean_row(exam[2]["text"], 901)]
    near = {"near": {"similarity": 0.8}}
    artifact = build_from(
        tmp_path, {"train": rows, "exam": exam}, fixed={"exam": "test"}, deduplicate=near, splits=SPLITS
    )
    assert {row["index"] for row in documents_of(artifact) if row["split"] == "test"} == {400, 401, 410, 411, 412}
    rejects = {row["index"]: row for row in rejects_of(artifact)}
    assert {index: row["reason"] for index, row in rejects.items()} == {900: "leakage", 901: "leakage"}
    assert rejects[900]["detail"].startswith("shares its duplicate cluster with")


def test_a_folder_with_the_name_of_a_column_changes_nothing(tmp_path: Path) -> None:
    """Such as `language=de`, in which others see a partition of Hive's, whose value stands for the column."""
    sources = {"train": [*pairs(0, 100), *pairs(400, 402)], "exam": pairs(400, 420)}
    exam = clean_artifact(ArtifactStore(tmp_path), "judged", pairs(90, 95))
    keys = "source index id path split language num_bytes text_hash target cluster_id file_row_number hashes bands rule"
    folders = [tmp_path / "plain", tmp_path.joinpath(*(f"{key}=1" for key in keys.split()))]
    built = [
        build_from(
            folder,
            sources,
            fixed={"exam": "test"},
            against={"judged": exam},
            decontaminate={"against": ["judged"]},
            deduplicate={"near": {"similarity": 0.8}, "lines": {"max_documents": 50}},
            quality={"languages": ["en"], "reject_when": {"third": "index = 3"}},
            splits=SPLITS,
        )
        for folder in folders
    ]
    assert len(rejects_of(built[0])) > 3
    assert built[0].ref.content_hash == built[1].ref.content_hash


def test_a_training_source_takes_what_hangs_together_with_it_along(tmp_path: Path) -> None:
    ours = pairs(0, 200)
    more = [pair_row(sentence(n, WORDS), f"auch {n}", 1000 + n) for n in range(200)]
    artifact = build_from(
        tmp_path, {"ours": ours, "more": [*more, *pairs(500, 600)]}, fixed={"ours": "train"}, splits=SPLITS
    )
    assert {row["split"] for row in documents_of(artifact) if row["source"] == "ours"} == {"train"}
    assert {row["split"] for row in documents_of(artifact) if row["index"] >= 1000} == {"train"}
    assert {row["split"] for row in documents_of(artifact) if 500 <= row["index"] < 600} == {
        "train",
        "validation",
        "test",
    }


def test_a_fixed_split_without_a_document_is_one_sentence(tmp_path: Path) -> None:
    exam = [clean_row("no pair", 1)]
    with pytest.raises(StageError, match="the test split is empty: nothing of exam, which has `split: test`, is kept"):
        build_from(tmp_path, {"train": pairs(0, 100), "exam": exam}, fixed={"exam": "test"}, pairs={}, splits=SPLITS)


def test_texts_without_pairs_are_not_opened_for_their_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, list[str]]] = []

    def seen(connection: Any, config: Any, sides: dict[str, list[str]], fixed: Any) -> PairCounts:
        asked.append({Path(file).stem: columns for file, columns in sides.items()})
        return join_sides(connection, config, sides, fixed)

    monkeypatch.setattr("pipeline.corpus.build.join_sides", seen)
    texts = [clean_row(f"A text without its other half, number {number}.", number) for number in range(61)]
    grouped = clean_row("A turn of a conversation.", 61, group_id="7")
    build_from(tmp_path, {"notes": [*pairs(0, 1), *texts, grouped]}, num_files=3, splits=SPLITS)
    assert asked == [{"0": ["source_hash", "target_hash"], "1": [], "2": ["group_id"]}]
    no_database: Any = None  # is not asked
    config = CorpusConfig.model_validate({"sources": {"notes": 1.0}, "pairs": {"joined_by": "target"}})
    assert join_sides(no_database, config, {"0": [], "1": ["source_hash"]}, {}) == PairCounts()
