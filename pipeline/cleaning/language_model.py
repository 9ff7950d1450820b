"""py3langid's model over many texts at once: its automaton walks all of them in step, a byte of each at a time.

In: texts. Out: for each the code that py3langid's `classify` gives, and its probability. The library walks one text in a
Python loop, which costs more than everything else that cleaning does; in step, NumPy does the same walk some ten times
as fast. Model, features and arithmetic are the library's (Lui & Baldwin 2012), and the tests hold both side by side.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """The automaton and the naive Bayes tables."""

    identifier: Any
    labels: list[str]
    moves: NDArray[np.int32]
    """[rows * 256] the state after a state's row and a byte."""
    rows: NDArray[np.int32]
    """[states] where the row of each state begins in `moves`."""
    features: NDArray[np.int32]
    """[states] the feature that reaching a state counts for, or -1."""
    weights: Floats
    """[features, labels] log-probabilities."""
    priors: Floats
    """[labels]"""


def classify(texts: Sequence[str]) -> list[tuple[str, float]]:
    """Code and probability of each text."""
    model = _model()
    data = [model.identifier._encode(text) for text in texts]
    scores = np.zeros((len(data), len(model.labels)), dtype=np.float32)
    documents, features, counts = _visits(data, model)
    edges = np.searchsorted(documents, np.arange(len(data) + 1))
    gains = np.log1p(counts.astype(np.float32))
    for document, (start, stop) in enumerate(itertools.pairwise(edges.tolist())):
        if stop > start:
            scores[document] = gains[start:stop] @ model.weights.take(features[start:stop], axis=0) + model.priors
    # the root of the length keeps probabilities calibrated, as the library has it
    scores /= np.sqrt(np.maximum([len(piece) for piece in data], 1), dtype=np.float32)[:, None]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True, initial=np.finfo(np.float32).min))
    scores /= scores.sum(axis=1, keepdims=True)
    for first, alias in model.identifier._alias_pairs:
        scores[:, first] += scores[:, alias]
        scores[:, alias] = 0
    best = scores.argmax(axis=1)
    return [(model.labels[label], float(row[label])) for row, label in zip(scores, best.tolist(), strict=True)]


def _visits(data: Sequence[bytes], model: _Model) -> tuple[Integers, Integers, Integers]:
    """How often each text reaches each feature: text, feature and number, ascending by text and then by feature."""
    lengths = np.array([len(piece) for piece in data], dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    longest = int(lengths.max(initial=0))
    letters = np.zeros((longest, len(data)), dtype=np.uint8)
    for column, index in enumerate(order.tolist()):
        letters[: lengths[index], column] = np.frombuffer(data[index], dtype=np.uint8)
    # how many texts are longer than each position: the walk goes on with those alone
    going = np.searchsorted(-lengths[order], -np.arange(longest), side="left")
    reached = np.zeros((longest, len(data)), dtype=np.int32)
    states = np.zeros(len(data), dtype=np.int32)
    for position, number in enumerate(going.tolist()):
        states = model.moves.take(model.rows.take(states[:number]) + letters[position, :number])
        reached[position, :number] = states
    # beyond its end a text is in the first state, which counts for no feature
    features = model.features.take(reached.ravel())
    counted = np.flatnonzero(features >= 0)
    num_features = len(model.weights)
    visits = np.sort(order[counted % len(data)] * num_features + features[counted])
    starts = np.flatnonzero(np.diff(visits, prepend=-1))
    keys = visits[starts]
    return keys // num_features, keys % num_features, np.diff(starts, append=len(visits))


@lru_cache(maxsize=1)
def _model() -> _Model:
    """Loaded once a process, of the languages with a code of two letters."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([label for label in identifier.labels if len(label) == 2])
    return _Model(
        identifier=identifier,
        labels=identifier.nb_classes,
        # narrow, since the walk jumps about in tables larger than the processor's caches
        moves=np.asarray(identifier.tk_nextmove, dtype=np.int32),
        rows=np.asarray(identifier.tk_row, dtype=np.int32) << 8,
        features=np.asarray(identifier.tk_output, dtype=np.int32),
        # half precision and column order in the file: a row at a time in single precision is twice as fast
        weights=np.ascontiguousarray(identifier.nb_ptc, dtype=np.float32),
        priors=np.asarray(identifier.nb_pc, dtype=np.float32),
    )
