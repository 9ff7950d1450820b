"""The gate promotes what is better with the asked confidence, and nothing else."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.registry.gate import Comparison, compare_bits, confidence_of, decide, resample

IDS = [f"{number:04x}" for number in range(1000)]


def compare(challenger: Any, rival: Any, num_bytes: Any = None, **words: Any) -> Comparison:
    challenger, rival = np.asarray(challenger, dtype=float), np.asarray(rival, dtype=float)
    known: dict[str, Any] = {
        "rival": "champion",
        "ids": IDS[: len(challenger)],
        "num_bytes": np.full(len(challenger), 10) if num_bytes is None else np.asarray(num_bytes),
        "num_resamples": 2_000,
        "min_documents": 5,
        "digests": ("a", "b"),
    }
    return compare_bits(challenger_bits=challenger, rival_bits=rival, **{**known, **words})


def verdict(champion: Comparison | None, baseline: Comparison, confidence: float = 0.95) -> Any:
    return decide(champion, baseline, confidence=confidence, min_documents=5)


WON = compare(np.full(20, 10.0), np.full(20, 20.0))
LOST = compare(np.full(20, 20.0), np.full(20, 10.0))


def test_scores_are_bits_per_byte_weighted_by_bytes() -> None:
    found = compare([10, 90, 0, 0, 0], [20, 100, 0, 0, 0], num_bytes=[1, 9, 5, 5, 0])
    assert found.challenger_bits_per_byte == pytest.approx(100 / 20)
    assert found.rival_bits_per_byte == pytest.approx(120 / 20)
    assert found.difference == pytest.approx(1.0)


def test_confidence_is_the_share_of_all_signs_that_add_up_to_less() -> None:
    saved = np.array([3.0, -1.0, 1.5, 0.5, 2.0])
    sums = [np.dot(signs, saved) for signs in product((1, -1), repeat=5)]
    exact = np.mean([total < saved.sum() for total in sums])
    assert exact == 1 - 3 / 32  # 6 as found, 8 and 7 with other signs
    assert compare(-saved, np.zeros(5), num_resamples=32).confidence == pytest.approx(exact)


def test_what_hangs_together_is_one_difference() -> None:
    saved, sizes = np.random.default_rng(2).normal(0.5, 1.0, size=24), np.arange(10, 34)
    groups = np.arange(24) % 8
    found = compare(-saved, np.zeros(24), num_bytes=sizes, groups=groups)
    sums = [np.bincount(groups, weights=values) for values in (saved, sizes)]
    whole = compare(-sums[0], np.zeros(8), num_bytes=sums[1])
    assert found.difference == pytest.approx(whole.difference)
    assert found.confidence == whole.confidence
    assert found.num_documents == 24
    # two conversations of ten turns: were both models equally good, one in four would come out so
    assert compare(np.zeros(20), np.ones(20), groups=np.repeat([0, 1], 10)).confidence == 0.75


def test_a_turn_more_of_equal_conversations_makes_nothing_surer() -> None:
    """Of 400 comparisons of equal models on 12 conversations of 8 turns, about one in twenty reaches 0.95."""
    rng, groups = np.random.default_rng(3), np.repeat(np.arange(12), 8)
    reached = {True: 0, False: 0}
    for _ in range(400):
        saved = rng.normal(size=12)[groups] + rng.normal(0.0, 0.3, size=96)
        for is_grouped in reached:
            words = {"groups": groups} if is_grouped else {}
            found = compare(-saved, np.zeros(96), num_resamples=500, **words).confidence
            reached[is_grouped] += found is not None and found >= 0.95
    assert reached[True] <= 400 * 0.08
    assert reached[False] > 400 * 0.2


def test_drawn_signs_come_near_to_all_of_them() -> None:
    saved = np.random.default_rng(1).normal(0.4, 1.0, size=14)
    listed, drawn = (confidence_of(saved, num_resamples=number, seed=0) for number in (2**14, 2**14 - 1))
    assert drawn != listed
    assert drawn == pytest.approx(listed, abs=0.01)


@pytest.mark.parametrize("size", [5, 10, 30])
def test_of_equal_models_one_in_twenty_seems_better_whatever_the_number_of_documents(size: int) -> None:
    rng = np.random.default_rng(size)
    trials = [
        confidence_of(draw, num_resamples=1_000, seed=number)
        for number, draw in enumerate(rng.standard_t(3, size=(2_000, size)))
    ]
    assert np.mean(np.array(trials) >= 0.95) == pytest.approx(0.05 if size > 5 else 1 / 32, abs=0.013)


def test_the_spread_over_draws_is_the_standard_error_of_the_mean() -> None:
    saved = np.random.default_rng(0).normal(size=400)
    draws = resample(saved, np.ones(400), num_resamples=20_000, seed=1)
    assert draws.std() == pytest.approx(saved.std() / 20, rel=0.02)
    assert draws.mean() == pytest.approx(saved.mean(), abs=0.002)


def test_draws_that_do_not_fit_at_once_are_as_many_as_asked() -> None:
    assert len(resample(np.ones(3_000_000), np.ones(3_000_000), num_resamples=3, seed=0)) == 3


def test_the_same_comparison_gives_the_same_figures_and_another_digest_other_draws() -> None:
    rng = np.random.default_rng(0)
    challenger, rival = rng.normal(size=50), rng.normal(size=50)
    assert compare(challenger, rival) == compare(challenger, rival)
    assert compare(challenger, rival).low != compare(challenger, rival, digests=("a", "c")).low


def test_an_equal_model_never_replaces_one() -> None:
    found = compare(np.ones(30), np.ones(30))
    assert found.confidence == 0
    assert not verdict(found, WON).promoted
    assert verdict(found, WON).reason.startswith("It is exactly as good as champion: being better has confidence ")


def test_a_better_challenger_is_promoted_and_the_reason_names_both_rivals() -> None:
    found = verdict(WON, WON)
    assert found.promoted
    assert "champion by 1.0000 bits per byte (confidence 0.9995)" in found.reason


def test_without_a_champion_the_baseline_alone_decides() -> None:
    assert verdict(None, WON).promoted
    assert not verdict(None, LOST).promoted


@pytest.mark.parametrize(("champion", "baseline"), [(LOST, WON), (WON, LOST), (LOST, LOST)])
def test_losing_to_either_keeps_the_alias(champion: Comparison, baseline: Comparison) -> None:
    found = verdict(champion, baseline)
    assert not found.promoted
    assert "1.0000 bits per byte worse" in found.reason


def test_a_small_gain_that_may_be_chance_keeps_the_alias() -> None:
    saved = np.array([1.0, -0.9, 1.0, -0.9, 1.0, -0.9])
    found = compare(-saved, np.zeros(6))
    assert found.difference is not None
    assert found.difference > 0
    assert found.confidence is not None
    assert 0.5 < found.confidence < 0.95
    assert "better than champion: being better has confidence" in verdict(found, WON).reason


def test_too_few_common_documents_decide_nothing() -> None:
    found = compare(np.zeros(4), np.ones(4))
    assert found.confidence is None
    assert "Only 4 test documents were held out by both it and champion; 5 are asked for" in verdict(found, WON).reason
    assert not verdict(None, found).promoted


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["challenger", "rival"])
def test_a_number_that_is_not_finite_never_promotes(value: float, side: str) -> None:
    broken = np.ones(30)
    broken[7] = value
    fine = np.full(30, 2.0)
    found = compare(broken, fine) if side == "challenger" else compare(fine / 4, broken)
    assert found.confidence is None
    for champion, baseline in ((found, WON), (WON, found), (None, found)):
        assert not verdict(champion, baseline).promoted
        assert "not finite" in verdict(champion, baseline).reason


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.floats(0.51, 0.99))
def test_nobody_is_promoted_without_the_confidence(saved: list[float], confidence: float) -> None:
    found = compare(-np.array(saved), np.zeros(len(saved)), num_resamples=200)
    outcome = decide(found, WON, confidence=confidence, min_documents=5)
    enough = len(saved) >= 5 and found.confidence is not None and found.confidence >= confidence
    assert outcome.promoted == enough
