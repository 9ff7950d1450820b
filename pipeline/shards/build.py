"""The shards stage: a corpus and a tokenizer -> token streams by split.

Files: `<split>-00000.tokens` (format.py), `<split>.documents.parquet` (where each document lies), `token_counts.parquet`
(how often each id stands in the training split), `shards.json` (what lies where). Training documents are repeated by their
source's epochs: 2.0 twice, 0.5 the half with the lower hash. Parquet is read batch by batch and tokens are streamed out,
so memory does not grow with the corpus; SentencePiece encodes a batch on several threads and the order stays.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import Artifact, Draft, Report
from pipeline.config import DatasetConfig
from pipeline.files import storage_errors, write_json, write_parquet
from pipeline.progress import Progress
from pipeline.records import SPLITS
from pipeline.shards.format import ShardWriter, token_bytes_for
from pipeline.shards.reader import INDEX
from pipeline.tokenizer.model import Tokenizer

BATCH_DOCUMENTS = 256
DOCUMENTS_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("first_token", pa.int64(), nullable=False),  # in the split's stream: its BOS
        pa.field("num_tokens", pa.int64(), nullable=False),  # BOS and EOS included
        pa.field("num_bytes", pa.int64(), nullable=False),  # UTF-8 bytes of the text
    ]
)


@dataclass(slots=True, kw_only=True)
class _Stream:
    """What was written of one split."""

    files: list[str] = field(default_factory=list)
    documents: list[dict[str, str | int]] = field(default_factory=list)
    num_tokens: int = 0
    num_bytes: int = 0


def build_token_shards(
    draft: Draft,
    *,
    config: DatasetConfig,
    corpus: Artifact,
    tokenizer: Artifact,
    num_workers: int | None,
    progress: Progress,
) -> Artifact:
    """Encodes every document of every split; equal inputs give equal bytes, whatever the number of workers."""
    model = Tokenizer.load(tokenizer.file("tokenizer.model"))
    epochs: Mapping[str, float] = corpus.manifest.literals["sources"]
    sizes = {split: corpus.manifest.counts["splits"][split]["bytes"] for split in SPLITS}
    num_passes = max(math.ceil(value) for value in epochs.values())
    progress.start(total=sum(sizes.values()) + sizes["train"] * (num_passes - 1))
    counts = np.zeros(model.vocab_size, dtype=np.int64)
    streams: dict[str, _Stream] = {}
    rows: dict[str, int] = {}
    with storage_errors(draft.folder):
        for split in SPLITS:
            path = corpus.file(f"documents/{split}.parquet")
            passes = num_passes if split == "train" else 1
            weights = epochs if split == "train" else {}
            batches = _encoded(
                path, model, weights=weights, num_passes=passes, num_threads=num_workers or 2, progress=progress
            )
            streams[split] = _write(
                draft, split, batches, model, config.shard_tokens, counts if split == "train" else None
            )
            name = f"{split}.documents.parquet"
            rows[name] = write_parquet(
                draft.path(name), pa.Table.from_pylist(streams[split].documents, DOCUMENTS_SCHEMA)
            )
    table = pa.table({"id": np.arange(model.vocab_size, dtype=np.int64), "count": counts})
    rows["token_counts.parquet"] = write_parquet(draft.path("token_counts.parquet"), table)
    ids = {"bos_id": model.bos_id, "eos_id": model.eos_id, "pad_id": model.pad_id}
    files = {split: stream.files for split, stream in streams.items()}
    identity = {"vocab_size": model.vocab_size, "tokenizer_hash": model.hash, **ids}
    write_json(draft.path(INDEX), {**identity, "files": files})
    progress.finish()
    return draft.commit(
        counts={
            "tokens": {split: stream.num_tokens for split, stream in streams.items()},
            "documents": {split: len(stream.documents) for split, stream in streams.items()},
            "bytes": {split: stream.num_bytes for split, stream in streams.items()},
            **identity,
        },
        rows=rows,
        report=_report(streams, model, counts),
    )


def _copies(id_: str, weight: float, number: int) -> bool:
    """Whether pass `number` holds a document: wholly below the weight's integer part, by hash in its fraction."""
    if number < math.floor(weight):
        return True
    position = int.from_bytes(hashlib.blake2b(f"{number}:{id_}".encode(), digest_size=8).digest(), "little") / 2**64
    return position < weight - number


def _encoded(
    path: Path,
    model: Tokenizer,
    *,
    weights: Mapping[str, float],
    num_passes: int,
    num_threads: int,
    progress: Progress,
) -> Iterator[tuple[dict[str, str | int], np.ndarray]]:
    """Each document with its token ids, BOS and EOS around them, pass after pass."""
    for number in range(num_passes):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_DOCUMENTS, columns=["id", "source", "text", "num_bytes"]):
                chosen = [
                    row for row in batch.to_pylist() if _copies(row["id"], weights.get(row["source"], 1.0), number)
                ]
                encoded = model.encode_batch([row["text"] for row in chosen], num_threads=num_threads)
                for row, token_ids in zip(chosen, encoded, strict=True):
                    yield row, np.concatenate(([model.bos_id], token_ids, [model.eos_id]))
                progress.advance(sum(batch["num_bytes"].to_pylist()))


def _write(
    draft: Draft,
    split: str,
    documents: Iterator[tuple[dict[str, str | int], np.ndarray]],
    model: Tokenizer,
    shard_tokens: int,
    counts: np.ndarray | None,
) -> _Stream:
    stream = _Stream()
    writer: ShardWriter | None = None
    try:
        for row, token_ids in documents:
            if writer is None or (writer.num_tokens and writer.num_tokens + token_ids.size > shard_tokens):
                if writer is not None:
                    writer.close()
                stream.files.append(f"{split}-{len(stream.files):05d}.tokens")
                path = draft.path(stream.files[-1])
                writer = ShardWriter(path, vocab_size=model.vocab_size, tokenizer_hash=model.hash)
            writer.add(token_ids)
            place = {"first_token": stream.num_tokens, "num_tokens": int(token_ids.size)}
            stream.documents.append({"id": row["id"], "source": row["source"], "num_bytes": row["num_bytes"], **place})
            stream.num_tokens += int(token_ids.size)
            stream.num_bytes += int(row["num_bytes"])
            if counts is not None:
                counts += np.bincount(token_ids, minlength=counts.size)
        if writer is not None:
            writer.close()
    except BaseException:
        if writer is not None:
            writer.abandon()
        raise
    return stream


def _report(streams: Mapping[str, _Stream], model: Tokenizer, counts: np.ndarray) -> Report:
    splits = [
        {"split": split, "tokens": stream.num_tokens, "documents": len(stream.documents), "bytes": stream.num_bytes}
        for split, stream in streams.items()
    ]
    total = sum(stream.num_tokens for stream in streams.values())
    most = np.argsort(-counts, kind="stable")[:20]
    frequent = [
        {"token": piece, "id": int(token), "count": int(counts[token])}
        for token, piece in zip(most, model.pieces(most), strict=True)
    ]
    return Report(
        figures={
            "num_tokens": total,
            "num_train_tokens": streams["train"].num_tokens,
            "num_documents": sum(len(stream.documents) for stream in streams.values()),
            "bytes_per_token": sum(stream.num_bytes for stream in streams.values()) / max(total, 1),
            "token_bytes": token_bytes_for(model.vocab_size),
            "unused_vocabulary_fraction": float((counts == 0).mean()),
        },
        tables={"Splits": splits, "Most frequent tokens": frequent},
    )
