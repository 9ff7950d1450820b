"""A tokenizer that is there already: which files may be one, and what they must have."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pipeline.errors import InputError
from pipeline.tokenizer.model import Tokenizer


def read_tokenizer(file: Path, *, sha256: str | None = None) -> bytes:
    """The bytes of a SentencePiece model with which models here can begin and end a text.

    Raises:
        InputError: it cannot be read, has not this hash, is no such model, or lacks a symbol.
    """
    try:
        model = file.read_bytes()
    except OSError as error:
        raise InputError(f"The tokenizer {file} cannot be read ({error.strerror}). Name another file.") from error
    if sha256 is not None and hashlib.sha256(model).hexdigest() != sha256:
        raise InputError(f"The tokenizer {file} changed while the run began. Run again.")
    try:
        tokenizer = Tokenizer(model)
    except InputError as error:
        raise InputError(
            f"{file} is no SentencePiece model, such as a tokenizer.model is. Name one; a tokenizer.json cannot be read here."
        ) from error
    if tokenizer.bos_id < 0 or tokenizer.eos_id < 0:
        lacking = "begin (BOS)" if tokenizer.bos_id < 0 else "end (EOS)"
        raise InputError(
            f"The tokenizer {file} has no symbol for a text's {lacking}, which models here need. Name another file, or train one."
        )
    if tokenizer.pad_id == tokenizer.unk_id and not tokenizer.has_bytes:
        raise InputError(
            f"The tokenizer {file} has neither a padding symbol nor byte pieces, so that padding would look like unknown text. "
            "Name another file, or train one."
        )
    return model
