"""What may not come next, against transformers' processors of logits."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from seq2seq_examples import KINDS, model_of
from test_beam_search import stream_model
from transformers.generation.logits_process import MinNewTokensLengthLogitsProcessor, NoRepeatNGramLogitsProcessor

from pipeline.models.constraints import constrained, repeating
from pipeline.models.interface import GenerationParameters

TEXTS = np.random.default_rng(0).integers(4, size=(6, 9)).tolist()


@pytest.mark.parametrize("ngram", [1, 2, 3, 8, 9])
def test_the_tokens_that_would_repeat_a_run_are_those_of_transformers(ngram: int) -> None:
    scores = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    for length in range(1, 10):
        texts = [text[:length] for text in TEXTS]
        expected = NoRepeatNGramLogitsProcessor(ngram)(torch.tensor(texts), scores)
        found = constrained(scores, texts, GenerationParameters(no_repeat_ngram=ngram))
        assert torch.equal(found, expected)
    assert repeating([1, 1], 0) == set()


def test_no_end_comes_before_a_text_is_long_enough_as_in_transformers() -> None:
    scores = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    parameters = GenerationParameters(min_new_tokens=4, stop_ids=(1, 3))
    for length in range(7):
        processor = MinNewTokensLengthLogitsProcessor(2, 4, [1, 3], device="cpu")
        expected = processor(torch.tensor([[0, 0, *text[:length]] for text in TEXTS]), scores)
        assert torch.equal(constrained(scores, [text[:length] for text in TEXTS], parameters), expected)


def test_where_nothing_else_is_left_a_text_may_end_or_repeat() -> None:
    scores = torch.tensor([[0.5, 0.25, 0.125]])
    parameters = GenerationParameters(min_new_tokens=9, no_repeat_ngram=1, stop_ids=(0,))
    assert torch.equal(constrained(scores, [[1, 2]], parameters), scores)
    assert constrained(scores, [[1]], parameters).tolist() == [[-np.inf, -np.inf, 0.125]]


@pytest.mark.parametrize(
    ("family", "is_pairs"),
    [*((kind, True) for kind in KINDS), ("ngram", False), ("gru", False), ("transformer", False)],
)
@pytest.mark.parametrize("num_beams", [1, 3])
def test_every_family_writes_so_and_each_text_as_it_would_alone(family: str, is_pairs: bool, num_beams: int) -> None:
    model = model_of(family) if is_pairs else stream_model(family)
    prompts = [[2, 5, 9, 3], [2, 3]] if is_pairs else [[1, 2], [1, 3, 3, 4, 2]]
    free = GenerationParameters(max_new_tokens=8, num_beams=num_beams, stop_ids=(model.eos_id,), temperature=0.0)
    parameters = replace(free, min_new_tokens=5, no_repeat_ngram=2)
    written = model.generate(prompts, parameters)
    for prompt, text in zip(prompts, written, strict=True):
        runs = list(pairwise(text))
        assert len(text) >= 5 and len(set(runs)) == len(runs)
        assert model.generate([prompt], parameters) == [text]
    assert written != model.generate(prompts, free)
