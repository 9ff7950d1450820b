"""The n-gram family's training: counts and estimates in this process, since it takes a second for millions of tokens. Or nothing
is counted, and the model is what an ARPA file says.

Files: `model/`, `history.parquet` (a row an order), `training.json`, `plots/learning_curve.png`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artifacts import Artifact, Draft, Report
from pipeline.config import NgramConfig
from pipeline.errors import ConfigurationError, InputError, TrainingError
from pipeline.files import write_json, write_parquet
from pipeline.machine import usable_memory_bytes
from pipeline.models.ngram.arpa_reading import read_arpa
from pipeline.models.ngram.counting import count_ngrams
from pipeline.models.ngram.kneser_ney import ESTIMATED_BYTES, OrderProbabilities, estimate
from pipeline.models.ngram.model import NgramModel
from pipeline.models.ngram.scratch import new_in
from pipeline.models.ngram.table import NgramTable
from pipeline.progress import Progress
from pipeline.shards.reader import TokenShards
from pipeline.tokenizer.model import Tokenizer
from pipeline.training.spool import Spool, TrackingInfo

HISTORY_SCHEMA = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),  # the order
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("train_loss", pa.float64(), nullable=False),  # nats a token, by n-grams up to this order
        pa.field("validation_loss", pa.float64()),
        pa.field("num_ngrams", pa.int64(), nullable=False),
    ]
)
SCORED_TOKENS = 500_000
"""Tokens of a split that a loss is measured on, at most: its first."""


def build_ngram_model(
    draft: Draft,
    *,
    config: NgramConfig,
    shards: Artifact,
    tokenizer: Artifact,
    spool_folder: Path,
    tracking: TrackingInfo,
    progress: Progress,
    arpa: Path | None = None,
) -> Artifact:
    """Counts the n-grams of the training split, each document once, and estimates their probabilities; or reads both from `arpa`.

    Raises:
        TrainingError: the training split is empty.
        InputError: the file is no ARPA over the pieces of the tokenizer.
        ConfigurationError: it is of another order than the settings say.
    """
    data = TokenShards(shards.folder)
    tokens = _tokens(data, "train", at_most=SCORED_TOKENS)
    counted_parts = _read_once(shards, data)
    num_counted = sum(part.size for part in counted_parts) if arpa is None else 0
    read = None if arpa is None else _read(arpa, data, config, tokenizer, name=draft.name)
    order = config.order if read is None else read.table.order
    spool = Spool(spool_folder)
    params = {
        "family": config.family,
        "order": order,
        "prune": list(config.prune),
        "vocab_size": data.vocab_size,
        "tokens": num_counted,
    }
    spool.start(asdict(tracking), params)
    status = "FAILED"
    try:
        model, estimated = (read, []) if read is not None else _fit(counted_parts, data, config, draft, progress)
        rows = _history(model, tokens, data, spool.metrics, num_counted=num_counted)
        status = "FINISHED"
    finally:
        spool.finish(status)
    folder = draft.path("model/x").parent
    model.save(folder)
    shutil.copyfile(tokenizer.file("tokenizer.model"), folder / "tokenizer.model")
    num_rows = write_parquet(draft.path("history.parquet"), pa.Table.from_pylist(rows, HISTORY_SCHEMA))
    counts = {
        "num_parameters": model.num_parameters,
        "steps": order,
        "tokens": num_counted,
        "final_train_loss": rows[-1]["train_loss"],
        "final_validation_loss": rows[-1]["validation_loss"],
        "epochs": 1.0 if read is None else 0.0,
        **({} if arpa is None else {"started_from": arpa_origin(arpa)}),
    }
    write_json(draft.path("training.json"), {**counts, "settings": params})
    _plot(rows, draft.path("plots/learning_curve.png"))
    fallbacks = [order for order, found in enumerate(estimated, start=1) if found.is_fallback]
    notes = [] if arpa is None else [f"Nothing was counted: the model is {arpa_origin(arpa)}."]
    notes += [f"Too few n-grams of order {order} for discounts of its own: lmplz's fallback." for order in fallbacks]
    if arpa is None and (num_again := data.num_tokens("train") - num_counted):
        notes.append(
            f"Each document was counted once: {num_again:,} of the {data.num_tokens('train'):,} training tokens are read again "
            "for the corpus's epochs, and what Kneser-Ney smoothing makes of counts are not those of copies."
        )
    return draft.commit(
        counts=counts,
        rows={"history.parquet": num_rows},
        report=Report(
            figures={
                "num_parameters": model.num_parameters,
                "num_tokens": num_counted,
                "final_train_loss": rows[-1]["train_loss"],
                "final_validation_loss": rows[-1]["validation_loss"],
            },
            tables={"Orders": _orders(rows, estimated)},
            plots={"Loss by order": "plots/learning_curve.png"},
            notes=notes,
        ),
    )


def arpa_origin(arpa: Path) -> str:
    """What a person calls it; no path, since it goes into the run's record."""
    return f"the file {arpa.name}"


def _read(arpa: Path, data: TokenShards, config: NgramConfig, tokenizer: Artifact, *, name: str) -> NgramModel:
    own = Tokenizer.load(tokenizer.file("tokenizer.model"))
    pieces = own.pieces(list(range(own.vocab_size)))
    pad_id = own.pad_id if own.pad_id >= 0 else None
    table = read_arpa(arpa, pieces=pieces, bos_id=own.bos_id, pad_id=pad_id, unk_id=own.unk_id)
    if "order" in config.model_fields_set and config.order != table.order:
        raise ConfigurationError(
            f"models.{name}.order is {config.order}, but {arpa.name} has n-grams of up to {table.order} tokens. Write "
            f"{table.order}, or leave order out."
        )
    possible = np.ones(own.vocab_size, dtype=bool)
    possible[[own.bos_id, *([] if pad_id is None else [pad_id])]] = False
    if (lacking := np.flatnonzero(possible & np.isneginf(table.orders[0].log_probabilities))).size:
        raise InputError(
            f"{arpa} gives {lacking.size:,} of the tokenizer's {own.vocab_size:,} pieces no probability (the first is "
            f"{pieces[lacking[0]]!r}), so texts that have them cannot be scored. Give each one a probability, or <unk>."
        )
    return NgramModel(
        table, tokenizer_hash=data.tokenizer_hash, bos_id=own.bos_id, eos_id=own.eos_id, pad_id=own.pad_id
    )


def _tokens(data: TokenShards, split: str, *, at_most: int | None = None) -> np.ndarray[Any, Any]:
    parts = data.tokens(split)
    if not parts or not sum(part.size for part in parts):
        raise TrainingError(f"The {split} split of the shards holds no token. Give the corpus more text.")
    taken: list[np.ndarray[Any, Any]] = []
    missing = at_most if at_most is not None else sum(part.size for part in parts)
    for part in parts:
        taken.append(np.asarray(part[:missing]))
        missing -= taken[-1].size
    return np.concatenate(taken)


def _read_once(shards: Artifact, data: TokenShards) -> list[np.ndarray[Any, Any]]:
    """The training stream up to its second pass, which begins with the first document that stands there again.

    How often Kneser-Ney smoothing discounts follows from how many n-grams occur once, twice and so on: of documents read twice
    none occurs once.
    """
    documents = pq.read_table(shards.file("train.documents.parquet"), columns=["id", "source", "first_token"])
    names = pc.binary_join_element_wise(documents["source"], documents["id"], "\0").combine_chunks()
    numbers = names.dictionary_encode().indices.to_numpy()  # by first appearance: each new one has its own position
    again = np.flatnonzero(numbers != np.arange(numbers.size))
    left = int(documents["first_token"][int(again[0])].as_py()) if again.size else data.num_tokens("train")
    parts = []
    for part in data.tokens("train"):
        parts.append(part[:left])
        left -= parts[-1].size
    return parts


def _fit(
    parts: list[np.ndarray[Any, Any]], data: TokenShards, config: NgramConfig, draft: Draft, progress: Progress
) -> tuple[NgramModel, list[OrderProbabilities]]:
    scratch = draft.path("scratch/x").parent
    try:
        progress.start(total=config.order + 1)
        memory_bytes = config.memory_bytes or usable_memory_bytes() // 2
        counted = []
        for counts in count_ngrams(
            parts,
            order=config.order,
            vocab_size=data.vocab_size,
            bos_id=data.bos_id,
            folder=scratch,
            memory_bytes=memory_bytes,
            where=f"{draft.stage}/{draft.name}",
        ):
            counted.append(counts)
            progress.advance(1)
        never = [token for token in (data.bos_id, data.pad_id) if token >= 0]
        fits = sum(counts.words.size for counts in counted) * ESTIMATED_BYTES <= memory_bytes
        new = np.empty if fits else new_in(scratch)
        estimated = estimate(counted, never_predicted=never, prune=config.prune, new=new)
        progress.advance(1)
        progress.finish()
        model = NgramModel(
            NgramTable.of(counted, estimated, vocab_size=data.vocab_size),
            tokenizer_hash=data.tokenizer_hash,
            bos_id=data.bos_id,
            eos_id=data.eos_id,
            pad_id=data.pad_id,
        )
        return model, estimated
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _history(
    model: NgramModel,
    tokens: np.ndarray[Any, Any],
    data: TokenShards,
    report: Callable[[int, dict[str, float]], None],
    *,
    num_counted: int,
) -> list[dict[str, Any]]:
    validation = _tokens(data, "validation", at_most=SCORED_TOKENS)
    rows = []
    for order, num_ngrams in enumerate(model.table.num_ngrams, start=1):
        losses = [_loss(model, part, order) for part in (tokens, validation)]
        report(order, {"train/loss": losses[0], "validation/loss": losses[1], "train/num_ngrams": float(num_ngrams)})
        rows.append(
            {
                "step": order,
                "tokens": num_counted,
                "train_loss": losses[0],
                "validation_loss": losses[1],
                "num_ngrams": num_ngrams,
            }
        )
    return rows


def _loss(model: NgramModel, tokens: np.ndarray[Any, Any], order: int) -> float:
    """Mean nats a token. The stream is one row: no n-gram spans two documents, so none is found there."""
    scores = model.table.score(tokens[None].astype(np.int64), order=order)[0]
    return float(-scores[tokens[1:] != model.bos_id].mean())


def _orders(rows: list[dict[str, Any]], estimated: list[OrderProbabilities]) -> list[dict[str, Any]]:
    """A row an order; the discounts of what was counted."""
    discounts = [dict(enumerate(found.discounts, start=1)) for found in estimated] or [{} for _ in rows]
    return [
        {
            "order": row["step"],
            "ngrams": row["num_ngrams"],
            **{f"discount_{number}": value for number, value in found.items()},
            "validation_loss": row["validation_loss"],
        }
        for row, found in zip(rows, discounts, strict=True)
    ]


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    orders = [row["step"] for row in rows]
    axes.plot(orders, [row["train_loss"] for row in rows], color="#9db8d9", marker="o", label="training")
    axes.plot(orders, [row["validation_loss"] for row in rows], color="#e07b39", marker="o", label="validation")
    axes.set(xlabel="n-grams up to order", ylabel="cross entropy (nats a token)", title="Loss by order", xticks=orders)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
