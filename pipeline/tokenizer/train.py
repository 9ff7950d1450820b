"""SentencePiece's training, with settings that lose nothing, and its refusals as sentences.

In: sentences and a tokenizer's settings. Out: the bytes of a `.model` file, the same for the same sentences.
(Kudo & Richardson 2018, arXiv 1808.06226; BPE: Sennrich et al. 2016; unigram: Kudo 2018.)

`bpe`, `unigram` and `char` leave the text alone (identity normaliser, no dummy prefix, every space kept) and spell what they
do not know in bytes, so any text comes back as it was. Digits stand alone, so that numbers are spelled the same way
everywhere. `word` learns words between spaces: there spaces are folded and line ends are words of their own, so a text
comes back up to white space, and what is not in the vocabulary is <unk>.
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from typing import Any

import sentencepiece

from pipeline.artifacts import Draft
from pipeline.config import TokenizerConfig
from pipeline.errors import StageError
from pipeline.files import write_text
from pipeline.tokenizer.model import BOS, CHAT_MARKERS, EOS, PAD, PIECES, UNK
from pipeline.tokenizer.model_file import without_rule_path
from pipeline.tokenizer.sample import MAX_SENTENCE_CHARACTERS

NUM_THREADS = 4
"""A constant, not the machine's cores: a unigram vocabulary changes with the number of threads that learn it."""

_LINE_END_RULE = "A\t20 A 20\n"
"""Normalisation rule for words, in hexadecimal: a line end becomes a line end between two spaces."""

_TOO_LARGE = re.compile(r"too high \(\d+\)\. Please set it to a value <= (\d+)")
_TOO_SMALL = re.compile(r"smaller than required_chars\. \d+ vs (\d+)")


def is_lossless(config: TokenizerConfig) -> bool:
    """Whether every text comes back as it was: a failed round trip is then an error, else it is only reported."""
    return config.byte_fallback and config.kind != "word"


def train(draft: Draft, config: TokenizerConfig, sentences: Iterator[str]) -> bytes:
    """A trained model.

    Raises:
        StageError: the text allows no vocabulary of this size; names the largest or smallest that it does.
    """
    model = io.BytesIO()
    try:
        settings = _word_settings(draft) if config.kind == "word" else _text_settings(config)
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=sentences,
            model_writer=model,
            model_type=config.kind,
            vocab_size=config.vocab_size,
            character_coverage=config.character_coverage,
            max_sentence_length=4 * MAX_SENTENCE_CHARACTERS,  # in bytes
            num_threads=NUM_THREADS,
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            pad_piece=PIECES["pad"],
            unk_piece=PIECES["unk"],
            bos_piece=PIECES["bos"],
            eos_piece=PIECES["eos"],
            control_symbols=list(CHAT_MARKERS),
            minloglevel=2,  # errors are raised; the rest is chatter on standard error
            **settings,
        )
    except (RuntimeError, ValueError) as error:
        raise StageError(_sentence(draft.name, config, str(error))) from error
    finally:
        shutil.rmtree(draft.folder / "scratch", ignore_errors=True)
    return without_rule_path(model.getvalue())


def _text_settings(config: TokenizerConfig) -> dict[str, Any]:
    return {
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "allow_whitespace_only_pieces": True,  # indentation is learnt
        "split_digits": config.kind != "char",
        "byte_fallback": config.byte_fallback,
        # a text has as many characters as it has: for them the size is an upper limit
        "hard_vocab_limit": config.kind != "char",
        "max_sentencepiece_length": 32,
        "unk_surface": "\ufffd",
    }


def _word_settings(draft: Draft) -> dict[str, Any]:
    rule = draft.path("scratch/words.tsv")
    write_text(rule, _LINE_END_RULE)
    return {
        "normalization_rule_tsv": str(rule),
        "add_dummy_prefix": True,  # else a text's first word would be another word
        "remove_extra_whitespaces": True,
        "hard_vocab_limit": False,  # a text has as many words as it has
        "unk_surface": " \ufffd",
    }


def _sentence(name: str, config: TokenizerConfig, words: str) -> str:
    key = f"tokenizers.{name}.vocab_size is {config.vocab_size}"
    if limit := _TOO_LARGE.search(words):
        return f"{key}, more than the training split's text gives. Set it to {limit.group(1)} or less, or add text."
    if limit := _TOO_SMALL.search(words):
        return (
            f"{key}, which has no room for the text's characters, control symbols and bytes. Set it to "
            f"{limit.group(1)} or more, or lower character_coverage."
        )
    if "sentences_.empty()" in words:
        return f"tokenizers.{name}: the training split of {config.corpus} holds no text to learn from. Add documents."
    return f"{key}, and SentencePiece cannot train a {config.kind} model of that size ({' '.join(words.split())})."
