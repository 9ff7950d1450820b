"""What a SentencePiece model file says of itself; and one machine's path, which is taken out.

A model trained with a rule file names that file, and with it a folder of this machine, though the rules themselves are
stored compiled. The file is a protocol buffer (https://protobuf.dev/programming-guides/encoding): fields of tag, value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_PIECES, _TRAINER_SPEC, _NORMALIZER_SPEC = 1, 2, 3  # of ModelProto
_PIECE_TYPE = 3  # of SentencePiece
_ODD_PIECES = (4, 5)  # user-defined, unused
_MODEL_TYPE = 3  # of TrainerSpec
_CHARACTER_MAP, _DUMMY_PREFIX, _EXTRA_SPACES = 2, 3, 4  # of NormalizerSpec
_KINDS = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
_RULE_FILE = 6  # of NormalizerSpec: normalization_rule_tsv
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def without_rule_path(model: bytes) -> bytes:
    """The same model, in the bytes that training anywhere gives."""
    out = []
    for number, start, value_start, end in _fields(model):
        if number == _NORMALIZER_SPEC:
            spec = model[value_start:end]
            kept = b"".join(spec[begin:stop] for field, begin, _, stop in _fields(spec) if field != _RULE_FILE)
            out.append(bytes([number << 3 | _LENGTH]) + _varint(len(kept)) + kept)
        else:
            out.append(model[start:end])
    return b"".join(out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a file says of itself."""

    kind: str
    """`unigram`, `bpe`, `word` or `char`."""
    adds_space: bool
    """A text is read as if a space stood before it."""
    is_plain: bool
    """A text is read as it stands, white space included, and every piece is learnt, a byte, a control symbol or <unk>."""


def facts_of(model: bytes) -> Facts:
    """The file's own account; what it leaves out has the format's default."""
    kind, adds_space, is_plain = 1, 1, True
    for number, _, value_start, end in _fields(model):
        value = model[value_start:end]
        if number == _PIECES:
            is_plain &= _varint_of(value, _PIECE_TYPE, default=1) not in _ODD_PIECES
        elif number == _TRAINER_SPEC:
            kind = _varint_of(value, _MODEL_TYPE, default=kind)
        elif number == _NORMALIZER_SPEC:
            adds_space = _varint_of(value, _DUMMY_PREFIX, default=1)
            has_map = any(field == _CHARACTER_MAP and stop > start for field, _, start, stop in _fields(value))
            is_plain &= not has_map and not _varint_of(value, _EXTRA_SPACES, default=1)
    return Facts(kind=_KINDS[kind], adds_space=bool(adds_space), is_plain=is_plain)


def _varint_of(message: bytes, wanted: int, *, default: int) -> int:
    return next(
        (_read_varint(message, start)[0] for field, _, start, _ in _fields(message) if field == wanted), default
    )


def _fields(message: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(field number, where the field starts, where its value starts, where it ends) of each field."""
    at = 0
    while at < len(message):
        start = at
        tag, at = _read_varint(message, at)
        kind = tag & 7
        value_start = at
        if kind == _VARINT:
            _, end = _read_varint(message, at)
        elif kind == _LENGTH:
            length, value_start = _read_varint(message, at)
            end = value_start + length
        else:
            assert kind in (_FIXED64, _FIXED32), f"wire type {kind} in a SentencePiece model"
            end = at + (8 if kind == _FIXED64 else 4)
        yield tag >> 3, start, value_start, end
        at = end


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
