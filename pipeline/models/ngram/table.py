"""The n-grams of a model as sorted arrays, and looking them up for many positions at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.models.ngram.counting import OrderCounts, sort_with_positions
from pipeline.models.ngram.kneser_ney import OrderProbabilities

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Array = np.ndarray[Any, Any]
_BLOCK_NGRAMS = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTable:
    """One order of a model: n-grams by rank, the followers of a context side by side."""

    begins: Int[Array, " contexts_and_one"]
    """Where the followers of each context begin, by the rank of the context; one more than contexts."""
    words: Int[Array, " ngrams"]
    """int32: the last token; rises among the followers of a context."""
    log_probabilities: Float[Array, " ngrams"]
    """float32, natural logarithms."""
    log_backoffs: Float[Array, " ngrams"]
    """float32; empty at the highest order."""


class NgramTable:
    """All orders; order 1 holds every id of the vocabulary."""

    def __init__(self, orders: list[OrderTable], *, vocab_size: int) -> None:
        self.orders, self.vocab_size = orders, vocab_size
        self._keys = [_keys(order, vocab_size) for order in orders[1:]]

    @property
    def order(self) -> int:
        return len(self.orders)

    @property
    def num_ngrams(self) -> list[int]:
        return [table.words.size for table in self.orders]

    @classmethod
    def of(cls, counted: list[OrderCounts], estimated: list[OrderProbabilities], *, vocab_size: int) -> NgramTable:
        """The table of counted and estimated orders, without what was pruned."""
        orders = []
        num_counted, contexts = 1, np.zeros(1, dtype=np.int64)  # of the counted ones, what is left
        for counts, found in zip(counted, estimated, strict=True):
            keeps = found.keeps
            followers = np.bincount(_kept(counts.prefixes, keeps, counts.prefixes.dtype), minlength=num_counted)
            begins = (np.cumsum(followers) - followers)[contexts]
            num_counted, contexts = keeps.size, np.flatnonzero(keeps)
            end = counts.words.size if counts.order < len(counted) else 0
            orders.append(
                OrderTable(
                    begins=np.append(begins, contexts.size),
                    words=_kept(counts.words, keeps, np.int32),
                    log_probabilities=_kept(found.log_probabilities, keeps, np.float32),
                    log_backoffs=_kept(found.log_backoffs[:end], keeps[:end], np.float32),
                )
            )
        return cls(orders, vocab_size=vocab_size)

    def find(self, order: int, contexts: Int[Array, " n"], words: Int[Array, " n"]) -> Int[Array, " n"]:
        """Ranks of n-grams of an order above 1, given the rank of their context (-1: none) and last token; -1 where unseen."""
        found = np.full(words.size, -1)
        known = np.flatnonzero(contexts >= 0)
        keys = self._keys[order - 2]
        if not known.size or not keys.size:
            return found
        # in sorted order neighbouring look-ups touch neighbouring memory, which makes up for the sort many times over
        asked, places = sort_with_positions(contexts[known] * self.vocab_size + words[known])
        ranks = np.minimum(np.searchsorted(keys, asked), keys.size - 1)
        hits = keys[ranks] == asked
        found[known[places[hits]]] = ranks[hits]
        return found

    def contexts(self, words: Int[Array, "batch seq"], *, order: int | None = None) -> list[Int[Array, "batch seq"]]:
        """For lengths 1 to order - 1 (one at least), the rank of the n-gram that ends at each position; -1 where it was
        never seen."""
        ranks = [words.astype(np.int64)]
        for length in range(2, order or self.order):
            before = np.full_like(ranks[0], -1)
            before[:, 1:] = ranks[-1][:, :-1]
            ranks.append(self.find(length, before.ravel(), ranks[0].ravel()).reshape(words.shape))
        return ranks

    def score(self, words: Int[Array, "batch seq"], *, order: int | None = None) -> Float[Array, "batch targets"]:
        """Natural log probability, float64, of positions 1..T-1, each given all that stands before it in its row.

        With a lower `order` than the model's, by its shorter n-grams alone.
        """
        order = order or self.order
        contexts = [ranks[:, :-1].ravel() for ranks in self.contexts(words, order=order)]
        targets = words[:, 1:].ravel().astype(np.int64)
        total = self.orders[0].log_probabilities[targets].astype(np.float64)
        for length, context in zip(range(2, order + 1), contexts, strict=False):
            known = np.flatnonzero(context >= 0)
            total[known] += self.orders[length - 2].log_backoffs[context[known]]
            ranks = self.find(length, context, targets)
            seen = np.flatnonzero(ranks >= 0)
            total[seen] = self.orders[length - 1].log_probabilities[ranks[seen]]
        return total.reshape(words.shape[0], -1)

    def found_orders(self, words: Int[Array, "batch seq"]) -> Int[Array, "batch targets"]:
        """How many tokens the longest n-gram of the model has that ends at positions 1..T-1: what each was predicted by, after
        backing off."""
        targets = words[:, 1:].ravel().astype(np.int64)
        found = np.ones(targets.size, dtype=np.int64)
        contexts = [ranks[:, :-1].ravel() for ranks in self.contexts(words)]
        for length, context in zip(range(2, self.order + 1), contexts, strict=False):
            found[self.find(length, context, targets) >= 0] = length
        return found.reshape(words.shape[0], -1)

    def distributions(self, contexts: list[Int[Array, " n"]]) -> Float[Array, "n vocab"]:
        """Natural log probabilities, float32, of every token after each context, given as `contexts` gives it: by the ranks
        of its last 1, 2, ... tokens."""
        rows = np.repeat(self.orders[0].log_probabilities[None], contexts[0].size, axis=0)
        for length, context in zip(range(2, self.order + 1), contexts, strict=False):
            table, backoffs = self.orders[length - 1], self.orders[length - 2].log_backoffs
            known = np.flatnonzero(context >= 0)
            rows[known] += backoffs[context[known], None]
            begins, ends = table.begins[context[known]], table.begins[context[known] + 1]
            sizes = ends - begins
            places = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes) + np.repeat(begins, sizes)
            rows[np.repeat(known, sizes), table.words[places]] = table.log_probabilities[places]
        return rows


def _kept(values: Array, keeps: Array, kind: Any) -> Array:
    """The values that are kept, as another kind, block by block: they may lie on disk."""
    kept = np.empty(np.count_nonzero(keeps), dtype=kind)
    end = 0
    for begin in range(0, values.size, _BLOCK_NGRAMS):
        part = slice(begin, begin + _BLOCK_NGRAMS)
        found = values[part][keeps[part]]
        kept[end : end + found.size] = found
        end += found.size
    return kept


def _keys(table: OrderTable, vocab_size: int) -> Array:
    keys = np.repeat(np.arange(table.begins.size - 1), np.diff(table.begins))
    keys *= vocab_size
    keys += table.words
    return keys
