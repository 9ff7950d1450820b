"""Tokens, shingles and sketches against values by hand and against the theory."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pipeline.corpus.near.clusters import components
from pipeline.corpus.near.shingles import distinct_shingles, jaccard, shingle_hashes
from pipeline.corpus.near.sketch import Bands, band_hashes, choose_bands, sketch
from pipeline.corpus.near.tokens import PIECE_CHARACTERS, token_hashes


def hashes_of(text: str) -> list[int]:
    hashes, counts = token_hashes([text])
    assert counts.tolist() == [len(hashes)]
    return hashes.tolist()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The CAT sat.", "the cat, sat"),
        ("“Don’t” — he said", '"Don\'t" - he said'),
        ("_whale_ and\nship", "whale and ship"),
        ("ＡＢＣ１", "abc1"),
        ("ÉTÉ", "été"),
        ("我 爱,你", "我爱你"),
    ],
)
def test_case_width_and_punctuation_change_no_token(one: str, other: str) -> None:
    assert hashes_of(one) == hashes_of(other) != []


@pytest.mark.parametrize(
    ("text", "num_tokens"),
    [
        ("", 0),
        ("  \n- ", 0),
        ("one", 1),
        ("a b-c d", 4),
        ("北京大学", 4),
        ("GPU加速abc器", 5),
        ("สวัสดี", 6),
        ("नमस्ते दुनिया", 2),
    ],
)
def test_words_are_tokens_and_characters_where_no_spaces_are_written(text: str, num_tokens: int) -> None:
    assert len(hashes_of(text)) == num_tokens


def test_a_tokens_hash_does_not_depend_on_where_it_stands() -> None:
    words = [f"word{number}" for number in range(30_000)]  # several pieces long
    text = " ".join(words)
    assert len(text) > 3 * PIECE_CHARACTERS
    assert hashes_of(text) == [hashes_of(word)[0] for word in words]
    assert len(set(hashes_of(text))) == len(words)
    assert len(set(hashes_of("ab ba abc acb bac bca cab cba aab aba baa"))) == 11  # anagrams differ
    assert len(hashes_of("x" * 200_000)) == 4  # a word longer than a piece is cut, and nothing hangs


def test_shingles_do_not_run_into_the_next_document() -> None:
    hashes, counts = shingle_hashes(["a b c", "b", "", "b c", "a b c d"], num_tokens=2)
    assert counts.tolist() == [2, 0, 0, 1, 3]
    assert hashes[1] == hashes[2] == hashes[4]  # b c
    assert len(set(hashes.tolist())) == 3  # ab bc cd
    assert shingle_hashes(["one two three four"], num_tokens=5)[1].tolist() == [0]
    assert shingle_hashes([], num_tokens=5)[0].tolist() == []


def test_jaccard_by_hand() -> None:
    # {ab, bc, cd, de} and {ab, bc, cx, xe}: 2 of 6; the repeated shingle counts once
    one, other = (distinct_shingles(text, num_tokens=2) for text in ("a b c d e", "a b c x e a b"))
    assert jaccard(one, other) == pytest.approx(2 / 7)  # and ea
    assert jaccard(one, one) == 1.0
    assert jaccard(one, one[:0]) == 0.0


def test_chosen_bands() -> None:
    assert Bands(bands=14, rows=8).recall(0.8) == pytest.approx(0.924, abs=5e-4)  # FineWeb, as published
    assert choose_bands(0.7) == Bands(bands=25, rows=5)
    assert choose_bands(0.8) == Bands(bands=18, rows=7)
    assert choose_bands(0.9) == Bands(bands=10, rows=12)
    for similarity in (0.3, 0.5, 0.65, 0.95, 0.99, 1.0):
        chosen = choose_bands(similarity)
        assert chosen.recall(similarity) >= 0.95
        assert chosen.num_slots <= 128


@pytest.mark.parametrize("size", [12, 60, 300, 5000])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_slot_agrees_with_the_probability_of_the_jaccard(size: int, share: float) -> None:
    random_state = np.random.default_rng(size)
    union = round(size / share)
    num_pairs = 60
    shingles, counts = [], []
    for _ in range(num_pairs):
        values = random_state.integers(0, 2**64, union, dtype=np.uint64)
        shingles += [values, values[:size]]
        counts += [union, size]
    sketches = sketch(np.concatenate(shingles), np.array(counts), num_slots=126)
    agreement = (sketches[0::2] == sketches[1::2]).mean(axis=1)
    # 60 x 126 draws, correlated within a pair by no more than those of MinHash: four standard errors
    expected = size / union
    assert agreement.mean() == pytest.approx(expected, abs=4 * (expected * (1 - expected) / (num_pairs * 20)) ** 0.5)
    assert agreement.std() <= 1.3 * (expected * (1 - expected) / 126) ** 0.5  # no wider than MinHash


def test_order_repetition_and_neighbours_change_no_sketch() -> None:
    bands = choose_bands(0.8)
    one = np.random.default_rng(0).integers(0, 2**64, 40, dtype=np.uint64)
    other = np.random.default_rng(1).integers(0, 2**64, 3, dtype=np.uint64)
    together = sketch(np.concatenate([one, other]), np.array([40, 0, 3]), num_slots=bands.num_slots)
    again = sketch(np.concatenate([one[::-1], one[:5]]), np.array([45]), num_slots=bands.num_slots)
    assert np.array_equal(together[0], again[0])
    assert np.array_equal(together[2], sketch(other, np.array([3]), num_slots=bands.num_slots)[0])
    hashes = band_hashes(together, bands)
    assert hashes.shape == (3, 18)
    assert len(set(hashes[0].tolist()) | set(hashes[2].tolist())) == 36


def test_components_by_hand_and_in_any_order() -> None:
    assert components(np.array([1, 2]), np.array([2, 4]), num_documents=5).tolist() == [0, 1, 1, 3, 1]
    assert components(np.array([], np.int64), np.array([], np.int64), num_documents=2).tolist() == [0, 1]
    shuffled = random.Random(0)  # noqa: S311 - a chain of 3,000, the worst case of pointer jumping
    pairs = [(number, number + 1) for number in range(2999)]
    shuffled.shuffle(pairs)
    first, second = np.array(pairs).T
    assert components(second, first, num_documents=3001).tolist() == [0] * 3000 + [3000]
