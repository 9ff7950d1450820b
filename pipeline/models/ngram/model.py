"""An n-gram model with the special ids and the tokenizer hash it was estimated with.

Files of a saved model: `model.safetensors` (the sorted arrays of every order), `config.json`, `generation_config.json`,
`textmill.json`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.numpy import load_file, save
from torch import Tensor

from pipeline.errors import InputError
from pipeline.files import write_bytes, write_json
from pipeline.models.beam_search import beam_search
from pipeline.models.constraints import constrained, is_constrained
from pipeline.models.interface import GenerationParameters, TokenScores
from pipeline.models.loading import CARD, FORMAT, read_card, token_ids_of, weights_of
from pipeline.models.ngram.table import NgramTable, OrderTable
from pipeline.models.sampling import next_tokens, own_generator
from pipeline.models.target_scores import score_in_rows

if TYPE_CHECKING:
    from jaxtyping import Int

CONTEXT_TOKENS = 4096
"""The longest row that `score` takes; a token depends on no more than order - 1 tokens before it."""
_CHUNK_NUMBERS = 2**24
"""Probabilities of whole vocabularies held at once: 64 MiB."""


class NgramModel:
    """Probabilities of n-grams, and what they are of."""

    family = "ngram"
    is_encoder_decoder = False

    def __init__(self, table: NgramTable, *, tokenizer_hash: str, bos_id: int, eos_id: int, pad_id: int) -> None:
        self.table = table
        self.tokenizer_hash = tokenizer_hash
        self.bos_id, self.eos_id, self.pad_id = bos_id, eos_id, pad_id

    @property
    def context_tokens(self) -> int:
        return CONTEXT_TOKENS

    @property
    def num_parameters(self) -> int:
        """Probabilities and back-off weights."""
        return sum(order.log_probabilities.size + order.log_backoffs.size for order in self.table.orders)

    def kept_of_prompt(self, length: int, parameters: GenerationParameters) -> int:
        """A prompt is read whole; n-grams reach back as far as they do."""
        return length

    def score(self, token_ids: Int[Tensor, "batch seq"]) -> TokenScores:
        """Scores positions 1..T-1.

        Raises:
            ValueError: a sequence shorter than two tokens, or longer than `context_tokens`.
        """
        if not 2 <= token_ids.shape[1] <= self.context_tokens:
            raise ValueError(f"{token_ids.shape[1]} tokens; a sequence has 2 to {self.context_tokens}")
        words = token_ids.cpu().numpy()
        targets = words[:, 1:].ravel()
        contexts = [ranks[:, :-1].ravel() for ranks in self.table.contexts(words)]
        ranks = np.empty(targets.size, dtype=np.int64)
        confidences = np.empty(targets.size, dtype=np.float32)
        step = max(1, _CHUNK_NUMBERS // self.table.vocab_size)
        for start in range(0, targets.size, step):
            part = slice(start, start + step)
            rows = self.table.distributions([context[part] for context in contexts])
            chosen = np.take_along_axis(rows, targets[part, None], axis=1)
            ranks[part] = (rows > chosen).sum(axis=1)
            confidences[part] = np.exp(rows.max(axis=1))
        shape = (words.shape[0], words.shape[1] - 1)
        return TokenScores(
            log_probabilities=torch.from_numpy(self.table.score(words).astype(np.float32)),
            ranks=torch.from_numpy(ranks.reshape(shape)),
            confidences=torch.from_numpy(confidences.reshape(shape)),
        )

    def score_targets(self, prompts: list[list[int]], targets: list[list[int]]) -> list[np.ndarray[Any, np.dtype[Any]]]:
        """Scores each target after its prompt; see `target_scores.py`.

        Raises:
            InputError: an empty prompt.
        """
        return score_in_rows(self, prompts, targets)

    def generate(self, prompts: list[list[int]], parameters: GenerationParameters) -> list[list[int]]:
        """Continues prompts of any lengths together.

        Raises:
            InputError: an empty prompt.
        """
        if any(not prompt for prompt in prompts):
            raise InputError("A prompt has no tokens; begin it with the BOS token.")
        if parameters.num_beams > 1 and prompts:
            decoding = _Decoding(self.table, prompts)
            return beam_search(decoding.logits(), decoding, parameters)
        texts = [list(prompt) for prompt in prompts]
        generators = [own_generator(prompt, parameters.seed) for prompt in prompts]
        alive = set(range(len(prompts)))
        span = max(1, self.table.order - 1)
        for _ in range(parameters.max_new_tokens):
            if not alive:
                break
            logits = _logits(self.table, _last(texts, span))
            if is_constrained(parameters):
                added = [text[len(prompt) :] for text, prompt in zip(texts, prompts, strict=True)]
                logits = constrained(logits, added, parameters)
            latest = next_tokens(logits, parameters, generators)
            for row, token in enumerate(latest.tolist()):
                if row in alive and token in parameters.stop_ids:
                    alive.discard(row)
                elif row in alive:
                    texts[row].append(token)
        return [text[len(prompt) :] for text, prompt in zip(texts, prompts, strict=True)]

    def save(self, folder: Path) -> None:
        """Writes the model; `load` is the inverse."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            f"{number}.{name}": np.ascontiguousarray(getattr(order, name))
            for number, order in enumerate(self.table.orders, start=1)
            for name in OrderTable.__dataclass_fields__
        }
        write_bytes(folder / "model.safetensors", save(arrays, metadata={"format": "np"}))
        config = {"model_type": "textmill_ngram", "order": self.table.order, "vocab_size": self.table.vocab_size}
        write_json(folder / "config.json", {**config, "num_ngrams": self.table.num_ngrams})
        ids = {"bos_token_id": self.bos_id, "eos_token_id": self.eos_id, "pad_token_id": self.pad_id}
        write_json(folder / "generation_config.json", ids)
        card: dict[str, Any] = {
            "format": FORMAT,
            "family": self.family,
            "tokenizer_hash": self.tokenizer_hash,
            "bos_id": self.bos_id,
            "eos_id": self.eos_id,
            "pad_id": self.pad_id,
            "num_parameters": self.num_parameters,
            "context_tokens": self.context_tokens,
            "vocab_size": self.table.vocab_size,
            "order": self.table.order,
        }
        write_json(folder / CARD, card)

    @classmethod
    def load(cls, folder: Path) -> NgramModel:
        """The inverse of `save`.

        Raises:
            ArtifactDamaged: arrays are missing or cut short.
        """
        card = read_card(folder)
        with weights_of(folder) as weights:
            arrays = load_file(weights)
            orders = [
                OrderTable(**{name: arrays[f"{number}.{name}"] for name in OrderTable.__dataclass_fields__})
                for number in range(1, card["order"] + 1)
            ]
        return cls(
            NgramTable(orders, vocab_size=card["vocab_size"]),
            **token_ids_of(card),
        )


def _last(texts: list[list[int]], span: int) -> np.ndarray[Any, Any]:
    """The last tokens of each text, int64 (B, span); -1 is no token, and nothing before it is a context."""
    return np.array([[-1] * (span - len(text)) + text[-span:] for text in texts])


def _logits(table: NgramTable, last: np.ndarray[Any, Any]) -> Tensor:
    """Log-probabilities of what follows, (B, vocabulary)."""
    return torch.from_numpy(table.distributions([ranks[:, -1] for ranks in table.contexts(last)]))


class _Decoding:
    """The table in the middle of writing, for `beam_search.py`."""

    def __init__(self, table: NgramTable, prompts: list[list[int]]) -> None:
        self._table, self._last = table, _last(prompts, max(1, table.order - 1))

    def logits(self) -> Tensor:
        return _logits(self._table, self._last)

    def step(self, tokens: Int[Tensor, " rows"]) -> Tensor:
        self._last = np.concatenate((self._last[:, 1:], tokens.numpy()[:, None]), axis=1)
        return self.logits()

    def reorder(self, rows: Int[Tensor, " new_rows"]) -> None:
        self._last = self._last[rows.numpy()]
