"""A trained SentencePiece model: text to token ids and back, and the hash that names it.

Control symbols are never produced from raw text, so a document that contains the letters `</s>` cannot end itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import sentencepiece

from pipeline.errors import InputError

PAD, UNK, BOS, EOS = 0, 1, 2, 3
PIECES = {"pad": "<pad>", "unk": "<unk>", "bos": "<s>", "eos": "</s>"}
CHAT_MARKERS = ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>")
"""Control symbols too: they stand for turns, and text that spells them out stays text."""


class Tokenizer:
    """Encodes and decodes; safe to share between threads. Encoding never adds BOS or EOS."""

    def __init__(self, model: bytes) -> None:
        """Takes the bytes of a `.model` file.

        Raises:
            InputError: they are no SentencePiece model.
        """
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except (RuntimeError, ValueError) as error:
            raise InputError(f"The tokenizer is no SentencePiece model ({error}). Build it again.") from error

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """The tokenizer in a `.model` file."""
        return cls(path.read_bytes())

    @cached_property
    def vocab_size(self) -> int:
        return int(self._processor.GetPieceSize())

    @cached_property
    def bos_id(self) -> int:
        return int(self._processor.bos_id())

    @cached_property
    def eos_id(self) -> int:
        return int(self._processor.eos_id())

    @cached_property
    def pad_id(self) -> int:
        return int(self._processor.pad_id())

    @cached_property
    def unk_id(self) -> int:
        return int(self._processor.unk_id())

    @cached_property
    def hash(self) -> str:
        """64 hexadecimal digits over what decides an encoding: pieces, scores, types and the normaliser's effect.

        The file's bytes are no identity: they hold the number of training threads.
        """
        processor = self._processor
        pieces = [
            [processor.IdToPiece(i), processor.GetScore(i), self.is_byte(i), self.is_control(i), processor.IsUnused(i)]
            for i in range(self.vocab_size)
        ]
        probes = [self.encode(text) for text in ("a  b", " a", "\n\t", "ﬁ①Ａ", "é", "é")]
        return hashlib.sha256(json.dumps([pieces, probes]).encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Token ids of a text.

        >>> tokenizer.encode("to be")  # doctest: +SKIP
        [412, 398]
        """
        ids: list[int] = self._processor.EncodeAsIds(text)
        return ids

    def encode_batch(self, texts: Sequence[str], *, num_threads: int = 1) -> list[np.ndarray]:
        """Token ids of each text, int32; the interpreter's lock is released, so threads add up."""
        found = self._processor.encode(list(texts), out_type=int, num_threads=num_threads)
        return [np.asarray(ids, dtype=np.int32) for ids in found]

    def decode(self, token_ids: Sequence[int] | np.ndarray) -> str:
        """The text of token ids; control symbols give nothing, invalid UTF-8 from byte pieces gives U+FFFD."""
        text: str = self._processor.DecodeIds([int(token) for token in token_ids])
        return text

    def pieces(self, token_ids: Sequence[int] | np.ndarray) -> list[str]:
        """The pieces of token ids, as SentencePiece writes them (U+2581 for a space)."""
        return [self._processor.IdToPiece(int(token)) for token in token_ids]

    def is_byte(self, token: int) -> bool:
        """Whether a token is one of the 256 byte pieces."""
        return bool(self._processor.IsByte(token))

    def is_control(self, token: int) -> bool:
        """Whether a token is a control symbol, which no text produces."""
        return bool(self._processor.IsControl(token))
