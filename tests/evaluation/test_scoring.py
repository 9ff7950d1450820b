"""Documents cost the bits that a hand computation gives, however they are cut and batched."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from bigram_model import BOS, TABLE, UNK, A, B, BigramModel, CharacterTokenizer, PositionModel, bits_by_hand

from pipeline.evaluation.scoring import NUM_BINS, score_documents, windows
from pipeline.serving.inspection.surprisal import token_surprisals

TEXTS = ["ab", "", "b", "abbaabbbabaab", "aaaaaaaaaaaaaaaaaaaaa", "abx"]


def test_a_document_is_conditioned_on_bos_and_its_end_is_not_counted() -> None:
    scores = score_documents(BigramModel(), CharacterTokenizer(), ["ab"])
    assert scores.bits[0] == pytest.approx(-np.log2(3 / 4) - np.log2(7 / 16))
    assert scores.num_tokens[0] == 2


@pytest.mark.parametrize("context_tokens", [2, 3, 4, 7, 64])
def test_a_model_without_memory_gives_the_same_bits_for_every_context(context_tokens: int) -> None:
    scores = score_documents(BigramModel(context_tokens=context_tokens), CharacterTokenizer(), TEXTS)
    assert scores.bits == pytest.approx([bits_by_hand(text) for text in TEXTS], rel=1e-6)
    assert scores.num_tokens.tolist() == [len(text) for text in TEXTS]


@pytest.mark.parametrize("max_logits", [1, 100, 10_000])
def test_batches_of_any_size_give_the_same_scores(max_logits: int) -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(["a", "b"], size=rng.integers(0, 40))) for _ in range(30)]
    scores = score_documents(BigramModel(), CharacterTokenizer(), texts, max_logits=max_logits)
    assert scores.bits == pytest.approx([bits_by_hand(text) for text in texts], rel=1e-6)


def test_a_batch_stays_within_its_memory() -> None:
    model = BigramModel(context_tokens=8)
    score_documents(model, CharacterTokenizer(), ["ab" * 50] * 20, max_logits=200)
    assert max(rows * length * 6 for rows, length in model.batch_shapes) <= 200


@pytest.mark.parametrize(("length", "context_tokens"), [(2, 4), (4, 4), (5, 4), (9, 4), (100, 16), (101, 17)])
def test_windows_score_every_position_once_with_half_a_context_before_it(length: int, context_tokens: int) -> None:
    scored = []
    for start, end, first in windows(length, context_tokens=context_tokens):
        assert end - start <= context_tokens
        assert start == 0 or first - start >= context_tokens - context_tokens // 2
        scored += range(first, end)
    assert scored == list(range(1, length))


def test_no_text_costs_nothing() -> None:
    assert list(windows(1, context_tokens=4)) == []
    scores = score_documents(BigramModel(), CharacterTokenizer(), [])
    assert len(scores.bits) == 0


def test_tokens_late_in_a_long_document_keep_half_their_context() -> None:
    # context 4 over 1 + 8 tokens: windows score 1-3 after 1, 2, 3 tokens, then pairs after 2 and 3 tokens
    scores = score_documents(PositionModel(context_tokens=4), CharacterTokenizer(), ["ab" * 4])
    assert scores.bits[0] == pytest.approx((1 + 1 / 2 + 1 / 3) + 2 * (1 / 2 + 1 / 3) + 1 / 3)


def test_hits_are_counted_among_the_most_likely_one_and_five() -> None:
    # after BOS the order is a, b, then four equal; after a: a, b; after b: a, b
    scores = score_documents(BigramModel(), CharacterTokenizer(), ["aab", "b"])
    assert scores.num_top1.tolist() == [2, 0]
    assert scores.num_top5.tolist() == [3, 1]


def test_confidences_fall_into_equal_bins() -> None:
    scores = score_documents(BigramModel(), CharacterTokenizer(), ["ab"])
    expected = np.zeros((NUM_BINS, 3))
    expected[int(3 / 4 * NUM_BINS)] = [1, 3 / 4, 1]  # BOS -> a, right
    expected[int(1 / 2 * NUM_BINS)] = [1, 1 / 2, 0]  # a -> b where a was more likely
    assert scores.calibration[0] == pytest.approx(expected)


def test_unknown_tokens_are_counted() -> None:
    scores = score_documents(BigramModel(), CharacterTokenizer(), ["axyb"])
    assert scores.num_unknown.tolist() == [2]


def test_what_unknown_tokens_stand_for_is_spelt_out() -> None:
    table = np.zeros(6)
    known, lost, longer = score_documents(
        BigramModel(), CharacterTokenizer(), ["ab", "axb", "aéb"], bits_per_token=table
    ).bits.tolist()
    (said,) = score_documents(BigramModel(), CharacterTokenizer(), ["axb"]).baseline_bits.tolist()
    assert said == 0.0  # asked for no baseline
    assert longer - lost == pytest.approx(8)  # one byte more behind the same token
    predicted = -sum(math.log2(TABLE[row, column]) for row, column in ((BOS, A), (A, UNK), (UNK, B)))
    assert lost == pytest.approx(predicted + 16)  # a byte and its end
    assert known == pytest.approx(-math.log2(TABLE[BOS, A]) - math.log2(TABLE[A, B]))
    spelt = score_documents(BigramModel(), CharacterTokenizer(), ["axéb"], bits_per_token=table).baseline_bits
    assert spelt.tolist() == [16 + 24]


class Pieces(CharacterTokenizer):
    def pieces(self, ids: list[int]) -> list[str]:
        return [self.decode([token]) for token in ids]


def test_the_page_of_a_text_spells_it_out_too() -> None:
    model: Any = BigramModel()
    tokenizer: Any = Pieces()
    bits = [token.bits for token in token_surprisals(model, tokenizer, "axb")]
    predicted = [-math.log2(TABLE[row, column]) for row, column in ((BOS, A), (A, UNK), (UNK, B))]
    assert bits == pytest.approx([predicted[0], predicted[1] + 16, predicted[2]])
    assert sum(bits) == pytest.approx(score_documents(model, tokenizer, ["axb"]).bits[0])


def test_a_table_of_bits_per_token_is_summed_over_the_text_alone() -> None:
    table = np.full(6, np.inf)
    table[[A, B]] = [1.0, 2.5]
    scores = score_documents(BigramModel(), CharacterTokenizer(), ["aab", ""], bits_per_token=table)
    assert scores.baseline_bits.tolist() == [4.5, 0.0]


def test_a_probability_that_is_no_number_stays_one() -> None:
    table = TABLE.copy()
    table[BOS] = np.nan
    scores = score_documents(BigramModel(table=table), CharacterTokenizer(), ["ab", ""])
    assert np.isnan(scores.bits[0])
    assert scores.bits[1] == 0
