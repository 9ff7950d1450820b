"""Beam search against every continuation there is, on vocabularies small enough to write them all down."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from counted import counted
from seq2seq_examples import model_of
from torch import Tensor

from pipeline.models.beam_search import beam_search, length_divisor
from pipeline.models.interface import GenerationParameters
from pipeline.models.ngram.kneser_ney import estimate
from pipeline.models.ngram.model import NgramModel
from pipeline.models.ngram.table import NgramTable
from pipeline.models.recurrent.model import RecurrentModel
from pipeline.models.recurrent.network import Recurrent
from pipeline.models.recurrent.shape import derive_recurrent_shape
from pipeline.models.transformer.model import TransformerModel
from pipeline.models.transformer.network import Transformer
from pipeline.models.transformer.shape import derive_shape

EOS = 0


class Table:
    """Each row's next logits are a fixed function of all its tokens so far."""

    def __init__(self, seeds: list[int], *, vocab_size: int, sharpness: float = 1.5) -> None:
        self.rows: list[tuple[int, ...]] = [(seed,) for seed in seeds]
        self.vocab_size, self.sharpness = vocab_size, sharpness
        self.largest_batch = 0

    def logits(self) -> Tensor:
        self.largest_batch = max(self.largest_batch, len(self.rows))
        return torch.stack([self.of(row) for row in self.rows])

    def of(self, row: tuple[int, ...]) -> Tensor:
        number = 0
        for token in row:
            number = number * 31 + token + 1
        generator = torch.Generator().manual_seed(number)
        return torch.randn(self.vocab_size, generator=generator) * self.sharpness

    def step(self, tokens: Tensor) -> Tensor:
        self.rows = [(*row, token) for row, token in zip(self.rows, tokens.tolist(), strict=True)]
        return self.logits()

    def reorder(self, rows: Tensor) -> None:
        self.rows = [self.rows[row] for row in rows.tolist()]


def searched(seeds: list[int], *, vocab_size: int, **settings: Any) -> list[list[int]]:
    table = Table(seeds, vocab_size=vocab_size)
    parameters = GenerationParameters(**{"stop_ids": (EOS,), **settings})
    return beam_search(table.logits(), table, parameters)


def exhaustive(
    seed: int, *, vocab_size: int, longest: int, penalty: float, may_be: Callable[[list[int]], bool] = lambda text: True
) -> list[int]:
    """The best of all continuations that end within `longest` tokens or are cut there."""
    table = Table([seed], vocab_size=vocab_size)
    found = []
    for length in range(1, longest + 1):
        for text in itertools.product(range(1, vocab_size), repeat=length - 1):
            last = range(vocab_size) if length == longest else [EOS]
            for token in last:
                whole, log_p = (*text, token), 0.0
                if not may_be(list(text) + ([token] if token else [])):
                    continue
                for place, chosen in enumerate(whole):
                    log_p += float(table.of((seed, *whole[:place])).double().log_softmax(-1)[chosen])
                found.append((log_p / length_divisor(length, penalty), list(text) + ([token] if token else [])))
    return max(found)[1]


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0])
def test_with_beams_enough_the_best_of_all_continuations_is_found(penalty: float) -> None:
    for seed in range(6):
        settings = {"num_beams": 4**4, "max_new_tokens": 4, "length_penalty": penalty}
        (found,) = searched([seed], vocab_size=4, **settings)
        assert found == exhaustive(seed, vocab_size=4, longest=4, penalty=penalty)


def test_what_may_not_be_written_is_not_found_and_the_best_of_the_rest_is() -> None:
    def may_be(text: list[int]) -> bool:
        runs = list(itertools.pairwise(text))
        return len(text) >= 3 and len(set(runs)) == len(runs)

    changed = 0
    for seed in range(8):
        settings = {"num_beams": 3**5, "max_new_tokens": 5, "length_penalty": 0.6}
        (free,) = searched([seed], vocab_size=3, **settings)
        (found,) = searched([seed], vocab_size=3, min_new_tokens=3, no_repeat_ngram=2, **settings)
        assert found == exhaustive(seed, vocab_size=3, longest=5, penalty=0.6, may_be=may_be)
        changed += found != free
    assert changed > 2


def test_one_beam_is_greedy_and_more_beams_find_what_scores_no_less_on_the_whole() -> None:
    def log_p(seed: int, text: list[int]) -> float:
        table, total = Table([seed], vocab_size=7), 0.0
        for place, token in enumerate([*text, EOS] if len(text) < 6 else text):
            total += float(table.of((seed, *text[:place])).log_softmax(-1)[token])
        return total

    narrow, wide = 0.0, 0.0
    for seed in range(20):
        table, greedy = Table([seed], vocab_size=7), []
        while len(greedy) < 6:
            token = int(table.of((seed, *greedy)).argmax())
            if token == EOS:
                break
            greedy.append(token)
        assert searched([seed], vocab_size=7, num_beams=1, max_new_tokens=6, length_penalty=1.0) == [greedy]
        narrow += log_p(seed, greedy)
        wide += log_p(seed, searched([seed], vocab_size=7, num_beams=8, max_new_tokens=6, length_penalty=0.0)[0])
    assert wide > narrow


def test_a_batch_of_prompts_finds_what_each_alone_finds() -> None:
    settings: dict[str, Any] = {"num_beams": 3, "max_new_tokens": 8, "length_penalty": 0.6}
    together = searched(list(range(12)), vocab_size=6, **settings)
    assert together == [searched([seed], vocab_size=6, **settings)[0] for seed in range(12)]
    assert len({len(text) for text in together}) > 1  # some end early and leave the batch


def test_a_length_penalty_prefers_longer_continuations() -> None:
    lengths = [
        sum(map(len, searched(list(range(15)), vocab_size=5, num_beams=6, max_new_tokens=9, length_penalty=penalty)))
        for penalty in (0.0, 1.0, 4.0)
    ]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def test_the_divisor_is_wus() -> None:
    assert length_divisor(1, 0.6) == 1.0
    assert length_divisor(7, 0.6) == pytest.approx(2**0.6)
    assert length_divisor(50, 0.0) == 1.0


@pytest.mark.parametrize("kind", ["rotary", "gru", "lstm, input feeding"])
def test_beams_of_an_encoder_decoder_equal_the_best_of_all_targets_it_scores(kind: str) -> None:
    model = model_of(kind, vocab_size=5, depth=1, noise=1.0)
    sources = [[2, 5, 9, 3], [2, 25, 6, 7, 8, 3]]
    parameters = GenerationParameters(max_new_tokens=4, num_beams=5**4, length_penalty=0.8)
    texts = [[*text, 3] for length in range(4) for text in itertools.product([0, 1, 2, 4], repeat=length)] + [
        list(text) for text in itertools.product([0, 1, 2, 4], repeat=4)
    ]
    for source, found in zip(sources, model.generate(sources, parameters), strict=True):
        scores = model.score_targets([source] * len(texts), texts)
        best = max(range(len(texts)), key=lambda n: scores[n].sum() / length_divisor(len(texts[n]), 0.8))
        assert found == [token for token in texts[best] if token != 3]
    few = GenerationParameters(max_new_tokens=8, num_beams=3)
    assert model.generate(sources, few) == [model.generate([source], few)[0] for source in sources]


def stream_model(family: str) -> Any:
    """A decoder alone over five tokens, of which 0 ends a text."""
    ids = {"tokenizer_hash": "0" * 64, "bos_id": 1, "eos_id": EOS, "pad_id": -1}
    if family == "ngram":
        generator = np.random.default_rng(0)
        sizes = generator.integers(1, 6, size=100)
        documents = [[1, *generator.choice([2, 3, 4], size=size, p=[0.5, 0.4, 0.1]), EOS] for size in sizes]
        tokens = np.concatenate(documents)
        orders = counted(tokens, order=3, vocab_size=5, bos_id=1)
        return NgramModel(NgramTable.of(orders, estimate(orders, never_predicted=[1]), vocab_size=5), **ids)
    if family == "transformer":
        network: Any = Transformer(derive_shape(vocab_size=5, context_tokens=16, depth=2, width=16, num_heads=2))
    else:
        network = Recurrent(derive_recurrent_shape(cell=family, vocab_size=5, context_tokens=16, depth=2, width=16))
    network.initialise(seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return (TransformerModel if family == "transformer" else RecurrentModel)(network, **{**ids, "pad_id": 0})


@pytest.mark.parametrize("family", ["ngram", "gru", "lstm", "transformer"])
def test_beams_of_a_decoder_alone_equal_the_best_of_all_continuations_it_scores(family: str) -> None:
    model = stream_model(family)
    prompts = [[1, 2], [1, 3, 3, 4, 2], [1]]
    parameters = GenerationParameters(max_new_tokens=3, num_beams=5**3, length_penalty=0.8, stop_ids=(EOS,))
    others = [token for token in range(5) if token != EOS]
    texts = [[*text, EOS] for length in range(3) for text in itertools.product(others, repeat=length)]
    texts += [list(text) for text in itertools.product(others, repeat=3)]
    for prompt, found in zip(prompts, model.generate(prompts, parameters), strict=True):
        scores = model.score_targets([prompt] * len(texts), texts)
        best = max(range(len(texts)), key=lambda n: scores[n].sum() / length_divisor(len(texts[n]), 0.8))
        assert found == [token for token in texts[best] if token != EOS]
    few = GenerationParameters(max_new_tokens=7, num_beams=3, stop_ids=(EOS,))
    assert model.generate(prompts, few) == [model.generate([prompt], few)[0] for prompt in prompts]
    assert model.generate([], few) == []


def test_a_prompt_that_fills_the_context_leaves_room_for_the_beams() -> None:
    model = stream_model("transformer")
    parameters = GenerationParameters(max_new_tokens=30, num_beams=2)
    long = [1, *[2, 3, 4] * 10]
    (found,) = model.generate([long], parameters)
    assert len(found) == 8  # half the context of 16
    assert model.generate([long[-8:]], parameters) == [found]
