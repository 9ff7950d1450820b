"""The shards stage for pairs: a corpus with targets and one or two tokenizers -> two parallel token streams by split.

Files: `<split>-00000.source.tokens` and `<split>-00000.target.tokens` (format.py), of which document n and document n are a pair;
`<split>.documents.parquet` (where each pair lies), `token_counts.parquet` (how often each id stands in the targets of the
training split), `pairs.json` (what lies where, the template in tokens, and what else a model is asked by). A source above
`max_source_tokens` is cut at the end that the dataset names; a pair whose target is above `max_target_tokens` is left out, and
both are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artifacts import Artifact, Draft, Report
from pipeline.config import DatasetConfig
from pipeline.corpus.layout import split_files, train_files
from pipeline.errors import StageError
from pipeline.files import storage_errors, write_json, write_parquet
from pipeline.machine import num_processors
from pipeline.progress import Progress
from pipeline.records import SPLITS
from pipeline.shards.build import document_batches
from pipeline.shards.format import ShardWriter
from pipeline.shards.pairs import shorten
from pipeline.shards.reader import PAIR_INDEX
from pipeline.shards.speakers import Speakers, speakers_of, usual_speakers
from pipeline.tasks import template_literals
from pipeline.tokenizer.model import Tokenizer

SIDES = ("source", "target")
PAIRS_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("first_source_token", pa.int64(), nullable=False),  # in the split's stream of sources: its BOS
        pa.field("num_source_tokens", pa.int64(), nullable=False),  # BOS and EOS included, after the cut
        pa.field("first_target_token", pa.int64(), nullable=False),
        pa.field("num_target_tokens", pa.int64(), nullable=False),
        pa.field("num_bytes", pa.int64(), nullable=False),  # UTF-8 bytes of the text
        pa.field("num_target_bytes", pa.int64(), nullable=False),
    ]
)


@dataclass(slots=True, kw_only=True)
class _Split:
    """What was written of one split."""

    files: dict[str, list[str]] = field(default_factory=lambda: {side: [] for side in SIDES})
    documents: list[pa.RecordBatch] = field(default_factory=list)
    num_pairs: int = 0
    num_tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 0))
    num_bytes: int = 0
    num_truncated: int = 0
    num_left_out: int = 0
    speakers: Counter[Speakers] = field(default_factory=Counter)
    """Of conversations."""


def build_pair_shards(
    draft: Draft,
    *,
    config: DatasetConfig,
    corpus: Artifact,
    tokenizer: Artifact,
    target_tokenizer: Artifact | None = None,
    num_workers: int | None,
    progress: Progress,
) -> Artifact:
    """Encodes both sides of every pair; equal inputs give equal bytes, whatever the number of workers.

    Raises:
        StageError: a document has no target, or no pair of a split is left.
    """
    source = Tokenizer.load(tokenizer.file("tokenizer.model"))
    target = Tokenizer.load(target_tokenizer.file("tokenizer.model")) if target_tokenizer is not None else source
    splits = corpus.manifest.counts["splits"]
    repeats = pq.read_table(train_files(corpus), columns=["repeats"], partitioning=None)["repeats"]
    num_passes = {"train": pc.max(repeats).as_py() or 0}
    progress.start(total=sum(splits[split]["bytes"] * num_passes.get(split, 1) for split in SPLITS))
    counts = np.zeros(target.vocab_size, dtype=np.int64)
    written: dict[str, _Split] = {}
    rows: dict[str, int] = {}
    with storage_errors(draft.folder):
        for split in SPLITS:
            writer = _PairWriter(
                draft,
                split=split,
                config=config,
                tokenizers={"source": source, "target": target},
                num_threads=num_workers or num_processors(),
            )
            paths = split_files(corpus, split)
            passes = num_passes.get(split, 1)
            batches = document_batches(paths, num_passes=passes, progress=progress, columns=("text", "target"))
            written[split] = writer.write(batches, counts if split == "train" else None)
            if not written[split].num_pairs:
                raise StageError(
                    f"datasets.{draft.name}: the targets of all {written[split].num_left_out} pairs of the {split} split have "
                    f"more than {config.max_target_tokens} tokens. Raise max_target_tokens."
                )
            name = f"{split}.documents.parquet"
            rows[name] = write_parquet(draft.path(name), written[split].documents, PAIRS_SCHEMA)
    table = pa.table({"id": np.arange(target.vocab_size, dtype=np.int64), "count": counts})
    rows["token_counts.parquet"] = write_parquet(draft.path("token_counts.parquet"), table)
    index = {
        "task": config.task,
        "keep_source": config.kept_side,
        "max_source_tokens": config.max_source_tokens,
        "speakers": usual_speakers(written["train"].speakers, num_texts=written["train"].num_pairs),
        "source": _identity(source),
        "target": _identity(target),
        "template": _template(config, source) if target_tokenizer is None else None,
        "files": {split: part.files for split, part in written.items()},
    }
    write_json(draft.path(PAIR_INDEX), index)
    progress.finish()
    return draft.commit(
        counts={
            "task": config.task,
            "tokens": {split: sum(part.num_tokens.values()) for split, part in written.items()},
            "source_tokens": {split: part.num_tokens["source"] for split, part in written.items()},
            "target_tokens": {split: part.num_tokens["target"] for split, part in written.items()},
            "documents": {split: part.num_pairs for split, part in written.items()},
            "bytes": {split: part.num_bytes for split, part in written.items()},
            "truncated_sources": {split: part.num_truncated for split, part in written.items()},
            "left_out_pairs": {split: part.num_left_out for split, part in written.items()},
            **_identity(source),
            "target_vocab_size": target.vocab_size,
            "target_tokenizer_hash": target.hash,
        },
        rows=rows,
        report=_report(written, config, counts),
    )


def _identity(tokenizer: Tokenizer) -> dict[str, Any]:
    ids = {"bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id, "pad_id": tokenizer.pad_id}
    return {"vocab_size": tokenizer.vocab_size, "tokenizer_hash": tokenizer.hash, **ids}


def _template(config: DatasetConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    prefix, middle = template_literals(config.pair_template)
    return {
        "text": config.pair_template,
        "prefix_ids": tokenizer.encode(prefix) if prefix else [],
        "middle_ids": tokenizer.encode(middle) if middle else [],
    }


class _PairWriter:
    """Streams the pairs of one split into its shard files; a new one of each side begins where either would be too large."""

    def __init__(
        self, draft: Draft, *, split: str, config: DatasetConfig, tokenizers: dict[str, Tokenizer], num_threads: int
    ) -> None:
        self._draft, self._split, self._config = draft, split, config
        self._tokenizers, self._num_threads = tokenizers, num_threads
        self._writers: dict[str, ShardWriter] = {}
        self._written = _Split()

    def write(self, batches: Iterator[pa.RecordBatch], counts: np.ndarray | None) -> _Split:
        """Writes all batches; `counts` grows by the ids of the targets."""
        try:
            for batch in batches:
                self._write_batch(batch, counts)
            self._close()
        except BaseException:
            for writer in self._writers.values():
                writer.abandon()
            raise
        return self._written

    def _write_batch(self, batch: pa.RecordBatch, counts: np.ndarray | None) -> None:
        if batch["target"].null_count:
            (missing,) = batch.filter(pc.is_null(batch["target"])).slice(0, 1)["id"].to_pylist()
            raise StageError(
                f"datasets.{self._draft.name}: its task {self._config.task} needs pairs, but documents of the corpus have no "
                f"target (the first is {missing}). Set `target` on its sources, or the task to language_model."
            )
        written = self._written
        sources, targets = (
            self._encode(batch, column, side) for column, side in zip(("text", "target"), SIDES, strict=True)
        )
        fits = np.array([ids.size <= self._config.max_target_tokens for ids in targets], dtype=bool)
        written.num_left_out += int((~fits).sum())
        kept = np.flatnonzero(fits).tolist()
        limit, keep = self._config.max_source_tokens, self._config.kept_side
        written.num_truncated += sum(sources[number].size > limit for number in kept)
        both = {
            "source": self._marked([shorten(sources[number], limit, keep=keep) for number in kept], "source"),
            "target": self._marked([targets[number] for number in kept], "target"),
        }
        if counts is not None:
            counts += np.bincount(both["target"][0], minlength=counts.size)
        self._add(both)
        sizes = {side: both[side][1] for side in SIDES}
        columns: list[Any] = []
        for side in SIDES:
            columns += [written.num_tokens[side] + np.cumsum(sizes[side]) - sizes[side], sizes[side]]
            written.num_tokens[side] += int(sizes[side].sum())
        batch = batch.filter(pa.array(fits))
        if self._config.task == "dialogue":
            written.speakers.update(filter(None, map(speakers_of, batch["text"].to_pylist())))
        target_bytes = pc.binary_length(batch["target"].cast(pa.large_binary()))
        columns = [batch["id"], batch["source"], *columns, batch["num_bytes"], target_bytes.cast(pa.int64())]
        written.documents.append(pa.record_batch(columns, schema=PAIRS_SCHEMA))
        written.num_pairs += len(kept)
        written.num_bytes += (pc.sum(batch["num_bytes"]).as_py() or 0) + (pc.sum(target_bytes).as_py() or 0)

    def _encode(self, batch: pa.RecordBatch, column: str, side: str) -> list[np.ndarray]:
        return self._tokenizers[side].encode_batch(batch[column].to_pylist(), num_threads=self._num_threads)

    def _marked(self, texts: list[np.ndarray], side: str) -> tuple[np.ndarray, np.ndarray]:
        """The texts between their marks, end to end, and the tokens each has: int64."""
        tokenizer = self._tokenizers[side]
        bos, eos = np.array([tokenizer.bos_id]), np.array([tokenizer.eos_id])
        parts = [part for ids in texts for part in (bos, ids, eos)]
        sizes = np.array([ids.size + 2 for ids in texts], dtype=np.int64)
        return np.concatenate(parts or [np.zeros(0)]).astype(np.int64), sizes

    def _add(self, both: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
        """Appends pairs; where either side's shard would be too large, both begin a new one."""
        ends = {side: np.concatenate([[0], np.cumsum(sizes)]) for side, (_, sizes) in both.items()}
        num_pairs = ends["source"].size - 1
        done = 0
        while done < num_pairs:
            self._open()
            fitting = min(
                int(np.searchsorted(ends[side] - ends[side][done], limit, side="right")) - 1
                for side, writer in self._writers.items()
                for limit in [self._config.shard_tokens - writer.num_tokens]
            )
            if self._writers["source"].num_tokens == 0:
                fitting = max(fitting, done + 1)  # a pair longer than a shard has one of its own
            if fitting > done:
                for side, (tokens, sizes) in both.items():
                    self._writers[side].add(tokens[ends[side][done] : ends[side][fitting]], sizes[done:fitting])
                done = fitting
            if done < num_pairs:
                self._close()

    def _open(self) -> None:
        if self._writers:
            return
        for side, tokenizer in self._tokenizers.items():
            files = self._written.files[side]
            files.append(f"{self._split}-{len(files):05d}.{side}.tokens")
            self._writers[side] = ShardWriter(
                self._draft.path(files[-1]), vocab_size=tokenizer.vocab_size, tokenizer_hash=tokenizer.hash
            )

    def _close(self) -> None:
        for side in list(self._writers):
            self._writers.pop(side).close()


def _report(written: dict[str, _Split], config: DatasetConfig, counts: np.ndarray) -> Report:
    table = [
        {
            "split": split,
            "pairs": part.num_pairs,
            "source_tokens": part.num_tokens["source"],
            "target_tokens": part.num_tokens["target"],
            "truncated_sources": part.num_truncated,
            "left_out_pairs": part.num_left_out,
        }
        for split, part in written.items()
    ]
    truncated = sum(part.num_truncated for part in written.values())
    left_out = sum(part.num_left_out for part in written.values())
    notes = []
    if truncated:
        cut = "end" if config.kept_side == "beginning" else "beginning"
        notes.append(
            f"Sources cut at their {cut}, to {config.max_source_tokens} tokens (max_source_tokens): {truncated:,}."
        )
    if left_out:
        notes.append(
            f"Pairs left out for a target of more than {config.max_target_tokens} tokens (max_target_tokens): {left_out:,}."
        )
    total = {side: sum(part.num_tokens[side] for part in written.values()) for side in SIDES}
    return Report(
        figures={
            "num_pairs": sum(part.num_pairs for part in written.values()),
            "num_source_tokens": total["source"],
            "num_target_tokens": total["target"],
            "target_tokens_per_source_token": total["target"] / max(total["source"], 1),
            "num_truncated_sources": truncated,
            "num_left_out_pairs": left_out,
            "unused_vocabulary_fraction": float((counts == 0).mean()),
        },
        tables={"Splits": table},
        notes=notes,
    )
