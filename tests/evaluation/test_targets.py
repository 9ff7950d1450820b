"""Texts after prompts cost the bits that a hand computation gives, however they are cut and batched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bigram_model import TABLE, A, B, BigramModel, CharacterTokenizer, PositionModel, bits_by_hand
from small_models import ngram
from tiny_chain import chain_of

from pipeline.evaluation.pair_model import TextModel
from pipeline.evaluation.targets import score_targets, split_tokens, total_bits
from pipeline.tokenizer.model import Tokenizer

PAIRS = [("ab", "ba"), ("", "b"), ("b", "aaa"), ("abbaab", "a"), ("", "abba")]


def asked(model: Any) -> TextModel:
    tokenizer: Any = CharacterTokenizer()
    return TextModel(model=model, tokenizer=tokenizer)


def test_a_target_costs_what_the_whole_costs_without_its_prompt() -> None:
    scores = score_targets(asked(BigramModel(context_tokens=16)), PAIRS)
    by_hand = [bits_by_hand(prompt + target) - (bits_by_hand(prompt) if prompt else 0) for prompt, target in PAIRS]
    assert scores.bits == pytest.approx(by_hand, rel=1e-6)
    assert scores.num_tokens.tolist() == [2, 1, 3, 1, 4]
    assert not scores.was_cut.any()


def test_greedy_means_every_token_is_the_most_likely() -> None:
    # after BOS and after a the table likes a best, after b it likes a best
    scores = score_targets(asked(BigramModel(context_tokens=16)), [("b", "aa"), ("b", "ab"), ("", "a")])
    assert scores.is_greedy.tolist() == [True, False, True]


def test_what_does_not_fit_the_context_is_told_and_scored_from_half_a_context_at_least() -> None:
    model = PositionModel(context_tokens=4)
    scores = score_targets(asked(model), [("aaaaaa", "bb"), ("a", "ab")])
    # one window of 4 tokens, the last two of them scored, after 2 and 3 tokens
    assert scores.bits[0] == pytest.approx(1 / 2 + 1 / 3)
    assert scores.was_cut.tolist() == [True, False]


def test_a_target_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="target 1 is '', which has no tokens"):
        score_targets(asked(BigramModel()), [("a", "b"), ("a", "")])


class PairTokenizer(CharacterTokenizer):
    """`ab` is one token, 5 + 1."""

    def encode(self, text: str) -> list[int]:
        ids = []
        while text:
            size = 2 if text.startswith("ab") else 1
            ids.append(6 if size == 2 else {"a": A, "b": B, " ": 7}[text[0]])
            text = text[size:]
        return ids


def test_a_token_across_the_boundary_is_the_targets() -> None:
    assert split_tokens(PairTokenizer(), "ba", "ba") == ([B], [6, A])
    assert split_tokens(PairTokenizer(), "b ", "ab") == ([B], [7, 6])
    assert np.isclose(TABLE[A].sum(), 1.0)


def test_a_model_of_running_text_does_worse_with_prompt_and_target_cut_apart(tmp_path: Path) -> None:
    _, _, artifact, _ = chain_of(tmp_path)
    tokenizer = Tokenizer.load(artifact.file("tokenizer.model"))
    model = ngram(tokenizer)
    pairs = [(f"{head} ", tail) for text in model.texts for head, _, tail in [text.rpartition(" ")]]
    together = score_targets(TextModel(model=model, tokenizer=tokenizer), pairs)
    apart = model.score_targets(
        [[tokenizer.bos_id, *tokenizer.encode(prompt)] for prompt, _ in pairs],
        [tokenizer.encode(target) for _, target in pairs],
    )
    assert together.bits.sum() < sum(total_bits(scores) for scores in apart)
