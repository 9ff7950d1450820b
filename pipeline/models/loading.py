"""A saved model folder -> a model, by the family its `textmill.json` names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import ArtifactDamaged
from pipeline.models.interface import LanguageModel

CARD = "textmill.json"
TOKENIZER, SOURCE_TOKENIZER = "tokenizer.model", "source_tokenizer.model"
FORMAT = 1


def read_card(folder: Path) -> dict[str, Any]:
    """`textmill.json`: family, context, vocabulary size, tokenizer hash, special ids.

    Raises:
        ArtifactDamaged: it is missing, unreadable or of another format.
    """
    try:
        card: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise ArtifactDamaged(f"{folder} holds no readable {CARD}, so it is no saved model. Train it again.") from error
    if card.get("format") != FORMAT:
        raise ArtifactDamaged(f"{folder} has model format {card.get('format')!r}, not {FORMAT}. Train it again.")
    return card


@contextmanager
def weights_of(folder: Path) -> Iterator[Path]:
    """The file of a model's weights; whatever goes wrong while they are read is one sentence.

    Raises:
        ArtifactDamaged: they are missing, cut short or of another shape.
    """
    try:
        yield folder / "model.safetensors"
    except Exception as error:  # safetensors, missing keys and sizes each raise their own
        reason = " ".join(str(error).split())[:200]
        raise ArtifactDamaged(f"{folder}: model.safetensors does not load ({reason}). Train it again.") from error


def token_ids_of(card: Mapping[str, Any]) -> dict[str, Any]:
    """What a model keeps of its tokenizer: its hash and the special ids."""
    return {name: card[name] for name in ("tokenizer_hash", "bos_id", "eos_id", "pad_id")}


def load_model(folder: Path, *, device: str = "cpu") -> LanguageModel:
    """The model in a folder, ready to score and to generate.

    Raises:
        ArtifactDamaged: no saved model, of an unknown family, or with a tokenizer that is not the one it was trained with.
    """
    card = read_card(folder)
    for name, holder in ((TOKENIZER, card), (SOURCE_TOKENIZER, card.get("source"))):
        if (folder / name).is_file():
            _check_tokenizer(folder / name, holder["tokenizer_hash"] if holder else "")
    if card["family"] == "transformer":
        from pipeline.models.transformer.model import TransformerModel

        return TransformerModel.load(folder, device=device)
    if card["family"] == "ngram":
        from pipeline.models.ngram.model import NgramModel

        return NgramModel.load(folder)
    if card["family"] in ("seq2seq_transformer", "seq2seq_rnn"):
        from pipeline.models.seq2seq_model import Seq2SeqModel

        return Seq2SeqModel.load(folder, device=device)
    if card["family"] in ("rnn", "gru", "lstm"):
        from pipeline.models.recurrent.model import RecurrentModel

        return RecurrentModel.load(folder, device=device)
    raise ArtifactDamaged(f"{folder} holds a model of the unknown family {card['family']!r}. Update textmill.")


def _check_tokenizer(file: Path, expected: str) -> None:
    from pipeline.tokenizer.model import Tokenizer

    found = Tokenizer.load(file).hash
    if found != expected:
        raise ArtifactDamaged(
            f"{file.parent}: {file.name} has the hash {found[:12]} where the model was trained with {expected[:12]}. Put the "
            "right tokenizer beside it or train again."
        )
