"""The shards stage: a corpus and a tokenizer -> token streams by split.

Files: `<split>-00000.tokens` (format.py), `<split>.documents.parquet` (where each document lies), `token_counts.parquet`
(how often each id stands in the training split), `shards.json` (what lies where). Training documents stand in the stream
as often as the corpus says (`repeats`), pass after pass. Parquet is read batch by batch and tokens are streamed out, so
memory holds a batch of text and a row a document; SentencePiece encodes a batch on several threads and the order stays.
Trade-off: one process; SentencePiece releases the interpreter's lock, and what is left to it is a tenth of the time.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artifacts import Artifact, Draft, Report
from pipeline.config import DatasetConfig
from pipeline.corpus.layout import split_files, train_files
from pipeline.files import parquet_batches, storage_errors, write_json, write_parquet
from pipeline.machine import num_processors
from pipeline.progress import Progress
from pipeline.records import SPLITS
from pipeline.shards.format import ShardWriter, token_bytes_for
from pipeline.shards.reader import INDEX
from pipeline.tokenizer.model import Tokenizer

BATCH_DOCUMENTS = 1024
BATCH_BYTES = 4_000_000
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
    documents: list[pa.RecordBatch] = field(default_factory=list)
    num_documents: int = 0
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
    sizes = {split: corpus.manifest.counts["splits"][split]["bytes"] for split in SPLITS}
    repeats = pq.read_table(train_files(corpus), columns=["repeats"], partitioning=None)["repeats"]
    num_passes = {"train": pc.max(repeats).as_py() or 0}
    num_threads = num_workers or num_processors()
    progress.start(total=sum(sizes.values()) + sizes["train"] * (num_passes["train"] - 1))
    counts = np.zeros(model.vocab_size, dtype=np.int64)
    streams: dict[str, _Stream] = {}
    rows: dict[str, int] = {}
    with storage_errors(draft.folder):
        for split in SPLITS:
            batches = document_batches(
                split_files(corpus, split), num_passes=num_passes.get(split, 1), progress=progress
            )
            streams[split] = _write(
                draft,
                split=split,
                batches=batches,
                model=model,
                num_threads=num_threads,
                shard_tokens=config.shard_tokens,
                counts=counts if split == "train" else None,
            )
            name = f"{split}.documents.parquet"
            rows[name] = write_parquet(draft.path(name), streams[split].documents, DOCUMENTS_SCHEMA)
    table = pa.table({"id": np.arange(model.vocab_size, dtype=np.int64), "count": counts})
    rows["token_counts.parquet"] = write_parquet(draft.path("token_counts.parquet"), table)
    ids = {"bos_id": model.bos_id, "eos_id": model.eos_id, "pad_id": model.pad_id}
    identity = {"vocab_size": model.vocab_size, "tokenizer_hash": model.hash, **ids}
    write_json(draft.path(INDEX), {**identity, "files": {split: stream.files for split, stream in streams.items()}})
    progress.finish()
    return draft.commit(
        counts={
            "tokens": {split: stream.num_tokens for split, stream in streams.items()},
            "documents": {split: stream.num_documents for split, stream in streams.items()},
            "bytes": {split: stream.num_bytes for split, stream in streams.items()},
            **identity,
        },
        rows=rows,
        report=_report(streams, model, counts),
    )


def document_batches(
    paths: Sequence[Path], *, num_passes: int, progress: Progress, columns: Sequence[str] = ("text",)
) -> Iterator[pa.RecordBatch]:
    """Documents with these columns, pass after pass, at most BATCH_DOCUMENTS and about BATCH_BYTES at once; pass k (from 0)
    holds those that repeat more than k times."""
    for number, path in itertools.product(range(num_passes), paths):
        wanted = ["id", "source", "num_bytes", "repeats", *columns]
        for batch in parquet_batches(path, columns=wanted, num_rows=BATCH_DOCUMENTS):
            places = (np.cumsum(batch["num_bytes"].to_numpy()) // BATCH_BYTES).tolist()
            for place in sorted(set(places)):
                start, stop = places.index(place), len(places) - places[::-1].index(place)
                part = batch.slice(start, stop - start)
                part = part.filter(pc.greater(part["repeats"], number))
                if part.num_rows:
                    yield part
            progress.advance(int(batch["num_bytes"].to_numpy().sum()))


def _write(
    draft: Draft,
    *,
    split: str,
    batches: Iterator[pa.RecordBatch],
    model: Tokenizer,
    num_threads: int,
    shard_tokens: int,
    counts: np.ndarray | None,
) -> _Stream:
    stream = _Stream()
    writer: ShardWriter | None = None
    bos, eos = (np.array([token], dtype=np.int32) for token in (model.bos_id, model.eos_id))
    try:
        for batch in batches:
            encoded = model.encode_batch(batch["text"].to_pylist(), num_threads=num_threads)
            tokens = np.concatenate([part for ids in encoded for part in (bos, ids, eos)])
            sizes = np.array([ids.size + 2 for ids in encoded], dtype=np.int64)
            if counts is not None:
                counts += np.bincount(tokens, minlength=counts.size)
            ends = np.cumsum(sizes)
            done = 0
            while done < sizes.size:
                if writer is None:
                    stream.files.append(f"{split}-{len(stream.files):05d}.tokens")
                    path = draft.path(stream.files[-1])
                    writer = ShardWriter(path, vocab_size=model.vocab_size, tokenizer_hash=model.hash)
                before = int(ends[done] - sizes[done])
                fitting = int(np.searchsorted(ends - before, shard_tokens - writer.num_tokens, side="right"))
                if writer.num_tokens == 0:
                    fitting = max(fitting, done + 1)  # a document longer than a shard has one of its own
                if fitting > done:
                    writer.add(tokens[before : ends[fitting - 1]], sizes[done:fitting])
                    done = fitting
                if done < sizes.size:
                    writer.close()
                    writer = None
            first_tokens = stream.num_tokens + ends - sizes
            columns = [batch["id"], batch["source"], first_tokens, sizes, batch["num_bytes"]]
            stream.documents.append(pa.record_batch(columns, schema=DOCUMENTS_SCHEMA))
            stream.num_documents += batch.num_rows
            stream.num_tokens += int(ends[-1])
            stream.num_bytes += int(batch["num_bytes"].to_numpy().sum())
        if writer is not None:
            writer.close()
    except BaseException:
        if writer is not None:
            writer.abandon()
        raise
    return stream


def _report(streams: Mapping[str, _Stream], model: Tokenizer, counts: np.ndarray) -> Report:
    splits = [
        {"split": split, "tokens": stream.num_tokens, "documents": stream.num_documents, "bytes": stream.num_bytes}
        for split, stream in streams.items()
    ]
    total = sum(stream.num_tokens for stream in streams.values())
    most = np.argsort(-counts, kind="stable")[:20]
    frequent = [
        {"token": piece.replace("\n", "⏎"), "id": int(token), "count": int(counts[token])}
        for token, piece in zip(most, model.pieces(most), strict=True)
    ]
    return Report(
        figures={
            "num_tokens": total,
            "num_train_tokens": streams["train"].num_tokens,
            "num_documents": sum(stream.num_documents for stream in streams.values()),
            "bytes_per_token": sum(stream.num_bytes for stream in streams.values()) / max(total, 1),
            "token_bytes": token_bytes_for(model.vocab_size),
            "unused_vocabulary_fraction": float((counts == 0).mean()),
        },
        tables={"Splits": splits, "Most frequent tokens": frequent},
    )
