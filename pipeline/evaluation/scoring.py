"""Bits that a language model needs for each of many documents.

In: texts, a model and its tokenizer. Out: for each document its bits, tokens, hits among the most likely tokens and
calibration bins.

- A document is conditioned on BOS; its end is not counted, so the bits are those of the text alone.
- A document longer than the context is read through windows that overlap by half: every token but the first few is
  predicted from at least half a context.
- Windows of like length share a batch; a batch holds at most `MAX_LOGITS` numbers, whatever the vocabulary.
- Texts are taken block by block, so memory does not grow with the corpus.

Trade-off: a stride of half a context costs up to twice the compute of disjoint windows and takes the penalty off the
tokens that open one (Press et al. 2021, arXiv 2012.15832, section 2).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pipeline.evaluation.spelling import unknown_bits
from pipeline.progress import Progress, SilentProgress

if TYPE_CHECKING:
    from pipeline.models.target_scores import Scorer
    from pipeline.tokenizer.model import Tokenizer

NUM_BINS = 15
"""Equal-width confidence bins (Guo et al. 2017, arXiv 1706.04599)."""

MAX_LOGITS = 2**25
"""Scores a batch may compute at once: 128 MiB in float32."""

BLOCK_CHARACTERS = 2**22
"""Characters of text held at once; windows are sorted by length within such a block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentScores:
    """One row a document, in the order of the texts."""

    bits: np.ndarray[Any, Any]
    """float64 (D,): minus log2 of the probability of all its tokens, and what they leave unsaid spelt out."""
    baseline_bits: np.ndarray[Any, Any]
    """float64 (D,): the same under the table of bits a token that was passed, or zeros."""
    num_tokens: np.ndarray[Any, Any]
    """int64 (D,): tokens predicted, which is every token of the text."""
    num_top1: np.ndarray[Any, Any]
    """int64 (D,): tokens that were the model's most likely one."""
    num_top5: np.ndarray[Any, Any]
    """int64 (D,): tokens among the model's five most likely ones."""
    num_unknown: np.ndarray[Any, Any]
    """int64 (D,): tokens that stand for text outside the vocabulary, which is spelt out, see `spelling.py`."""
    calibration: np.ndarray[Any, Any]
    """float64 (D, 15, 3): for each confidence bin the number of predictions, their summed confidence, the hits."""


def score_documents(
    model: Scorer,
    tokenizer: Tokenizer,
    texts: Iterable[str],
    *,
    bits_per_token: np.ndarray[Any, Any] | None = None,
    max_logits: int = MAX_LOGITS,
    progress: Progress | None = None,
) -> DocumentScores:
    """Scores every text; the result depends on `max_logits` by rounding only.

    `bits_per_token` (V,) adds the bits of a model without context. Progress advances by characters.
    """
    progress = progress or SilentProgress()
    blocks = [
        _score_block(model, tokenizer, block, bits_per_token, max_logits=max_logits, progress=progress)
        for block in _blocks(texts)
    ]
    names = [field.name for field in fields(DocumentScores)]
    return DocumentScores(**{name: np.concatenate([getattr(block, name) for block in blocks]) for name in names})


def windows(length: int, *, context_tokens: int) -> Iterator[tuple[int, int, int]]:
    """The windows (start, end, first position scored) over a sequence; together they score 1 .. length - 1 once.

    >>> list(windows(11, context_tokens=4))
    [(0, 4, 1), (2, 6, 4), (4, 8, 6), (6, 10, 8), (7, 11, 10)]
    """
    if length < 2:
        return
    end = min(length, context_tokens)
    yield 0, end, 1
    stride = context_tokens // 2
    while end < length:
        scored, end = end, min(end + stride, length)
        yield end - context_tokens, end, scored


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    """At least one block, which may be empty."""
    block: list[str] = []
    num_characters = num_blocks = 0
    for text in texts:
        block.append(text)
        num_characters += len(text)
        if num_characters >= BLOCK_CHARACTERS:
            yield block
            block, num_characters, num_blocks = [], 0, num_blocks + 1
    if block or not num_blocks:
        yield block


def _score_block(
    model: Scorer,
    tokenizer: Tokenizer,
    texts: list[str],
    bits_per_token: np.ndarray[Any, Any] | None,
    *,
    max_logits: int,
    progress: Progress,
) -> DocumentScores:
    token_ids = [np.asarray(ids, dtype=np.int64) for ids in tokenizer.encode_batch(texts)] if texts else []
    size = len(texts)
    num_unknown = np.array([(ids == tokenizer.unk_id).sum() for ids in token_ids], dtype=np.int64)
    spelt = np.array([unknown_bits(tokenizer, text) if n else 0.0 for text, n in zip(texts, num_unknown, strict=True)])
    scores = DocumentScores(
        bits=spelt.copy(),
        baseline_bits=spelt + np.array([bits_per_token[ids].sum() for ids in token_ids])
        if bits_per_token is not None
        else np.zeros(size),
        num_tokens=np.array([len(ids) for ids in token_ids], dtype=np.int64),
        num_top1=np.zeros(size, dtype=np.int64),
        num_top5=np.zeros(size, dtype=np.int64),
        num_unknown=num_unknown,
        calibration=np.zeros((size, NUM_BINS, 3)),
    )
    plan = [
        (document, *window)
        for document, ids in enumerate(token_ids)
        for window in windows(len(ids) + 1, context_tokens=model.context_tokens)
    ]
    plan.sort(key=lambda entry: (entry[1] - entry[2], entry[0], entry[1]))  # longest first, then in reading order
    num_windows = np.bincount([entry[0] for entry in plan], minlength=size) if plan else np.zeros(size)
    position = 0
    while position < len(plan):
        longest = plan[position][2] - plan[position][1]
        count = max(1, max_logits // (longest * tokenizer.vocab_size))
        batch = plan[position : position + count]
        _score_batch(model, tokenizer, token_ids, batch, longest, scores)
        progress.advance(int(sum(len(texts[entry[0]]) / num_windows[entry[0]] for entry in batch)))
        position += count
    return scores


def _score_batch(
    model: Scorer,
    tokenizer: Tokenizer,
    token_ids: list[np.ndarray[Any, Any]],
    batch: list[tuple[int, int, int, int]],
    longest: int,
    scores: DocumentScores,
) -> None:
    inputs = np.full((len(batch), longest), max(tokenizer.pad_id, 0), dtype=np.int64)  # (B, T)
    counted = np.zeros((len(batch), longest - 1), dtype=bool)  # (B, T - 1): each token in one window only
    for row, (document, start, end, first) in enumerate(batch):
        if start == 0:
            inputs[row, 0] = tokenizer.bos_id
            inputs[row, 1:end] = token_ids[document][: end - 1]
        else:
            inputs[row, : end - start] = token_ids[document][start - 1 : end - 1]
        counted[row, first - start - 1 : end - start - 1] = True
    with torch.inference_mode():
        found = model.score(torch.from_numpy(inputs))
    documents = np.repeat(np.array([entry[0] for entry in batch]), counted.sum(axis=1))
    bits = found.log_probabilities.cpu().numpy()[counted].astype(np.float64) / -np.log(2.0)
    ranks = found.ranks.cpu().numpy()[counted]
    confidences = found.confidences.cpu().numpy()[counted].astype(np.float64)
    np.add.at(scores.bits, documents, bits)
    np.add.at(scores.num_top1, documents, (ranks == 0).astype(np.int64))
    np.add.at(scores.num_top5, documents, (ranks < 5).astype(np.int64))
    bins = np.clip(np.nan_to_num(confidences) * NUM_BINS, 0, NUM_BINS - 1).astype(np.int64)
    flat = scores.calibration.reshape(-1)
    cells = (documents * NUM_BINS + bins) * 3
    np.add.at(flat, cells, 1.0)
    np.add.at(flat, cells + 1, confidences)
    np.add.at(flat, cells + 2, (ranks == 0).astype(np.float64))
