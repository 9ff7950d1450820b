"""A language model small enough to compute by hand: a fixed table of what follows what.

Its vocabulary is pad, unk, BOS, EOS, "a", "b"; its tokenizer is one character, one token.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

PAD, UNK, BOS, EOS, A, B = range(6)
CHARACTERS = {"a": A, "b": B}

TABLE = np.full((6, 6), 1 / 64)
TABLE[BOS, [A, B]] = [3 / 4, 3 / 16]
TABLE[A, [A, B]] = [1 / 2, 7 / 16]
TABLE[B, [A, B]] = [15 / 16 - 1 / 8, 1 / 8]


class CharacterTokenizer:
    """Tokens are the characters a and b; anything else is unknown."""

    vocab_size, pad_id, unk_id, bos_id, eos_id = 6, PAD, UNK, BOS, EOS

    def encode(self, text: str) -> list[int]:
        return [CHARACTERS.get(character, UNK) for character in text]

    def encode_batch(self, texts: Sequence[str], *, num_threads: int = 1) -> list[np.ndarray]:
        return [np.array(self.encode(text), dtype=np.int32) for text in texts]

    def spans(self, text: str) -> list[tuple[int, int, int]]:
        return [(token, place, place + 1) for place, token in enumerate(self.encode(text))]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join({A: "a", B: "b"}.get(token, "\ufffd") for token in ids)


class BigramModel:
    """Knows only the token before, so windows of any context must agree; it refuses to look past its context."""

    family, num_parameters, is_encoder_decoder = "bigram", 36, False

    def __init__(self, *, context_tokens: int = 4, table: np.ndarray = TABLE) -> None:
        self.context_tokens = context_tokens
        self.table = torch.from_numpy(table)
        self.batch_shapes: list[tuple[int, int]] = []

    def score(self, token_ids: torch.Tensor) -> Any:
        assert token_ids.dtype == torch.int64
        assert token_ids.shape[1] <= self.context_tokens
        self.batch_shapes.append((token_ids.shape[0], token_ids.shape[1]))
        probabilities = self.table[token_ids[:, :-1]]  # (B, T - 1, V)
        chosen = probabilities.gather(2, token_ids[:, 1:, None])  # (B, T - 1, 1)
        return SimpleNamespace(
            log_probabilities=chosen[:, :, 0].log().float(),
            ranks=(probabilities > chosen).sum(dim=2),
            confidences=probabilities.max(dim=2).values.float(),
        )

    def generate(self, prompts: list[list[int]], parameters: Any) -> list[list[int]]:
        """The most likely token, again and again, then end of text."""
        continuations = []
        for prompt in prompts:
            ids = list(prompt)
            for _ in range(parameters.max_new_tokens):
                ids.append(int(self.table[ids[-1]].argmax()))
            continuations.append([*ids[len(prompt) :], EOS])
        return continuations


class PositionModel(BigramModel):
    """Likes a token better the more context it has seen: log2 probability minus 1 / tokens before it."""

    def score(self, token_ids: torch.Tensor) -> Any:
        found = super().score(token_ids)
        before = torch.arange(1, token_ids.shape[1]).expand(token_ids.shape[0], -1)
        found.log_probabilities = (-1.0 / before * np.log(2)).float()
        return found


def bits_by_hand(text: str, table: np.ndarray = TABLE) -> float:
    """Minus log2 of the product of the table's entries along the text, and 8 for each byte and each end of what is unknown."""
    spelt = sum(8 * (len(character.encode()) + 1) for character in text if character not in CHARACTERS)
    ids = [BOS, *(CHARACTERS.get(character, UNK) for character in text)]
    return spelt + float(-sum(np.log2(table[before, after]) for before, after in pairwise(ids)))
