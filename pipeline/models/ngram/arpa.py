"""Writes an n-gram model as ARPA text, which KenLM, SRILM and their users read.

Each line is log10 p, the n-gram, and where it can be a context log10 of its back-off weight. Tokens are written by name: white
space within a name stands as the bytes it is made of (`<0x0A>`), and a name that is taken already gets its id behind it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.files import write_lines
from pipeline.models.ngram.table import NgramTable

if TYPE_CHECKING:
    from jaxtyping import Int

NEVER = "-99"
"""How ARPA files say that something has no probability."""
_BATCH_NGRAMS = 65_536


def write_arpa(table: NgramTable, path: Path, *, pieces: Sequence[str]) -> None:
    """Writes every order; `pieces` names the ids of the vocabulary.

    Raises:
        StorageError: the disk is full, read-only or forbidden.
    """
    write_lines(path, _lines(table, token_names(pieces)))


def token_names(pieces: Sequence[str]) -> list[str]:
    """Names without white space, no two alike: `["a", "\\n", "<0x0A>"]` -> `["a", "<0x0A>#1", "<0x0A>"]`."""
    names = ["".join(_bytes(c) if c.isspace() else c for c in piece) or "<empty>" for piece in pieces]
    given = set(pieces)
    taken: set[str] = set()
    unique = []
    for number, (piece, name) in enumerate(zip(pieces, names, strict=True)):
        is_taken = name in taken or (name != piece and name in given)
        unique.append(f"{name}#{number}" if is_taken else name)
        taken.add(unique[-1])
    return unique


def _bytes(character: str) -> str:
    return "".join(f"<0x{byte:02X}>" for byte in character.encode())


def _lines(table: NgramTable, names: list[str]) -> Iterator[str]:
    yield "\\data\\"
    for length, count in enumerate(table.num_ngrams, start=1):
        yield f"ngram {length}={count}"
    ids: Int[np.ndarray[Any, Any], "ngrams length"] = np.empty((1, 0), dtype=np.int32)
    scale = 1 / math.log(10)
    for length, order in enumerate(table.orders, start=1):
        contexts = np.repeat(np.arange(order.begins.size - 1), np.diff(order.begins))
        ids = np.concatenate((ids[contexts], order.words[:, None]), axis=1)
        yield ""
        yield f"\\{length}-grams:"
        for start in range(0, len(ids), _BATCH_NGRAMS):
            part = slice(start, start + _BATCH_NGRAMS)
            rows = ids[part].tolist()
            probabilities = (order.log_probabilities[part] * scale).tolist()
            backoffs = (order.log_backoffs[part] * scale).tolist()
            for number, (row, value) in enumerate(zip(rows, probabilities, strict=True)):
                head = NEVER if value == -math.inf else f"{value:.7g}"
                tail = f"\t{backoffs[number]:.7g}" if backoffs else ""
                yield f"{head}\t{' '.join([names[token] for token in row])}{tail}"
    yield ""
    yield "\\end\\"
