"""n-grams counted by sorting are those counted in a dictionary: every array, and every byte of the saved model."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from counted import LIMIT, counted
from numpy.lib.stride_tricks import sliding_window_view
from test_ngram import BOS, EOS, random_text

from pipeline.errors import StageError, StorageError
from pipeline.models.ngram import counting, windows
from pipeline.models.ngram.counting import OrderCounts, count_ngrams
from pipeline.models.ngram.kneser_ney import estimate
from pipeline.models.ngram.model import NgramModel
from pipeline.models.ngram.scratch import NewArray, new_in
from pipeline.models.ngram.table import NgramTable

ARRAYS = ("prefixes", "words", "suffixes", "counts", "opens")


def of_parts(
    *parts: np.ndarray, order: int, vocab_size: int, folder: Path, memory_bytes: int = LIMIT
) -> list[OrderCounts]:
    limits = {"folder": folder, "memory_bytes": memory_bytes, "where": "trained_model/counts"}
    return list(count_ngrams(parts, order=order, vocab_size=vocab_size, bos_id=BOS, **limits))


def by_dictionary(tokens: np.ndarray, *, order: int, vocab_size: int) -> list[dict[str, list[int] | list[bool]]]:
    """The same arrays by definition: the n-grams of each document in a dictionary, ranked by their tokens."""
    documents = [document.tolist() for document in np.split(tokens, np.flatnonzero(tokens == BOS)[1:])]
    ranks = {(word,): word for word in range(vocab_size)}
    words = list(range(vocab_size))
    seen = Counter(tokens.tolist())
    none = [0] * vocab_size
    counts, opens = [seen[word] for word in words], [word == BOS for word in words]
    orders = [{"prefixes": none, "words": words, "suffixes": none, "counts": counts, "opens": opens}]
    for length in range(2, order + 1):
        found = Counter(
            tuple(document[start : start + length])
            for document in documents
            for start in range(len(document) - length + 1)
        )
        ngrams = sorted(found)
        orders.append(
            {
                "prefixes": [ranks[ngram[:-1]] for ngram in ngrams],
                "words": [ngram[-1] for ngram in ngrams],
                "suffixes": [ranks[ngram[1:]] for ngram in ngrams],
                "counts": [found[ngram] for ngram in ngrams],
                "opens": [ngram[0] == BOS for ngram in ngrams],
            }
        )
        ranks = {ngram: rank for rank, ngram in enumerate(ngrams)}
    return orders


def assert_equal(found: list[OrderCounts], expected: list[dict[str, list[int] | list[bool]]]) -> None:
    assert [counts.order for counts in found] == list(range(1, len(expected) + 1))
    for one, other in zip(found, expected, strict=True):
        for name in ARRAYS:
            assert getattr(one, name).tolist() == other[name], (one.order, name)


def saved(
    orders: list[OrderCounts],
    vocab_size: int,
    folder: Path,
    *,
    prune: tuple[int, ...] = (0,),
    new: NewArray = np.empty,
) -> dict[str, bytes]:
    """The files of the model that is estimated from some counts."""
    table = NgramTable.of(orders, estimate(orders, never_predicted=[BOS], prune=prune, new=new), vocab_size=vocab_size)
    NgramModel(table, tokenizer_hash="0" * 64, bos_id=BOS, eos_id=EOS, pad_id=-1).save(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("vocab_size", [40, 8_192, 70_000])
def test_counts_are_those_of_a_dictionary_and_the_disk_gives_the_model_of_memory(
    order: int, vocab_size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over shards and blocks that end within documents; 8,192 pieces need two integers a window at order 5, 70,000 at 4."""
    monkeypatch.setattr(windows, "_READ_TOKENS", 700)
    monkeypatch.setattr(counting, "_SEARCH_BYTES", LIMIT // 100)  # looked up by a hundred
    tokens = random_text(seed=order, num_documents=300, vocab_size=vocab_size).astype(np.uint32)
    scratch = tmp_path / "scratch"
    found = of_parts(
        tokens[:1111], tokens[1111:1113], tokens[1113:], order=order, vocab_size=vocab_size, folder=scratch
    )
    assert_equal(found, by_dictionary(tokens, order=order, vocab_size=vocab_size))
    if order > 1:
        assert not list(scratch.iterdir())  # the counts lie there without a name
        prune = (0, 0, 1)[:order]
        pruned = saved(found, vocab_size, tmp_path / "on_disk", prune=prune, new=new_in(scratch))
        assert pruned == saved(found, vocab_size, tmp_path / "in_memory", prune=prune)


def test_counts_of_real_text_over_many_blocks(tmp_path: Path, corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = corpora / "tinyshakespeare.txt"
    monkeypatch.setattr(windows, "_SORTED_ROWS", 4_096)
    characters = np.frombuffer(file.read_bytes()[:400_000], dtype=np.uint8).astype(np.int64) + 3
    documents = np.split(characters, np.flatnonzero(characters == ord("\n") + 3))
    tokens = np.concatenate([np.concatenate(([BOS], document, [EOS])) for document in documents])
    found = of_parts(tokens, order=6, vocab_size=259, folder=tmp_path)
    assert found[5].words.size > 100_000
    assert_equal(found, by_dictionary(tokens, order=6, vocab_size=259))
    model = saved(found, 259, tmp_path / "on_disk", new=new_in(tmp_path))
    assert model == saved(found, 259, tmp_path / "in_memory")


def test_estimating_by_blocks_of_any_size_gives_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.models.ngram import kneser_ney

    orders = counted(random_text(seed=0), order=4, vocab_size=40, bos_id=BOS)
    expected = saved(orders, 40, tmp_path / "whole")
    monkeypatch.setattr(kneser_ney, "_BLOCK_NGRAMS", 5)
    assert saved(orders, 40, tmp_path / "by_fives") == expected


def test_a_stream_shorter_than_the_order_has_no_long_ngrams(tmp_path: Path) -> None:
    tokens = np.array([BOS, 3, EOS, BOS, EOS])
    found = of_parts(tokens, order=4, vocab_size=6, folder=tmp_path)
    assert [counts.words.tolist() for counts in found] == [list(range(6)), [2, 3, 2], [2], []]
    assert found[1].counts.tolist() == [1, 1, 1]
    assert found[1].opens.tolist() == [True, True, False]
    with pytest.raises(ValueError, match="BOS"):
        of_parts(tokens[1:], order=2, vocab_size=6, folder=tmp_path)


def test_a_limit_too_small_to_sort_with_is_one_sentence(tmp_path: Path) -> None:
    tokens = np.concatenate([[BOS], np.random.default_rng(0).integers(3, 8_192, size=300_000)])
    with pytest.raises(StageError, match="trained_model/counts needs more memory than 1MB") as caught:
        of_parts(tokens, order=5, vocab_size=8_192, folder=tmp_path / "scratch", memory_bytes=1_000_000)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "scratch").iterdir())


def test_a_disk_without_room_is_one_sentence_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", is_full)
    with pytest.raises(StorageError, match="cannot be written: no space left on device. Free some space"):
        new_in(tmp_path)(1_000, np.float64)


COUNTING = """
import sys
from pathlib import Path
import numpy as np
from pipeline.models.ngram.counting import count_ngrams

def most_held():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

tokens, folder, limit, found = sys.argv[1:]
stream = {"order": 5, "vocab_size": 8192, "bos_id": 1, "memory_bytes": int(limit), "where": "here"}
counting = count_ngrams([np.load(tokens, mmap_mode="r")], **stream, folder=Path(folder))
counted = [next(counting)]
before = most_held()
counted.append(next(counting))  # all windows are sorted now, and what is mapped is small
print(most_held() - before)
counted += counting
np.savez(found, **{f"{c.order}.{name}": getattr(c, name) for c in counted for name in ("prefixes", "words", "suffixes", "counts")})
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_millions_of_tokens_are_counted_within_the_limit_by_spilling(tmp_path: Path) -> None:
    """Five million windows of two integers, with what sorting adds to them, are more than 100 MB."""
    generator = np.random.default_rng(0)
    tokens = (3 + generator.zipf(1.2, size=5_000_000) % 8_189).astype(np.uint16)
    tokens[::200], tokens[199::200] = BOS, EOS
    np.save(tmp_path / "tokens.npy", tokens)
    spilled = [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            with suppress(FileNotFoundError):
                size = sum(file.stat().st_size for file in (tmp_path / "scratch" / "sorting").glob("*"))
                spilled[0] = max(spilled[0], size)

    watching = threading.Thread(target=watch)
    watching.start()
    words = [str(tmp_path / "tokens.npy"), str(tmp_path / "scratch"), str(LIMIT), str(tmp_path / "found.npz")]
    try:
        result = subprocess.run([sys.executable, "-c", COUNTING, *words], check=True, capture_output=True, text=True)
    finally:
        done.set()
        watching.join()
    assert spilled[0] > 10_000_000
    assert int(result.stdout) < LIMIT + 200_000_000  # with blocks on their way; in memory it is some 500 MB
    pairs = tokens[:-1].astype(np.int64) * 8_192 + tokens[1:]
    distinct, counts_of_pairs = np.unique(pairs[tokens[1:] != BOS], return_counts=True)
    fifths = sliding_window_view(tokens.astype(np.int64), 5)
    fifths = fifths[(fifths[:, 1:] != BOS).all(axis=1)]
    firsts, last = fifths[:, :4] @ (8_192 ** np.arange(4)[::-1]), fifths[:, 4]
    in_order = np.lexsort((last, firsts))
    firsts, last = firsts[in_order], last[in_order]
    begins = np.flatnonzero(np.append(True, (np.diff(firsts) != 0) | (np.diff(last) != 0)))
    with np.load(tmp_path / "found.npz") as found:
        assert np.array_equal(found["2.prefixes"] * 8_192 + found["2.words"], distinct)
        assert np.array_equal(found["2.counts"], counts_of_pairs)
        assert np.array_equal(found["5.words"], last[begins])
        assert np.array_equal(found["5.counts"], np.diff(begins, append=last.size))
        for counts in of_parts(
            tokens, order=5, vocab_size=8_192, folder=tmp_path / "again", memory_bytes=4_000_000_000
        ):
            for name in ("prefixes", "words", "suffixes", "counts"):
                assert np.array_equal(found[f"{counts.order}.{name}"], getattr(counts, name)), (counts.order, name)
