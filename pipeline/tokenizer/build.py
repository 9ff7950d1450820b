"""The tokenizer stage: the training split of a corpus -> a SentencePiece model and its report.

Files: `tokenizer.model`, `plots/piece_lengths.png`. It learns from a seeded sample of the training split and is measured on
the validation split. Trade-off: the held-out measure reads two megabytes, not all, so that it stays a matter of seconds;
the shards count every token of the corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pipeline.artifacts import Artifact, Draft, Report
from pipeline.config import TokenizerConfig
from pipeline.corpus.layout import split_files, train_files
from pipeline.files import write_bytes
from pipeline.progress import Progress
from pipeline.tokenizer import sample
from pipeline.tokenizer.existing import read_tokenizer
from pipeline.tokenizer.fit import measure
from pipeline.tokenizer.model import Tokenizer
from pipeline.tokenizer.plots import plot_piece_lengths
from pipeline.tokenizer.train import is_lossless, train

MEASURED_BYTES = 2_000_000
NUM_EXAMPLES = 5
EXAMPLE_CHARACTERS = 160


def build_tokenizer(
    draft: Draft, *, config: TokenizerConfig, corpus: Artifact, progress: Progress, folder: Path | None = None
) -> Artifact:
    """Trains on a seeded sample of the training split, or takes the settings' file, and measures on the validation split.

    `folder` is what the file's path is relative to.

    Raises:
        InputError: the file is no tokenizer that a model here could use, or it changed since the run was planned.
        StageError: the text allows no vocabulary of this size; names the largest or smallest that it does.
    """
    documents, validation = train_files(corpus), split_files(corpus, "validation")
    sides = config.learns_from
    train_bytes = int(sample.sizes(documents, sides)[1].sum())
    account = sample.Account()
    progress.start(total=2)
    if config.file is not None:
        model = read_tokenizer((folder or Path()) / config.file, sha256=draft.literals.get("file"))
    else:
        shares = sample.draw(documents, budget_bytes=config.sample_bytes, seed=config.seed, sides=sides)
        progress.note(
            f"learns up to {config.vocab_size} {config.kind} pieces from {min(train_bytes, config.sample_bytes):,} bytes"
        )
        model = train(draft, config, sample.sentences(documents, shares, account, sides))
    progress.advance(1)
    write_bytes(draft.path("tokenizer.model"), model)
    tokenizer = Tokenizer(model)
    by_words = tokenizer.facts.kind == "word"
    fit = measure(tokenizer, sample.texts(validation, sides=sides), max_bytes=MEASURED_BYTES, by_words=by_words)
    plot_piece_lengths(tokenizer, draft.path("plots/piece_lengths.png"))
    progress.finish()
    figures: dict[str, int | float | str] = {
        "vocab_size": tokenizer.vocab_size,
        "train_bytes": train_bytes,
        "sampled_documents": account.num_documents,
        "sampled_bytes": account.num_bytes,
        "num_reserved_characters_left_out": account.num_reserved_characters,
        **asdict(fit),
    }
    notes = []
    if config.file is not None:
        notes.append("It is a file that was there already, and learnt nothing from this corpus.")
    elif account.num_bytes < train_bytes:
        notes.append(
            f"Learnt from a sample: {account.num_bytes:,} of {train_bytes:,} bytes (sample_bytes), seed {config.seed}."
        )
    if config.file is None and tokenizer.vocab_size < config.vocab_size:
        notes.append(f"The text has {tokenizer.vocab_size} pieces, fewer than vocab_size {config.vocab_size} allows.")
    if fit.round_trip_failures:
        notes.append(
            f"{fit.round_trip_failures} of {fit.num_documents} held-out documents do not come back as they were."
        )
    return draft.commit(
        counts={**figures, "hash": tokenizer.hash, "lossless": config.file is None and is_lossless(config)},
        report=Report(
            figures=figures,
            tables={"Settings": [config.literals() if config.file is None else dict(draft.literals)]},
            plots={"Length of the pieces": "plots/piece_lengths.png"},
            samples=_examples(tokenizer, validation, sides),
            notes=notes,
        ),
    )


def measure_fit(tokenizer: Artifact, corpus: Artifact) -> Report:
    """How much of today's corpus the tokenizer was trained on, and how well it still compresses it."""
    model = Tokenizer.load(tokenizer.file("tokenizer.model"))
    sides: sample.Sides = tokenizer.manifest.literals.get("learns_from", "both")
    held_out = sample.texts(split_files(corpus, "validation"), sides=sides)
    fit = measure(model, held_out, max_bytes=MEASURED_BYTES)
    then = tokenizer.manifest.counts
    today = int(sample.sizes(train_files(corpus), sides)[1].sum())
    return Report(
        figures={
            "corpus_bytes_when_trained": then["train_bytes"],
            "corpus_bytes_today": today,
            "trained_on_fraction_of_today": min(then["sampled_bytes"] / today, 1.0),
            "bytes_per_token_when_trained": then["bytes_per_token"],
            "bytes_per_token_today": fit.bytes_per_token,
            "unknown_fraction_today": fit.unknown_fraction,
            "byte_fallback_fraction_today": fit.byte_fallback_fraction,
        }
    )


def _examples(tokenizer: Tokenizer, validation: Sequence[Path], sides: sample.Sides) -> dict[str, str]:
    """How the first held-out documents begin, in pieces."""
    examples: dict[str, str] = {}
    for text in sample.texts(validation, sides=sides):
        pieces = tokenizer.pieces(tokenizer.encode(text[:EXAMPLE_CHARACTERS]))
        examples[f"Segmentation {len(examples) + 1}"] = " | ".join(pieces).replace("\n", "⏎")
        if len(examples) == NUM_EXAMPLES:
            break
    return examples
