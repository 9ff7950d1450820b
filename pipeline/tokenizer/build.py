"""The tokenizer stage: the training split of a corpus -> a SentencePiece model and its report.

Files: `tokenizer.model`, `plots/piece_lengths.png`. Lossless settings: identity normaliser, no dummy prefix, white space
kept, byte fallback. (Kudo & Richardson 2018, arXiv 1808.06226; BPE: Sennrich et al. 2016; unigram: Kudo 2018.) Words are
the exception: what is not in their vocabulary is <unk>, so their round trip is reported and not required.
Trade-off: one training thread, because a unigram vocabulary changes with their number.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import sentencepiece

from pipeline.artifacts import Artifact, Draft, Report
from pipeline.config import TokenizerConfig
from pipeline.errors import StageError
from pipeline.files import storage_errors
from pipeline.progress import Progress
from pipeline.tokenizer import sample
from pipeline.tokenizer.fit import Fit, measure
from pipeline.tokenizer.model import BOS, CHAT_MARKERS, EOS, PAD, PIECES, UNK, Tokenizer

NUM_THREADS = 1
MEASURED_BYTES = 2_000_000
NUM_EXAMPLES = 5
EXAMPLE_CHARACTERS = 160
_LIMIT = re.compile(r"<= (\d+)")


def build_tokenizer(draft: Draft, *, config: TokenizerConfig, corpus: Artifact, progress: Progress) -> Artifact:
    """Trains on a seeded sample of the training split, and measures on the validation split.

    Raises:
        StageError: the text allows no vocabulary of this size; names the largest that it does.
    """
    train, validation = corpus.file("documents/train.parquet"), corpus.file("documents/validation.parquet")
    chosen, num_documents, num_bytes = sample.draw(train, budget_bytes=config.sample_bytes, seed=config.seed)
    train_bytes = corpus.manifest.counts["splits"]["train"]["bytes"]
    progress.start(total=2)
    progress.note(f"learns {config.vocab_size} {config.kind} pieces from {num_documents} documents, {num_bytes} bytes")
    model = _train(draft.name, config, train, chosen)
    progress.advance(1)
    with storage_errors(draft.folder):
        draft.path("tokenizer.model").write_bytes(model)
    tokenizer = Tokenizer(model)
    fit = measure(tokenizer, sample.texts(validation), max_bytes=MEASURED_BYTES)
    _plot_lengths(tokenizer, draft.path("plots/piece_lengths.png"))
    progress.finish()
    counts = {
        "vocab_size": tokenizer.vocab_size,
        "hash": tokenizer.hash,
        "train_bytes": train_bytes,
        "sampled_documents": num_documents,
        "sampled_bytes": num_bytes,
        **asdict(fit),
    }
    notes = []
    if num_bytes < train_bytes:
        notes.append(
            f"Learnt from a sample: {num_bytes:,} of {train_bytes:,} bytes (sample_bytes), seed {config.seed}."
        )
    if fit.round_trip_failures:
        notes.append(
            f"{fit.round_trip_failures} of {fit.num_documents} held-out documents do not come back as they were."
        )
    return draft.commit(
        counts=counts,
        report=Report(
            figures={key: value for key, value in counts.items() if key != "hash"},
            tables={"Settings": [config.literals()]},
            plots={"Length of the pieces": "plots/piece_lengths.png"},
            samples=_examples(tokenizer, validation),
            notes=notes,
        ),
    )


def measure_fit(tokenizer: Artifact, corpus: Artifact) -> Report:
    """How much of today's corpus the tokenizer was trained on, and how well it still compresses it."""
    model = Tokenizer.load(tokenizer.file("tokenizer.model"))
    fit = measure(model, sample.texts(corpus.file("documents/validation.parquet")), max_bytes=MEASURED_BYTES)
    today = corpus.manifest.counts["splits"]["train"]["bytes"]
    trained = tokenizer.manifest.counts["train_bytes"]
    return Report(
        figures={
            "corpus_bytes_when_trained": trained,
            "corpus_bytes_today": today,
            "bytes_per_token_when_trained": tokenizer.manifest.counts["bytes_per_token"],
            "bytes_per_token_today": fit.bytes_per_token,
            "unknown_fraction_today": fit.unknown_fraction,
        }
    )


def _train(name: str, config: TokenizerConfig, train: Path, chosen: frozenset[str] | None) -> bytes:
    model = io.BytesIO()
    has_bytes = config.byte_fallback and config.kind != "word"
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=(piece for text in sample.texts(train, chosen) for piece in sample.pieces(text)),
            model_writer=model,
            model_type=config.kind,
            vocab_size=config.vocab_size,
            character_coverage=config.character_coverage,
            byte_fallback=has_bytes,
            # characters and words are as many as there are: the size is then an upper limit
            hard_vocab_limit=config.kind in ("bpe", "unigram"),
            use_all_vocab=False,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            split_digits=config.kind in ("bpe", "unigram"),
            allow_whitespace_only_pieces=True,
            max_sentence_length=8 * sample.MAX_PIECE_CHARACTERS,
            max_sentencepiece_length=32,
            shuffle_input_sentence=False,
            num_threads=NUM_THREADS,
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            pad_piece=PIECES["pad"],
            unk_piece=PIECES["unk"],
            bos_piece=PIECES["bos"],
            eos_piece=PIECES["eos"],
            unk_surface="\ufffd",
            control_symbols=list(CHAT_MARKERS),
            minloglevel=2,
        )
    except (RuntimeError, ValueError) as error:
        words = " ".join(str(error).split())
        limit = _LIMIT.search(words)
        mend = f"Set it to {limit.group(1)} or less" if limit else "Lower it, or give the corpus more text"
        raise StageError(
            f"tokenizers.{name}.vocab_size is {config.vocab_size}, which the corpus's text does not allow. {mend}. "
            f"(SentencePiece: {words[-160:]})"
        ) from error
    return model.getvalue()


def _examples(tokenizer: Tokenizer, validation: Path) -> dict[str, str]:
    examples: dict[str, str] = {}
    for text in sample.texts(validation):
        start = text[:EXAMPLE_CHARACTERS]
        examples[f"Segmentation {len(examples) + 1}"] = " | ".join(tokenizer.pieces(tokenizer.encode(start)))
        if len(examples) == NUM_EXAMPLES:
            break
    return examples


def _plot_lengths(tokenizer: Tokenizer, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    usual = [i for i in range(tokenizer.vocab_size) if not tokenizer.is_byte(i) and not tokenizer.is_control(i)]
    lengths = Counter(len(piece) for piece in tokenizer.pieces(usual))
    figure = Figure(figsize=(6, 3.5))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.bar(list(lengths), list(lengths.values()), color="#2f6db3")
    axes.set(xlabel="characters", ylabel="pieces", title="Length of the pieces")
    axes.grid(alpha=0.3, axis="y")
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})


__all__ = ["Fit", "build_tokenizer", "measure_fit"]
