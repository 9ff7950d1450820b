"""Reads an n-gram model from ARPA text, as KenLM, SRILM or `arpa.py` write it.

The names in the file are those that `arpa.token_names` gives to a tokenizer's pieces, so that what is written here comes back to
the same scores. A piece that the file does not list is unknown to it: all of these and <unk> share the probability of <unk>, so
that probabilities still sum to 1 (KenLM gives each of them the whole). What has -99 is never predicted; BOS never is. An order is
parsed by Arrow in blocks, so memory holds the numbers of the model and one block of text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import InputError
from pipeline.models.ngram.arpa import token_names
from pipeline.models.ngram.table import NgramTable, OrderTable

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Array = np.ndarray[Any, Any]
NEVER_BELOW = -98.0
"""log10 of a probability below this stands for none."""
_BLOCK_LINES = 262_144
_SCALE = math.log(10)


def read_arpa(
    path: Path, *, pieces: Sequence[str], bos_id: int, pad_id: int | None = None, unk_id: int | None = None
) -> NgramTable:
    """The table of an ARPA file over the vocabulary that `pieces` names.

    Raises:
        InputError: no such file, not ARPA, cut short, a name outside the vocabulary, a probability above 1, an n-gram twice, or
            one whose first n - 1 tokens the file does not list.
    """
    vocabulary = pa.array(token_names(pieces))
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            announced = _announced(file, path)
            orders: list[OrderTable] = []
            table = None
            for order, count in enumerate(announced, start=1):
                _skip_to(f"\\{order}-grams:", file, path)
                read = _section(file, path, order=order, count=count, vocabulary=vocabulary)
                if order == 1:
                    unigrams = _unigrams(*read, vocab_size=len(pieces), is_last=len(announced) == 1, path=path)
                    never = [token for token in (bos_id, pad_id) if token is not None]
                    _share_unknown(unigrams.log_probabilities, listed=read[0][:, 0], unk_id=unk_id, never=never)
                    orders.append(unigrams)
                else:
                    assert table is not None
                    orders.append(_longer(table, *read, is_last=order == len(announced), path=path))
                table = NgramTable(orders, vocab_size=len(pieces))
            _skip_to("\\end\\", file, path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} does not read as ARPA text ({error}). Name a file that lmplz or textmill wrote."
        ) from error
    if table is None:
        raise InputError(f"{path} announces no n-grams behind \\data\\. Name a file that lmplz or textmill wrote.")
    return table


def _announced(file: TextIO, path: Path) -> list[int]:
    """How many n-grams of orders 1, 2, ... the header promises."""
    _skip_to("\\data\\", file, path)
    counts: list[int] = []
    for line in file:
        if not line.strip():
            break
        head, _, count = line.strip().partition("=")
        if head != f"ngram {len(counts) + 1}" or not count.isdigit():
            raise InputError(f"{path}: {line.strip()[:60]!r} stands where `ngram {len(counts) + 1}=COUNT` belongs.")
        counts.append(int(count))
    return counts


def _skip_to(mark: str, file: TextIO, path: Path) -> None:
    for line in file:
        if line.strip() == mark:
            return
        if line.strip() and mark != "\\data\\":  # free text may stand before the data, and nothing between its parts
            raise InputError(
                f"{path}: {line.strip()[:60]!r} stands where {mark} belongs; the file has more n-grams than it says."
            )
    raise InputError(f"{path} has no {mark}: it is no ARPA file, or cut short. Write it again.")


def _section(
    file: TextIO, path: Path, *, order: int, count: int, vocabulary: pa.Array
) -> tuple[Int[Array, "ngrams order"], Float[Array, " ngrams"], Float[Array, " ngrams"]]:
    """Token ids, natural logarithms of probabilities (minus infinity: none) and of back-off weights (0 where none stands)."""
    ids = np.empty((count, order), dtype=np.int32)
    probabilities, backoffs = np.empty(count), np.zeros(count)
    position = 0
    for lines in _blocks(file, path, order=order, count=count):
        part = slice(position, position + len(lines))
        fields = pc.split_pattern(pa.array(lines), "\t")
        widths = pc.list_value_length(fields).to_numpy()
        odd = np.flatnonzero((widths < 2) | (widths > 3))
        if odd.size:
            raise InputError(
                f"{path}: {lines[odd[0]][:60]!r} is no line of {order}-grams: log10 p, tokens, log10 of a back-off."
            )
        words = pc.split_pattern(pc.list_element(fields, 1), " ")
        if (pc.list_value_length(words).to_numpy() != order).any():
            odd = np.flatnonzero(pc.list_value_length(words).to_numpy() != order)
            raise InputError(
                f"{path}: {lines[odd[0]][:60]!r} stands among the {order}-grams and has not {order} tokens."
            )
        names = pc.list_flatten(words)
        found = pc.index_in(names, vocabulary)
        if found.null_count:
            unknown = names.filter(pc.is_null(found))[0].as_py()
            raise InputError(
                f"{path}: {unknown[:40]!r} is no piece of the tokenizer. Take the tokenizer it was made with."
            )
        ids[part] = found.to_numpy().reshape(-1, order)
        probabilities[part] = _numbers(pc.list_element(fields, 0), path)
        with_backoff = widths == 3
        if with_backoff.any():
            backoffs[position + np.flatnonzero(with_backoff)] = _numbers(
                pc.list_element(fields.filter(pa.array(with_backoff)), 2), path
            )
        position += len(lines)
    if not (probabilities <= 0).all():
        odd = np.flatnonzero(~(probabilities <= 0))
        raise InputError(
            f"{path}: n-gram {odd[0] + 1} of order {order} has the log10 probability {probabilities[odd[0]]:g}, above 0. "
            "Write it again."
        )
    if not np.isfinite(backoffs).all():
        raise InputError(f"{path}: a back-off weight of order {order} is not finite. Write it again.")
    probabilities = np.where(probabilities < NEVER_BELOW, -np.inf, probabilities * _SCALE)
    return ids, probabilities, backoffs * _SCALE


def _blocks(file: TextIO, path: Path, *, order: int, count: int) -> Iterator[list[str]]:
    for start in range(0, count, _BLOCK_LINES):
        size = min(_BLOCK_LINES, count - start)
        lines = [line.rstrip("\r\n") for _, line in zip(range(size), file, strict=False)]
        if len(lines) < size or not all(lines):
            raise InputError(f"{path} ends within its {count} {order}-grams: it is cut short. Write it again.")
        yield lines


def _numbers(values: pa.Array, path: Path) -> Array:
    try:
        numbers: Array = pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} has a logarithm that is no number ({error}). Write it again.") from error
    return numbers


def _unigrams(
    ids: Array, probabilities: Array, backoffs: Array, *, vocab_size: int, is_last: bool, path: Path
) -> OrderTable:
    if np.unique(ids).size < len(ids):
        raise InputError(f"{path} lists a token twice. Write it again.")
    log_probabilities = np.full(vocab_size, -np.inf, dtype=np.float32)
    log_probabilities[ids[:, 0]] = probabilities
    log_backoffs = np.zeros(vocab_size, dtype=np.float32)
    log_backoffs[ids[:, 0]] = backoffs
    return OrderTable(
        begins=np.array([0, vocab_size]),
        words=np.arange(vocab_size, dtype=np.int32),
        log_probabilities=log_probabilities,
        log_backoffs=log_backoffs[: 0 if is_last else None],
    )


def _share_unknown(log_probabilities: Array, *, listed: Array, unk_id: int | None, never: Sequence[int]) -> None:
    """Gives `never` no probability, and divides that of <unk> among itself and what is not listed."""
    log_probabilities[list(never)] = -np.inf
    if unk_id is None:
        return
    sharing = np.ones(log_probabilities.size, dtype=bool)
    sharing[listed] = False
    sharing[list(never)] = False
    sharing[unk_id] = True
    log_probabilities[sharing] = log_probabilities[unk_id] - math.log(int(sharing.sum()))


def _longer(
    shorter: NgramTable, ids: Array, probabilities: Array, backoffs: Array, *, is_last: bool, path: Path
) -> OrderTable:
    contexts = ids[:, 0].astype(np.int64)
    for length in range(2, ids.shape[1]):
        contexts = shorter.find(length, contexts, ids[:, length - 1])
    if (contexts < 0).any():
        row = int(np.flatnonzero(contexts < 0)[0])
        raise InputError(
            f"{path}: line {row + 1} of its {ids.shape[1]}-grams begins with tokens that are no {ids.shape[1] - 1}-gram of "
            "the file. Write the model with all the contexts of its n-grams."
        )
    order = np.lexsort((ids[:, -1], contexts))
    before, after = order[:-1], order[1:]
    if ((contexts[before] == contexts[after]) & (ids[before, -1] == ids[after, -1])).any():
        raise InputError(f"{path} lists one of its {ids.shape[1]}-grams twice. Write it again.")
    num_contexts = shorter.orders[-1].words.size
    return OrderTable(
        begins=np.searchsorted(contexts[order], np.arange(num_contexts + 1)),
        words=ids[order, -1],
        log_probabilities=probabilities[order].astype(np.float32),
        log_backoffs=backoffs[order[: 0 if is_last else None]].astype(np.float32),
    )
