"""A ledger balances or says that it does not, and says in words what became of what came in."""

from __future__ import annotations

import pytest

from pipeline.errors import StageError
from pipeline.records import Ledger


def ledger_of(kept: int, **rejected: int) -> Ledger:
    ledger = Ledger()
    ledger.take(documents=kept + sum(rejected.values()), num_bytes=10)
    ledger.keep(documents=kept, num_bytes=10)
    for reason, documents in rejected.items():
        ledger.reject(reason, documents=documents, num_bytes=0)
    return ledger


def test_a_document_that_is_neither_kept_nor_rejected_is_a_fault() -> None:
    ledger = ledger_of(3, empty=2)
    ledger.check("here")
    ledger.take(num_bytes=0)
    with pytest.raises(StageError, match="here: the ledger does not balance: 6 documents .* came in, 5"):
        ledger.check("here")
    assert Ledger.from_json(ledger.to_json()) == ledger


@pytest.mark.parametrize(
    ("ledger", "words"),
    [
        (ledger_of(12_451), "12,451 documents"),
        (ledger_of(0, corrupt=1), "0 of 1 documents kept (rejected: corrupt 1)"),
        (ledger_of(5, b=2, a=2, c=9), "5 of 18 documents kept (rejected: c 9, a 2, b 2)"),
        (ledger_of(1, a=6, b=5, c=4, d=3, e=2, f=1), "1 of 22 documents kept (rejected: a 6, b 5, c 4, d 3, e 2, ...)"),
    ],
)
def test_the_commonest_reasons_are_named(ledger: Ledger, words: str) -> None:
    assert ledger.in_words() == words
