"""The continuous cache equals a plain loop over its definition, sees nothing of the future, and leaves a model alone when off."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
import torch
from test_recurrent import CELLS, model_of, tokens
from torch import Tensor

from pipeline.models.recurrent import model as module
from pipeline.models.recurrent.cache import CachedScorer, ContinuousCache
from pipeline.models.recurrent.model import RecurrentModel


def by_loop(model: RecurrentModel, row: list[int], *, num_tokens: int, theta: float, weight: float) -> np.ndarray:
    """(T - 1, V): the mixture's probabilities, a position at a time."""
    with torch.inference_mode():
        states, _ = model.network.hidden(torch.tensor([row[:-1]]))
        own = model.network.logits(states)[0].double().softmax(-1).numpy()
    h = states[0].double().numpy()
    found = np.empty_like(own)
    for t in range(len(row) - 1):  # h[t] has read row[0] .. row[t], and predicts row[t + 1]
        shares = {i: exp(theta * float(h[t] @ h[i])) for i in range(max(0, t - num_tokens), t)}
        found[t] = own[t]
        if shares:
            found[t] *= 1 - weight
            for i, share in shares.items():
                found[t, row[i + 1]] += weight * share / sum(shares.values())
    return found


def scores_by_loop(model: RecurrentModel, row: list[int], **settings: float) -> np.ndarray:
    found = by_loop(model, row, **settings)  # type: ignore[arg-type]
    return np.array([log(found[t, row[t + 1]]) for t in range(len(row) - 1)])


def scored(model: RecurrentModel, rows: Tensor, **settings: float) -> Tensor:
    return CachedScorer(model, **settings).score(rows).log_probabilities  # type: ignore[arg-type]


SETTINGS = {"num_tokens": 7, "theta": 0.6, "weight": 0.3}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("num_tokens", "theta", "weight"), [(1, 0.5, 0.5), (7, 1.0, 0.3), (300, 0.3, 0.1), (2000, 0.0, 0.9)]
)
def test_scores_ranks_and_confidences_are_those_of_a_loop(
    cell: str, num_tokens: int, theta: float, weight: float
) -> None:
    model, rows = model_of(cell), tokens(2, 600)  # spans of 256: the cache crosses their borders
    settings = {"num_tokens": num_tokens, "theta": theta, "weight": weight}
    found = CachedScorer(model, **settings).score(rows)
    for row, targets in enumerate(rows[:, 1:].numpy()):
        expected = by_loop(model, rows[row].tolist(), **settings)
        chosen = expected[np.arange(599), targets]
        np.testing.assert_allclose(found.log_probabilities[row].numpy(), np.log(chosen), atol=2e-5)
        np.testing.assert_allclose(found.confidences[row].numpy(), expected.max(1), rtol=2e-5)
        ranks = (expected > chosen[:, None]).sum(1)
        assert (found.ranks[row].numpy() == ranks).mean() > 0.99  # near ties fall either way in float32


def test_a_text_of_the_same_state_everywhere_counts_what_followed() -> None:
    cache = ContinuousCache(num_tokens=3, theta=5.0, weight=0.5)
    states, own = torch.ones(1, 5, 2), torch.full((1, 5, 4), 0.25).log()
    found = cache.mixed(own, states, torch.tensor([[1, 2, 1, 1, 3]])).exp()[0]
    assert found[0].tolist() == pytest.approx([0.25] * 4)  # nothing is remembered yet
    assert found[1].tolist() == pytest.approx([0.125, 0.625, 0.125, 0.125])  # 1 followed
    assert found[2].tolist() == pytest.approx([0.125, 0.375, 0.375, 0.125])  # 1 and 2
    assert found[4].tolist() == pytest.approx([0.125, 0.125 + 1 / 3, 0.125 + 1 / 6, 0.125])  # 2, 1, 1: three at most
    later = cache.mixed(own[:, :1], states[:, :1], torch.tensor([[0]])).exp()[0, 0]
    assert later.tolist() == pytest.approx([0.125, 0.125 + 1 / 3, 0.125, 0.125 + 1 / 6])  # 1, 1, 3
    assert found.sum(-1).tolist() == pytest.approx([1.0] * 5)


@pytest.mark.parametrize("cell", CELLS)
def test_no_token_sees_itself_or_what_comes_later(cell: str) -> None:
    model = model_of(cell, vocab_size=400)
    new = torch.arange(4, 304)[None]  # no token twice: the cache never holds the one that comes
    alone, mixed = model.score(new).log_probabilities, scored(model, new, **SETTINGS)
    assert torch.equal(mixed[:, :1], alone[:, :1])
    assert torch.allclose(mixed[:, 1:], alone[:, 1:] + log(0.7), atol=1e-5)
    rows = tokens(1, 300)
    before = scored(model, rows, **SETTINGS)
    for place in (1, 40, 256, 257, 299):
        changed = rows.clone()
        changed[0, place] = 4 + (rows[0, place] - 3) % 90
        after = scored(model, changed, **SETTINGS)
        assert torch.equal(after[0, : place - 1], before[0, : place - 1])
        assert after[0, place - 1] != before[0, place - 1]


def test_rows_have_caches_of_their_own_whatever_stands_behind_them() -> None:
    model, rows = model_of("lstm"), tokens(3, 90)
    together = scored(model, rows, **SETTINGS)
    for number, length in enumerate((90, 40, 65)):
        alone = scored(model, rows[number : number + 1, :length], **SETTINGS)
        assert torch.allclose(together[number, : length - 1], alone[0], atol=1e-5)


def test_windows_of_a_long_document_remember_as_much_as_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.evaluation.scoring import windows

    model, row = model_of("gru"), tokens(1, 100) % 20 + 4
    monkeypatch.setattr(module, "CONTEXT_TOKENS", 32)
    scorer = CachedScorer(
        model, num_tokens=15, theta=0.0, weight=0.999999
    )  # what counts is remembered, whatever the state
    found = np.zeros(100)
    for start, end, first in windows(100, context_tokens=scorer.context_tokens):
        found[first:end] = scorer.score(row[:, start:end]).log_probabilities[0, first - start - 1 :].numpy()
    monkeypatch.undo()
    expected = scores_by_loop(model, row[0].tolist(), num_tokens=15, theta=0.0, weight=0.999999)
    is_remembered = expected > log(0.01)  # the others are the model's, whose state begins anew in each window
    assert is_remembered.sum() >= 10
    np.testing.assert_allclose(found[1:][is_remembered], expected[is_remembered], atol=1e-4)
    assert (found[1:][~is_remembered] < log(0.01)).all()
