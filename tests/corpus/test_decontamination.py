"""Text that models are judged by is found wherever it was planted, and nothing else is."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus_building import build_from, clean_artifact, clean_row, documents_of, rejects_of
from hypothesis import given
from hypothesis import strategies as st

from pipeline.artifacts import Artifact, ArtifactStore
from pipeline.corpus import ngrams
from pipeline.corpus.ngrams import hash_ngrams, hash_words, words_of

VOCABULARY = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdgklmnprst"]
SPLITS = {"validation": 0.2, "test": 0.2}


def prose(seed: int, num_words: int) -> list[str]:
    return random.Random(seed).choices(VOCABULARY, k=num_words)  # noqa: S311 - text, not a secret


def corpora(
    folder: Path, evaluation: list[str], documents: list[str], num_files: int = 1, **settings: Any
) -> tuple[Artifact, Artifact]:
    """The evaluation text as a source, and a corpus of the documents decontaminated against it."""
    store = ArtifactStore(folder)
    against = clean_artifact(store, "exam", [clean_row(t, n, source="exam") for n, t in enumerate(evaluation)])
    rows = [clean_row(text, number) for number, text in enumerate(documents)]
    rows += [clean_row(" ".join(prose(9_000_000 + number, 30)), 1_000_000 + number) for number in range(60)]
    corpus = build_from(
        folder,
        {"notes": rows},
        num_files=num_files,
        against={"against:exam": against},
        decontaminate={"against": ["exam"], **settings},
        splits=SPLITS,
    )
    return corpus, against


def contaminated(artifact: Artifact) -> dict[int, dict[str, Any]]:
    return {row["index"]: row for row in rejects_of(artifact) if row["reason"] == "contaminated"}


def test_words_are_lower_case_without_punctuation_and_chinese_characters_stand_alone() -> None:
    assert words_of("The CAT’s well-known — 12 hats, 月落！naïve_x") == [
        "the", "cats", "well", "known", "12", "hats", "月", "落", "naïve", "x",
    ]  # fmt: skip
    assert words_of("soft\u00adhyphen 'quoted' don't") == ["softhyphen", "quoted", "dont"]
    assert words_of("…!? ") == []


@given(st.lists(st.text(max_size=60), max_size=8))
def test_two_words_share_a_hash_when_they_are_the_same_word(texts: list[str]) -> None:
    hashes = hash_words(texts)
    words = [(number, word) for number, text in enumerate(texts) for word in words_of(text)]
    assert hashes.text.tolist() == [number for number, _ in words]
    by_word = {word: value for (_, word), value in zip(words, hashes.hashes.tolist(), strict=True)}
    assert [by_word[word] for _, word in words] == hashes.hashes.tolist()
    assert len(set(by_word.values())) == len(by_word)


def test_every_ngram_within_a_text_has_its_own_hash_and_none_spans_two_texts() -> None:
    texts = [" ".join(prose(number, 40)) for number in range(50)]
    words = hash_words(texts)
    hashes, positions = hash_ngrams(words, 5)
    expected = [tuple(words_of(text)[at : at + 5]) for text in texts for at in range(36)]
    assert len(expected) == hashes.size
    assert len(set(zip(expected, hashes.tolist(), strict=True))) == len(set(expected)) == len(set(hashes.tolist()))
    assert positions.tolist() == [40 * text + at for text in range(50) for at in range(36)]


def test_the_length_of_a_batch_changes_no_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["".join(f"{word} " for word in prose(number, 100 * number)) for number in range(12)] + ["", "月落" * 500]
    whole = hash_words(texts)
    monkeypatch.setattr(ngrams, "BATCH_CHARACTERS", 700)
    cut = hash_words(texts)
    assert np.array_equal(whole.hashes, cut.hashes)
    assert np.array_equal(whole.text, cut.text)


def test_planted_contamination_is_found_wherever_it_stands_and_nothing_else(tmp_path: Path) -> None:
    exam = [prose(number, 200) for number in range(40)]
    draw = random.Random(7)  # noqa: S311
    documents, planted = [], set()
    for number in range(400):
        words = prose(10_000 + number, 120)
        if number % 4 == 0:
            start = draw.randrange(200 - 13 + 1)
            at = draw.choice([0, 120, draw.randrange(121)])
            run = exam[draw.randrange(40)][start : start + 13]
            run = [word.upper() if draw.random() < 0.3 else word for word in run]
            words[at:at] = [word + draw.choice(["", ",", "!", "’", " —", "\n"]) for word in run]
            planted.add(number)
        documents.append(" ".join(words))
    # what an independent implementation finds, over plain strings
    grams = {" ".join(words[i : i + 13]) for words in exam for i in range(188)}
    expected = set()
    for number, text in enumerate(documents):
        found = re.findall(r"[a-z]+", text.lower())
        if any(" ".join(found[i : i + 13]) in grams for i in range(len(found) - 12)):
            expected.add(number)
    corpus, _ = corpora(tmp_path, [" ".join(words) for words in exam], documents)
    assert set(contaminated(corpus)) == expected == planted


def test_twelve_words_are_not_thirteen(tmp_path: Path) -> None:
    exam = prose(1, 100)
    twelve, thirteen = prose(2, 30), prose(3, 30)
    corpus, _ = corpora(
        tmp_path,
        [" ".join(exam)],
        [" ".join(twelve[:9] + exam[20:32] + twelve[9:]), " ".join(thirteen[:9] + exam[20:33] + thirteen[9:])],
    )
    (row,) = contaminated(corpus).values()
    assert (row["index"], row["value"], row["threshold"]) == (1, 1.0, 1.0)
    (origin,) = [clean_row(" ".join(exam))["id"]]
    assert row["detail"] == (
        f"shares an n-gram with the source exam, document {origin} (exam:a.txt:0): {' '.join(exam[20:33])}"
    )


def test_a_document_may_share_fewer_ngrams_than_the_setting_says(tmp_path: Path) -> None:
    exam = prose(1, 100)
    documents = [" ".join(prose(10 + size, 20) + exam[:size]) for size in (16, 17)]  # 4 and 5 n-grams
    documents.append(" ".join(prose(5, 20) + 5 * [*exam[:13], "dada"]))  # one, five times
    corpus, _ = corpora(tmp_path, [" ".join(exam)], documents, min_shared=5)
    assert {index: row["value"] for index, row in contaminated(corpus).items()} == {1: 5.0}


def test_chinese_is_matched_by_characters(tmp_path: Path) -> None:
    poem = "月落烏啼霜滿天江楓漁火對愁眠姑蘇城外寒山寺夜半鐘聲到客船"
    assert len(poem) == 28
    documents = [
        "他說：月落烏啼霜滿天，江楓漁火對愁。",
        "他說：月落烏啼霜滿天，江楓漁火對。",
    ]  # 13 characters, and 12 of them
    corpus, _ = corpora(tmp_path, [poem], documents)
    assert set(contaminated(corpus)) == {0}


def test_short_evaluation_text_is_looked_for_whole(tmp_path: Path) -> None:
    ten, six = prose(1, 10), prose(2, 6)
    documents = [
        " ".join(prose(3, 20) + ten + prose(4, 20)),
        " ".join(prose(5, 20) + ten[:9] + prose(6, 20)),
        " ".join(prose(7, 20) + six + prose(8, 20)),
        f"“{' '.join(six).upper()}!”",
    ]
    corpus, _ = corpora(tmp_path / "1", [" ".join(ten), " ".join(six), "?"], documents, min_shared=3)
    assert set(contaminated(corpus)) == {0, 3}
    corpus, _ = corpora(tmp_path / "2", [" ".join(ten), " ".join(six), "?"], documents, min_whole_words=1)
    assert set(contaminated(corpus)) == {0, 2, 3}


def test_a_corpus_is_meant_by_its_test_split_alone_and_both_halves_of_a_pair_count(tmp_path: Path) -> None:
    texts = [" ".join(prose(number, 30)) for number in range(100)]
    exam = build_from(
        tmp_path, {"exam": [clean_row(t, n, source="exam") for n, t in enumerate(texts)]}, name="judged", splits=SPLITS
    )
    held_out = {row["text"] for row in documents_of(exam) if row["split"] == "test"}
    rows = [clean_row(f"Note {number}: {text}", number) for number, text in enumerate(texts)]
    rows += [clean_row("a pair", 100, target=f"so: {min(held_out)}")]
    corpus = build_from(
        tmp_path,
        {"notes": rows},
        against={"against:judged": exam},
        decontaminate={"against": ["judged"]},
        splits=SPLITS,
    )
    expected = {number for number, text in enumerate(texts) if text in held_out}
    assert set(contaminated(corpus)) == expected | {100}
    assert "the test split of corpus/judged, document " in contaminated(corpus)[100]["detail"]


def test_the_order_and_the_files_of_arrival_change_nothing(tmp_path: Path) -> None:
    exam = [" ".join(prose(number, 50)) for number in range(20)]
    documents = [" ".join(prose(100 + number, 20)) + " " + exam[number % 20][30:] for number in range(80)]
    first, _ = corpora(tmp_path / "1", exam, documents)
    second, _ = corpora(tmp_path / "2", exam, documents, num_files=7)
    assert len(contaminated(first)) == 80
    assert first.ref.content_hash == second.ref.content_hash


def test_a_document_a_rule_rejects_keeps_that_reason(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    text = " ".join(prose(1, 30))
    against = clean_artifact(store, "exam", [clean_row(text, source="exam")])
    rows = [clean_row(" ".join(prose(number, 30)), number) for number in range(100, 160)]
    corpus = build_from(
        tmp_path,
        {"notes": [*rows, clean_row(text, 1, language="de"), clean_row(text, 2)]},
        against={"against:exam": against},
        decontaminate={"against": ["exam"]},
        quality={"languages": ["en"]},
        splits=SPLITS,
    )
    assert [(row["index"], row["reason"]) for row in rejects_of(corpus)] == [(1, "language"), (2, "contaminated")]


def test_a_novel_is_found_in_its_other_edition(tmp_path: Path, corpora: Path) -> None:
    """The two editions of Moby Dick differ in layout and spelling; nearly every chapter shares thirteen words."""
    store = ArtifactStore(tmp_path)

    def chapters(name: str) -> list[str]:
        text = (corpora / "books" / name).read_text(encoding="utf-8", errors="replace")
        return [part for part in re.split(r"\n(?=CHAPTER \d+)", text) if len(part) > 3000]

    old, new = chapters("moby-dick-or-the-whale-old-edition.txt"), chapters("moby-dick-or-the-whale.txt")
    other = chapters("great-expectations.txt") or [
        (corpora / "books" / "middlemarch.txt").read_text(encoding="utf-8", errors="replace")[200_000:300_000]
    ]
    against = clean_artifact(store, "old", [clean_row(t, n, source="old") for n, t in enumerate(old)])
    rows = [clean_row(text, number) for number, text in enumerate(new)]
    rows += [clean_row(" ".join(prose(number, 30)), 10_000 + number) for number in range(100)]
    rows += [clean_row(text, 20_000 + number) for number, text in enumerate(other)]
    corpus = build_from(
        tmp_path, {"notes": rows}, against={"a": against}, decontaminate={"against": ["old"]}, splits=SPLITS
    )
    found = contaminated(corpus)
    assert len(new) > 100
    assert sum(index < 10_000 for index in found) >= 0.98 * len(new)
    assert not any(10_000 <= index < 20_000 for index in found)
