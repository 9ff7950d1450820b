"""A trained SentencePiece model: text to token ids and back, and the hash that names it.

Control symbols are never produced from raw text, so a document that contains the letters `</s>` cannot end itself.
SentencePiece writes a space as U+2581 and reads every U+2581 back as a space, so that character itself is spelled out in
its UTF-8 bytes here: documentation about tokenizers comes back as it was.
Trade-off: `encode` of SentencePiece slows down with a text's length (6.6 MB/s at 4 KB, 2.2 at 1 MB), so long texts go
through its chunked encoder, which gives the same ids.
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
from pipeline.tokenizer.model_file import Facts, facts_of

PAD, UNK, BOS, EOS = 0, 1, 2, 3
PIECES = {"pad": "<pad>", "unk": "<unk>", "bos": "<s>", "eos": "</s>"}
CHAT_MARKERS = ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>")
"""Control symbols too: they stand for turns, and text that spells them out stays text."""

SPACE_SYMBOL = "\u2581"
"""What SentencePiece writes for a space."""

LONG_CHARACTERS = 32_000
_CHUNK_CHARACTERS = 4_000


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
    def facts(self) -> Facts:
        """What its file says of itself."""
        return facts_of(self._processor.serialized_model_proto())

    @cached_property
    def vocab_size(self) -> int:
        return int(self._processor.GetPieceSize())

    @cached_property
    def has_bytes(self) -> bool:
        """Whether what no piece holds is spelt in bytes; else it is <unk>."""
        return any(map(self.is_byte, range(self.vocab_size)))

    @cached_property
    def bos_id(self) -> int:
        return int(self._processor.bos_id())

    @cached_property
    def eos_id(self) -> int:
        return int(self._processor.eos_id())

    @cached_property
    def pad_id(self) -> int:
        """Fills places that nobody reads; where the vocabulary has no such symbol, it is <unk>'s, which no text gives there."""
        own = int(self._processor.pad_id())
        return own if own >= 0 else self.unk_id

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

        Raises:
            InputError: the text holds half a surrogate pair, which is no character.
        """
        _refuse_surrogates(text)
        if not _is_usual(text):
            return [int(token) for token in self._encode_unusual(text, num_threads=1)]
        ids: list[int] = self._processor.EncodeAsIds(text)  # not a batch of one: its thread costs twenty short texts
        return ids

    def encode_batch(self, texts: Sequence[str], *, num_threads: int = 1) -> list[np.ndarray]:
        """Token ids of each text, int32; the interpreter's lock is released, so threads add up.

        Raises:
            InputError: a text holds half a surrogate pair, which is no character.
        """
        for text in texts:
            _refuse_surrogates(text)
        usual = [text for text in texts if _is_usual(text)]
        encoded = iter(self._processor.encode(usual, num_threads=num_threads, return_type="numpy"))
        return [next(encoded) if _is_usual(text) else self._encode_unusual(text, num_threads) for text in texts]

    def spans(self, text: str) -> list[tuple[int, int, int]]:
        """Token ids of a text, each with the characters it covers, start and end: they lie end to end, and a byte within a
        character covers none.

        >>> tokenizer.spans("to be")  # doctest: +SKIP
        [(412, 0, 2), (398, 2, 5)]

        Raises:
            InputError: the text holds half a surrogate pair, which is no character.
        """
        _refuse_surrogates(text)
        found: list[tuple[int, int, int]] = []
        begin = 0
        for number, part in enumerate(text.split(SPACE_SYMBOL)):
            if number:
                *inner, last = [int(token) for token in self._space_symbol]
                found += [(token, begin, begin) for token in inner] + [(last, begin, begin + 1)]
                begin += 1
            mapping = self._processor.EncodeAsOffsetMapping(part)
            found += [
                (int(token), begin + start, begin + end)
                for token, (start, end) in zip(mapping["ids"], mapping["offsets"], strict=True)
            ]
            begin += len(part)
        return found

    def _encode_unusual(self, text: str, num_threads: int) -> np.ndarray:
        """Token ids of a long text, or of one that holds the space symbol."""
        found = []
        for number, part in enumerate(text.split(SPACE_SYMBOL)):
            if number:
                found.append(self._space_symbol)
            if part:
                found.append(
                    self._processor.parallel_encode(
                        part, chunk_len=_CHUNK_CHARACTERS, num_threads=num_threads, return_type="numpy"
                    )
                )
        return np.concatenate(found)

    @cached_property
    def _space_symbol(self) -> np.ndarray:
        """The byte pieces of the space symbol, or <unk> where the vocabulary has none."""
        ids = [self._processor.PieceToId(f"<0x{byte:02X}>") for byte in SPACE_SYMBOL.encode()]
        return np.array(ids if all(map(self.is_byte, ids)) else [self.unk_id], dtype=np.int32)

    def decode(self, token_ids: Sequence[int] | np.ndarray) -> str:
        """The text of token ids; control symbols give nothing, invalid UTF-8 from byte pieces gives U+FFFD."""
        text: str = self._processor.decode(np.asarray(token_ids, dtype=np.int32).tolist())
        return text

    def pieces(self, token_ids: Sequence[int] | np.ndarray) -> list[str]:
        """The pieces of token ids, as SentencePiece writes them (U+2581 for a space)."""
        return [self._processor.IdToPiece(int(token)) for token in token_ids]

    def scores(self) -> list[float]:
        """Of every piece: log-probabilities for `unigram`; for `bpe` the later a merge was learnt, the smaller."""
        return [float(self._processor.GetScore(token)) for token in range(self.vocab_size)]

    def is_byte(self, token: int) -> bool:
        """Whether a token is one of the 256 byte pieces."""
        return bool(self._processor.IsByte(token))

    def is_control(self, token: int) -> bool:
        """Whether a token is a control symbol, which no text produces."""
        return bool(self._processor.IsControl(token))


def _is_usual(text: str) -> bool:
    return len(text) < LONG_CHARACTERS and SPACE_SYMBOL not in text


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"A text holds half a surrogate pair ({text[error.start]!a} at character {error.start}), which is no "
            "character. Clean the text, or leave it out."
        ) from None
