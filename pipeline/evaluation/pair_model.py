"""A model that writes targets: an encoder-decoder reads the source, a decoder alone a prompt through the dataset's template.

In: a model's folder, and `pairs.json` of the shards it learnt from. Out: bits of given targets, and texts written.
Tokens are cut as in training, for whatever is asked (targets, texts to write, benchmarks): of pairs prefix, text, middle and
target each on its own, `<s>` first; of running text all as one. A source that leaves too little room, or is longer than the
dataset's `max_source_tokens`, is cut at the end that the dataset names. A target's end is not counted, so its bits are those
of its text.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import ArtifactDamaged, InputError
from pipeline.evaluation.continuation import DEFAULTS, continue_texts, defaults_of, generation_parameters
from pipeline.evaluation.spelling import spelt_bits, unknown_bits
from pipeline.evaluation.targets import split_tokens, total_bits
from pipeline.models.loading import load_model
from pipeline.progress import Progress, SilentProgress
from pipeline.shards.pairs import PromptTemplate, shorten
from pipeline.shards.reader import PAIR_INDEX
from pipeline.shards.speakers import speakers_of
from pipeline.tokenizer.model import Tokenizer

if TYPE_CHECKING:
    from pipeline.models.interface import GenerationParameters, LanguageModel

_BLOCK_PAIRS = 256
"""Scored or written between two signs of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairScores:
    """One row a pair, in the order given."""

    bits: np.ndarray[Any, Any]
    """float64 (N,): minus log2 of the target's probability given its source."""
    num_tokens: np.ndarray[Any, Any]
    """int64 (N,): tokens of the target."""
    was_cut: np.ndarray[Any, Any]
    """bool (N,): the source, or for an encoder-decoder the target, did not fit."""


class PairModel:
    """A model, its tokenizers, and how it is asked."""

    def __init__(
        self, model: LanguageModel, tokenizer: Tokenizer, source_tokenizer: Tokenizer, index: dict[str, Any]
    ) -> None:
        """`tokenizer` is that of the targets, `index` the content of `pairs.json`.

        Raises:
            ArtifactDamaged: a decoder alone, and pairs without a template.
        """
        self.model, self.tokenizer, self.source_tokenizer = model, tokenizer, source_tokenizer
        self.task, self.keep_source = str(index["task"]), str(index["keep_source"])
        self.speakers: tuple[str, ...] | None = tuple(index["speakers"]) if index.get("speakers") else None
        """Of conversations: who asks and who answers, where their lines begin with names."""
        self._max_source_tokens: int = index.get("max_source_tokens") or sys.maxsize
        self.is_encoder_decoder = bool(getattr(model, "is_encoder_decoder", False))
        self.template: str | None = index["template"]
        """What a decoder alone reads around a text; None where it has no such form."""
        if self.template is None and not self.is_encoder_decoder:
            raise ArtifactDamaged(
                f"A model of the family {model.family} reads pairs through a template, and these have none. Give the dataset one "
                "tokenizer for both sides, and build it again."
            )
        self._template = None
        if not self.is_encoder_decoder:
            assert self.template is not None
            self._template = PromptTemplate.of(
                self.template, bos_id=tokenizer.bos_id, eos_id=tokenizer.eos_id, keep_source=self.keep_source
            )

    @classmethod
    def load(cls, folder: Path, index_file: Path, *, device: str = "cpu") -> PairModel:
        """The model of a folder, asked as the `pairs.json` at `index_file` says.

        Raises:
            ArtifactDamaged: no saved model, or no readable index.
        """
        try:
            index = json.loads(index_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ArtifactDamaged(f"{index_file} is no readable {PAIR_INDEX}. Build the shards again.") from error
        tokenizer = Tokenizer.load(folder / "tokenizer.model")
        own = folder / "source_tokenizer.model"
        source_tokenizer = Tokenizer.load(own) if own.is_file() else tokenizer
        return cls(load_model(folder, device=device), tokenizer, source_tokenizer, index)

    @property
    def defaults(self) -> dict[str, Any]:
        """How it writes where nothing else is asked for: as its task's preset says, and a decoder alone at most half its
        context."""
        preset = defaults_of(self.task)
        most = min(preset["max_new_tokens"], self.model.context_tokens)
        return {**preset, "max_new_tokens": self.most_new_tokens(most)}

    def prompt(self, text: str, *, room: int) -> tuple[list[int], bool]:
        """What the model reads before a target of at most `room` tokens, and whether the text was cut for it."""
        ids = np.asarray(self.source_tokenizer.encode(text), dtype=np.int64)
        kept = shorten(ids, min(self._max_source_tokens, self._room_for_text(room)), keep=self.keep_source)
        if self._template is not None:
            return self._template.prompt(kept).tolist(), len(kept) < len(ids)
        return [self.source_tokenizer.bos_id, *kept.tolist(), self.source_tokenizer.eos_id], len(kept) < len(ids)

    def _room_for_text(self, room: int) -> int:
        """Tokens of a text that fit the context, beside a target of so many where that is read too."""
        context = self.model.context_tokens
        return context - 2 if self._template is None else context - room - self._template.num_tokens + 1

    def remark(self, text: str, parameters: GenerationParameters) -> str | None:
        """What a person should know before the model writes: that a conversation lacks the names which those of its data have, or
        that the text is too long to be read whole."""
        if self.speakers is not None and speakers_of(text) is None:
            first, second = self.speakers
            return (
                f"It learnt from conversations whose lines begin with names, the last with who answers: '{first}: ...', then "
                f"'{second}:'. `textmill chat` writes them so."
            )
        if not self.prompt(text, room=parameters.max_new_tokens)[1]:
            return None
        cut = "end" if self.keep_source == "beginning" else "beginning"
        if self._max_source_tokens <= self._room_for_text(parameters.max_new_tokens):
            return (
                f"The text has more than {self._max_source_tokens} tokens, to which those that it learnt from were cut, so "
                f"its {cut} was left out. Shorten it, or train with a larger max_source_tokens of the dataset."
            )
        own = "" if self.is_encoder_decoder else f", {parameters.max_new_tokens} of them for what it writes"
        return (
            f"The text does not fit the {self.model.context_tokens} tokens that the model reads at once{own}, so its {cut} was "
            "left out. Shorten it, or train with a larger context_tokens."
        )

    def cut(self, prompt: str, target: str) -> tuple[list[int], list[int]]:
        """Token ids of a whole prompt and of what may follow it, as it learnt pairs; white space between is the template's."""
        ids = self.source_tokenizer.encode(prompt.rstrip())
        read = self.prompt(prompt, room=0)[0] if self._template is None else self._template.prompt(ids).tolist()
        return read, self.tokenizer.encode(target.lstrip())

    def most_new_tokens(self, asked: int) -> int:
        """Of so many that may be written, those that leave a decoder alone half its context for the text."""
        return asked if self._template is None else min(asked, self.model.context_tokens // 2)

    def _check_room(self, max_new_tokens: int) -> None:
        """Raises InputError where a decoder alone would read no token of a text."""
        if self._template is None:
            return
        most = self.model.context_tokens - self._template.num_tokens
        if max_new_tokens > most:
            raise InputError(
                f"A text of {max_new_tokens} tokens is asked for, and the model has room for {self.model.context_tokens}, its "
                f"prompt included. Ask for {most} at most."
            )

    def score(self, texts: Sequence[str], targets: Sequence[str], *, progress: Progress | None = None) -> PairScores:
        """Bits of each target given its text, what is unknown or does not fit the model spelt out; progress counts pairs."""
        progress = progress or SilentProgress()
        found: list[np.ndarray[Any, Any]] = []
        cut: list[bool] = []
        spelt: list[float] = []
        for first in range(0, len(texts), _BLOCK_PAIRS):
            wanted = [self.tokenizer.encode(target) for target in targets[first : first + _BLOCK_PAIRS]]
            asked = [
                self.prompt(text, room=len(ids))
                for text, ids in zip(texts[first : first + _BLOCK_PAIRS], wanted, strict=True)
            ]
            limit = self.model.context_tokens if self.is_encoder_decoder else None
            cut += [
                was_cut or (limit is not None and len(ids) > limit)
                for (_, was_cut), ids in zip(asked, wanted, strict=True)
            ]
            found += self.model.score_targets([ids for ids, _ in asked], [ids[:limit] for ids in wanted])
            spelt += [
                (unknown_bits(self.tokenizer, target) if self.tokenizer.unk_id in ids else 0.0)
                + (spelt_bits(self.tokenizer.decode(ids[limit:])) if limit is not None and len(ids) > limit else 0.0)
                for target, ids in zip(targets[first : first + _BLOCK_PAIRS], wanted, strict=True)
            ]
            progress.advance(len(wanted))
        return PairScores(
            bits=np.array([total_bits(log_probabilities) for log_probabilities in found]) + spelt,
            num_tokens=np.array([len(log_probabilities) for log_probabilities in found], dtype=np.int64),
            was_cut=np.array(cut, dtype=bool),
        )

    def write(
        self, texts: Sequence[str], parameters: GenerationParameters, *, progress: Progress | None = None
    ) -> list[str]:
        """The target that the model gives each text; progress counts texts.

        Raises:
            InputError: so many tokens may be written that nothing of a text can be read.
        """
        progress = progress or SilentProgress()
        self._check_room(parameters.max_new_tokens)
        written: list[str] = []
        special = {self.tokenizer.bos_id, self.tokenizer.eos_id, self.tokenizer.pad_id}
        for first in range(0, len(texts), _BLOCK_PAIRS):
            block = texts[first : first + _BLOCK_PAIRS]
            prompts = [self.prompt(text, room=parameters.max_new_tokens)[0] for text in block]
            for ids in self.model.generate(prompts, parameters):
                text = self.tokenizer.decode([token for token in ids if token not in special])
                written.append(text.rstrip("\ufffd").strip())
            progress.advance(len(block))
        return written

    def parameters(self, settings: Mapping[str, Any] | None = None) -> GenerationParameters:
        """How it writes with these settings over its defaults.

        Raises:
            ValueError: a setting that does not exist or cannot be.
        """
        return generation_parameters(self.tokenizer, settings, defaults=self.defaults)

    def answer(self, texts: Sequence[str], settings: Mapping[str, Any] | None = None) -> list[str]:
        """What the model writes for each text; `settings` overrides its defaults.

        Raises:
            ValueError: a setting that does not exist or cannot be.
            InputError: so many tokens may be written that nothing of a text can be read.
        """
        return self.write(texts, self.parameters(settings))


@dataclass(frozen=True, slots=True, kw_only=True)
class TextModel:
    """A model that continues texts, and its tokenizer."""

    model: LanguageModel
    tokenizer: Tokenizer

    def remark(self, text: str, parameters: GenerationParameters) -> str | None:
        """What a person should know before the model writes: that the text is too long to be read whole."""
        length = len(self.tokenizer.encode(text)) + 1
        kept = self.model.kept_of_prompt(length, parameters)
        if kept == length:
            return None
        return (
            f"The text has {length:,} tokens and the model reads {self.model.context_tokens:,} at once, so it goes on from the "
            f"last {kept:,}. Shorten it, or train with a larger context_tokens."
        )

    def cut(self, prompt: str, target: str) -> tuple[list[int], list[int]]:
        """Token ids of a prompt and of what may follow it, as running text is cut; see `targets.split_tokens`."""
        prompt_ids, target_ids = split_tokens(self.tokenizer, prompt, target)
        return [self.tokenizer.bos_id, *prompt_ids], target_ids

    def most_new_tokens(self, asked: int) -> int:
        """Of so many that may be written, all: what is written outgrows the context."""
        return asked

    @property
    def defaults(self) -> Mapping[str, Any]:
        """How it writes where nothing else is asked for."""
        return DEFAULTS

    def parameters(self, settings: Mapping[str, Any] | None = None) -> GenerationParameters:
        """How it writes with these settings over its defaults.

        Raises:
            ValueError: a setting that does not exist or cannot be.
        """
        return generation_parameters(self.tokenizer, settings)

    def answer(self, texts: Sequence[str], settings: Mapping[str, Any] | None = None) -> list[str]:
        """The continuation of each text; `settings` overrides its defaults.

        Raises:
            ValueError: a setting that does not exist or cannot be.
        """
        return continue_texts(self.model, self.tokenizer, texts, self.parameters(settings))


def load_writer(folder: Path, index_file: Path | None, *, device: str = "cpu") -> TextModel | PairModel:
    """The model of a folder, ready to answer: by the way of its pairs, or where there are none by going on."""
    if index_file is not None:
        return PairModel.load(folder, index_file, device=device)
    tokenizer = Tokenizer.load(folder / "tokenizer.model")
    return TextModel(model=load_model(folder, device=device), tokenizer=tokenizer)
