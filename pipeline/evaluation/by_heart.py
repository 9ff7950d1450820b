"""What a language model knows by heart: documents that it goes on with word for word, always by the likeliest token.

In: a model and the documents of the training and the test split. Out: `by_heart.parquet`, one row a document that was asked for:
how many tokens agree before the first that does not; and the share of the documents given back whole, which can be extracted
(Carlini et al. 2023, arXiv 2202.07646). Test documents were never read: what a model gives back of them is formulaic, so what
training documents are above that was learnt by heart. The rows hold no text; `textmill explain ID` shows it.
Trade-off: a fixed number of documents is asked for, the first ones of each file in the order of their hashes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config.by_heart import ByHeartConfig
from pipeline.models.interface import GenerationParameters
from pipeline.progress import Progress

if TYPE_CHECKING:
    from pipeline.models.interface import LanguageModel
    from pipeline.tokenizer.model import Tokenizer

BATCH_DOCUMENTS = 32
"""Continued at once, and read at once: few more than are asked for."""

ROWS_SCHEMA = pa.schema(
    [
        pa.field("split", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("same_tokens", pa.int64(), nullable=False),
        pa.field("continuation_tokens", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHeart:
    """What was found."""

    settings: ByHeartConfig
    rows: list[dict[str, Any]]
    """Of ROWS_SCHEMA."""

    @property
    def splits(self) -> dict[str, dict[str, Any]]:
        """Split -> documents asked for, the share of them given back whole, and the mean of the tokens that agree."""
        return {split: _figures([row for row in self.rows if row["split"] == split]) for split in ("train", "test")}

    @property
    def table(self) -> list[dict[str, Any]]:
        """The same as rows."""
        return [{"split": split, **row} for split, row in self.splits.items()]

    @property
    def note(self) -> str:
        """Both splits in a sentence."""
        train, test = self.splits["train"], self.splits["test"]
        return (
            f"From their first {self.settings.prompt_tokens} tokens it gives back the {self.settings.continuation_tokens} that "
            f"follow in {train['given_back']:,} of {train['documents']:,} training documents word for word, and in "
            f"{test['given_back']:,} of {test['documents']:,} test documents."
        )

    @property
    def figures(self) -> dict[str, float]:
        """As MLflow and the asset page show them; none of a split without a document that is long enough."""
        return {
            f"{name}/{split}": row[name]
            for split, row in self.splits.items()
            for name in ("by_heart_fraction", "by_heart_tokens")
            if row[name] is not None
        }


def measure_by_heart(
    model: LanguageModel,
    tokenizer: Tokenizer,
    *,
    train: Sequence[Path],
    test: Path,
    settings: ByHeartConfig,
    progress: Progress,
) -> ByHeart:
    """Asks for documents of both splits; the same model and documents give the same rows."""
    rows: list[dict[str, Any]] = []
    progress.start(total=2 * settings.documents)
    for split, files in (("train", train), ("test", [test])):
        found = _documents(files, tokenizer, settings)
        for first in range(0, len(found), BATCH_DOCUMENTS):
            batch = found[first : first + BATCH_DOCUMENTS]
            same = _agreeing([ids for _, _, ids in batch], model, tokenizer, settings)
            rows += [
                {
                    "split": split,
                    "id": id_,
                    "source": source,
                    "same_tokens": count,
                    "continuation_tokens": settings.continuation_tokens,
                }
                for (id_, source, _), count in zip(batch, same, strict=True)
            ]
            progress.advance(len(batch))
    progress.finish()
    return ByHeart(settings=settings, rows=rows)


def _figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    same = np.array([row["same_tokens"] for row in rows])
    whole = np.array([row["continuation_tokens"] for row in rows])
    return {
        "documents": len(rows),
        "given_back": int((same == whole).sum()),
        "by_heart_fraction": float((same == whole).mean()) if rows else None,
        "by_heart_tokens": float(same.mean()) if rows else None,
    }


def _agreeing(
    texts: Sequence[list[int]], model: LanguageModel, tokenizer: Tokenizer, settings: ByHeartConfig
) -> list[int]:
    """Of each text's tokens behind the prompt, how many the model writes before it writes another."""
    size = settings.prompt_tokens
    parameters = GenerationParameters(
        max_new_tokens=settings.continuation_tokens, temperature=0.0, stop_ids=(tokenizer.eos_id,)
    )
    written = model.generate([[tokenizer.bos_id, *ids[:size]] for ids in texts], parameters)
    return [_common_start(ids[size:], added) for ids, added in zip(texts, written, strict=True)]


def _common_start(expected: Sequence[int], given: Sequence[int]) -> int:
    """`_common_start([1, 2, 3], [1, 2, 4]) == 2`"""
    pairs = enumerate(zip(expected, given, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(expected), len(given)))


def _documents(
    files: Sequence[Path], tokenizer: Tokenizer, settings: ByHeartConfig
) -> list[tuple[str, str, list[int]]]:
    """Id, source and the first tokens of documents that are long enough, as many of each file that is looked at."""
    length = settings.prompt_tokens + settings.continuation_tokens
    looked_at = np.unique(np.linspace(0, len(files) - 1, min(len(files), settings.documents)).round().astype(int))
    each = -(-settings.documents // len(looked_at))
    found: list[tuple[str, str, list[int]]] = []
    for number in looked_at:
        of_file = 0
        for id_, source, text in _read(files[number], length):
            ids = tokenizer.encode(text)[:length]
            if len(ids) == length:
                found.append((id_, source, ids))
                of_file += 1
            if of_file == each:
                break
    return found[: settings.documents]


def _read(path: Path, least_bytes: int) -> Iterator[tuple[str, str, str]]:
    """The documents of a file that training reads, in the order of their ids; a token is of one byte at least."""
    columns = ["id", "source", "text", "num_bytes", "repeats"]
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH_DOCUMENTS, columns=columns):
            for row in batch.to_pylist():
                if row["repeats"] and row["num_bytes"] >= least_bytes:
                    yield row["id"], row["source"], row["text"]
