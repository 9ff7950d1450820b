"""Models of pairs are asked as they were trained, and scored by the target alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from bigram_model import BOS, EOS, A, B, BigramModel, CharacterTokenizer, bits_by_hand

from pipeline.errors import ArtifactDamaged, InputError
from pipeline.evaluation.continuation import in_words
from pipeline.evaluation.pair_model import PairModel
from pipeline.evaluation.targets import score_targets
from pipeline.models.interface import GenerationParameters
from pipeline.models.target_scores import score_in_rows


class Bigram(BigramModel):
    """Scores targets as every decoder does."""

    def score_targets(self, prompts: list[list[int]], targets: list[list[int]]) -> list[np.ndarray]:
        return score_in_rows(self, prompts, targets)


class EncoderDecoder(BigramModel):
    """Keeps what it is asked; every target token costs one bit."""

    is_encoder_decoder = True

    def __init__(self, **words: Any) -> None:
        super().__init__(**words)
        self.asked: list[list[int]] = []
        self.ways: list[GenerationParameters] = []

    def score_targets(self, prompts: list[list[int]], targets: list[list[int]]) -> list[np.ndarray]:
        self.asked += prompts
        return [np.full(len(target), -np.log(2.0), dtype=np.float32) for target in targets]

    def generate(self, prompts: list[list[int]], parameters: GenerationParameters) -> list[list[int]]:
        self.ways.append(parameters)
        return [[A, B, EOS] for _ in prompts]


def index(*, keep: str = "beginning", template: bool = True, task: str = "translation") -> dict[str, Any]:
    ids = {"text": "a{text}b{target}", "prefix_ids": [A], "middle_ids": [B]}
    return {"task": task, "keep_source": keep, "template": ids if template else None}


def asked(model: Any, **words: Any) -> PairModel:
    tokenizer: Any = CharacterTokenizer()
    return PairModel(model, tokenizer, tokenizer, index(**words))


def test_a_decoder_reads_the_text_in_its_template_and_pays_for_the_target_alone() -> None:
    pairs = asked(Bigram(context_tokens=16))
    assert pairs.prompt("bb", room=4) == ([BOS, A, B, B, B], False)
    scores = pairs.score(["bb", "a"], ["ab", "aaa"])
    expected = [bits_by_hand("abbb" + "ab") - bits_by_hand("abbb"), bits_by_hand("aab" + "aaa") - bits_by_hand("aab")]
    assert scores.bits == pytest.approx(expected, rel=1e-6)
    assert scores.num_tokens.tolist() == [2, 3]
    assert not scores.was_cut.any()


@pytest.mark.parametrize(("keep", "cut"), [("beginning", "end"), ("end", "beginning")])
def test_a_text_that_is_not_read_whole_is_told(keep: str, cut: str) -> None:
    pairs = asked(Bigram(context_tokens=16), keep=keep)
    parameters = (
        pairs.parameters()
    )  # half the context is for the text; mark, prefix and middle take 3 of the other half
    assert pairs.remark("ababa", parameters) is None
    found = pairs.remark("ababab", parameters)
    assert found is not None and found.startswith(
        f"The text does not fit the 16 tokens that the model reads at once, 8 of them for what it writes, so its {cut} was left"
    )


@pytest.mark.parametrize(("keep", "kept", "cut"), [("beginning", [A, A], "end"), ("end", [A, B], "beginning")])
@pytest.mark.parametrize("template", [True, False])
def test_a_text_is_cut_to_what_the_dataset_cuts_its_own_to(
    template: bool, keep: str, kept: list[int], cut: str
) -> None:
    tokenizer: Any = CharacterTokenizer()
    model: Any = Bigram(context_tokens=16) if template else EncoderDecoder(context_tokens=16)
    pairs = PairModel(model, tokenizer, tokenizer, {**index(keep=keep, template=template), "max_source_tokens": 2})
    assert pairs.prompt("aab", room=4) == ([BOS, A, *kept, B] if template else [BOS, *kept, EOS], True)
    assert pairs.prompt("ab", room=4)[1] is False
    assert pairs.score(["aab", "ab"], ["a", "a"]).was_cut.tolist() == [True, False]
    found = pairs.remark("aab", pairs.parameters())
    assert found is not None and found.startswith("The text has more than 2 tokens, to which those that it learnt")
    assert f"so its {cut} was left out" in found


def test_a_conversation_without_the_names_of_its_data_is_told() -> None:
    tokenizer: Any = CharacterTokenizer()
    pairs = PairModel(Bigram(context_tokens=64), tokenizer, tokenizer, {**index(), "speakers": ["USER", "SYSTEM"]})
    found = pairs.remark("ab", pairs.parameters())
    assert found is not None and found.endswith("'USER: ...', then 'SYSTEM:'. `textmill chat` writes them so.")
    assert pairs.remark("USER: ab\nSYSTEM:", pairs.parameters()) is None


def test_benchmarks_ask_through_the_template_too() -> None:
    pairs = asked(Bigram(context_tokens=16))
    assert pairs.cut("bb ", " ab") == ([BOS, A, B, B, B], [A, B])
    assert score_targets(pairs, [("bb", "ab")]).bits == pytest.approx(pairs.score(["bb"], ["ab"]).bits)


@pytest.mark.parametrize(("keep", "kept"), [("beginning", [A, A]), ("end", [A, B])])
def test_a_long_source_is_cut_at_the_end_that_the_dataset_names(keep: str, kept: Sequence[int]) -> None:
    pairs = asked(Bigram(context_tokens=9), keep=keep)
    # of 9 tokens the mark, prefix and middle take 3, the target 4: two of the text are left
    assert pairs.prompt("aab", room=4) == ([BOS, A, *kept, B], True)
    assert pairs.score(["aab"], ["abab"]).was_cut.tolist() == [True]


def test_an_encoder_decoder_reads_the_source_between_its_marks() -> None:
    model = EncoderDecoder(context_tokens=4)
    pairs = asked(model, template=False)
    scores = pairs.score(["ab", "abab"], ["a", "abaaab"])
    assert model.asked == [[BOS, A, B, EOS], [BOS, A, B, EOS]]
    assert scores.was_cut.tolist() == [False, True]
    assert scores.bits.tolist() == pytest.approx(
        [1.0, 4.0 + 24]
    )  # what is too long to be written is spelt out: two bytes and the end
    assert pairs.write(["ab"], GenerationParameters()) == ["ab"]


def test_a_decoder_without_a_template_is_one_sentence() -> None:
    with pytest.raises(ArtifactDamaged, match="reads pairs through a template, and these have none"):
        asked(Bigram(), template=False)


@pytest.mark.parametrize(
    ("task", "settings", "way"),
    [
        ("translation", {}, "5 beams, length penalty 1, at most 30 tokens"),
        ("summarisation", {}, "4 beams, length penalty 1, at most 30 tokens"),
        ("dialogue", {}, "drawn at temperature 0.8, top-k all, top-p 0.9, seed 0, at most 30 tokens"),
        ("translation", {"num_beams": 1}, "the likeliest token each time, at most 30 tokens"),
        ("translation", {"num_beams": 2, "temperature": 1.0}, "2 beams, length penalty 1, at most 30 tokens"),
        (
            "translation",
            {"temperature": 0.5, "max_new_tokens": 9},
            "drawn at temperature 0.5, top-k all, top-p 1, seed 0, at most 9 tokens",
        ),
        ("dialogue", {"temperature": 0.0}, "the likeliest token each time, at most 30 tokens"),
    ],
)
def test_a_model_writes_as_its_tasks_preset_says_and_what_is_asked_for_goes_before(
    task: str, settings: dict[str, Any], way: str
) -> None:
    model = EncoderDecoder(context_tokens=30)
    pairs = asked(model, template=False, task=task)
    assert pairs.answer(["ab"], settings) == ["ab"]
    assert in_words(model.ways[-1]) == way
    assert model.ways[-1].stop_ids == (EOS,)


def test_a_decoder_writes_at_most_half_its_context_unless_asked_and_keeps_room_for_a_text() -> None:
    pairs = asked(Bigram(context_tokens=16))
    assert pairs.parameters().max_new_tokens == 8
    assert pairs.parameters({"max_new_tokens": 12}).max_new_tokens == 12
    assert len(pairs.answer(["ab"], {"max_new_tokens": 12})[0]) == 12
    with pytest.raises(
        InputError, match="13 tokens is asked for, and the model has room for 16, its prompt included. Ask for 12"
    ):
        pairs.answer(["ab"], {"max_new_tokens": 13})
