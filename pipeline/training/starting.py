"""Where training begins when not at random weights: what a folder of weights is, and whether it fits.

In: a folder into which Textmill saved a model or Hugging Face a Llama or Qwen3, and a model's settings. Out: the sizes of the
network. Imports no torch until a folder is opened. A tokenizer is compared by its hash; a folder that has none is compared by its
vocabulary's size, and that is said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.config import NetworkConfig, RecurrentConfig, TransformerConfig
from pipeline.config.starting import StartSettings
from pipeline.errors import ConfigurationError, InputError
from pipeline.models.recurrent.shape import RecurrentShape
from pipeline.models.transformer.hugging_face import shape_of_folder
from pipeline.models.transformer.shape import TransformerShape
from pipeline.tokenizer.model import Tokenizer

StartShape = TransformerShape | RecurrentShape
"""Of what can be begun with."""
WEIGHTS = "model.safetensors"
_BEGINNING = ("transformer", "rnn", "gru", "lstm")
_SIZES = {
    "depth": "num_layers",
    "width": "width",
    "num_heads": "num_heads",
    "num_kv_heads": "num_kv_heads",
    "head_width": "head_width",
    "feed_forward_width": "feed_forward_width",
    "tie_embeddings": "tie_embeddings",
    "rope_theta": "rope_theta",
    "query_key_norm": "query_key_norm",
}
"""Key of the model's section -> what the shape calls it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartingPoint:
    """Weights to begin with."""

    folder: Path
    origin: str
    """What a person calls it; no path, since it goes into the run's record."""
    content_hash: str
    family: str
    shape: StartShape
    tokenizer_hash: str | None
    """None where the folder does not say."""
    training_documents: Path | None = None
    """Hashes of the documents it has read, where they are known."""

    def record(self) -> dict[str, str]:
        """What the trained model's lineage says of it."""
        return {"origin": self.origin, "content_hash": self.content_hash}


def open_starting_point(
    folder: Path, *, origin: str, content_hash: str, training_documents: Path | None = None
) -> StartingPoint:
    """What lies in a folder of weights.

    Raises:
        InputError: there are no weights, or of a network that cannot be built here.
        ArtifactDamaged: it is Textmill's own and its card is not readable.
    """
    from pipeline.models.loading import CARD, read_card  # imports torch

    if not (folder / WEIGHTS).is_file():
        raise InputError(f"{folder} holds no {WEIGHTS} to begin with. Name a folder with all weights in that one file.")
    shape: StartShape
    family, tokenizer_hash = "transformer", None
    if (folder / CARD).is_file():
        card = read_card(folder)
        family, tokenizer_hash = card["family"], card["tokenizer_hash"]
        if family not in _BEGINNING:
            raise InputError(
                f"{origin} is of the family {family}; training goes on from {', '.join(_BEGINNING)}. Name another."
            )
        shape = TransformerShape(**card["shape"]) if family == "transformer" else RecurrentShape(**card["shape"])
    else:
        shape = shape_of_folder(folder)
        if (folder / "tokenizer.model").is_file():
            tokenizer_hash = Tokenizer.load(folder / "tokenizer.model").hash
    return StartingPoint(
        folder=folder,
        origin=origin,
        content_hash=content_hash,
        family=family,
        shape=shape,
        tokenizer_hash=tokenizer_hash,
        training_documents=training_documents,
    )


def check_fit(start: StartingPoint, *, name: str, family: str, tokenizer_hash: str, vocab_size: int) -> str | None:
    """Compares family and tokenizer with the model's own; returns a remark where the tokenizer could not be compared.

    Raises:
        ConfigurationError: another family, or another tokenizer.
    """
    if start.family != family:
        raise ConfigurationError(
            f"models.{name} is of the family {family}, but {start.origin} is of the family {start.family}. Begin with a model "
            "of the same family."
        )
    if start.tokenizer_hash is not None and start.tokenizer_hash != tokenizer_hash:
        raise ConfigurationError(
            f"models.{name} cannot begin with {start.origin}: its tokenizer has the hash {start.tokenizer_hash[:12]}, the "
            f"dataset's {tokenizer_hash[:12]}, so its token ids mean other text. Give the dataset that model's tokenizer "
            "(tokenizers.NAME.file takes a tokenizer.model as it is), or begin afresh."
        )
    if start.shape.vocab_size != vocab_size:
        raise ConfigurationError(
            f"models.{name} cannot begin with {start.origin}: its vocabulary has {start.shape.vocab_size:,} entries, the "
            f"dataset's {vocab_size:,}. Give the dataset that model's tokenizer (tokenizers.NAME.file takes a tokenizer.model as "
            "it is), or begin afresh."
        )
    if start.tokenizer_hash is None:
        return (
            f"{start.origin} has no tokenizer.model beside it: only the vocabulary's size, {vocab_size:,}, was compared. Its "
            "token ids must be the dataset's."
        )
    return None


def shape_from(start: StartShape, config: StartSettings) -> StartShape:
    """The starting point's sizes with the context, and the dropouts, of the settings.

    Raises:
        ConfigurationError: a size is set to another value.
    """
    for key, size in _SIZES.items():
        if key not in config.model_fields_set or getattr(config, key) is None:
            continue
        given, found = getattr(config, key), getattr(start, size)
        if given != found:
            raise ConfigurationError(
                f"{key} is {given}, but the model to begin with has {found}. Write {found}, or leave {key} out."
            )
    if isinstance(config, TransformerConfig) and "research" in config.model_fields_set:
        own = [name for name, value in config.research if value]
        if isinstance(start, TransformerShape) and own != start.research_parts:
            raise ConfigurationError(
                f"research sets {', '.join(own) or 'nothing'}, but the model to begin with has "
                f"{', '.join(start.research_parts) or 'none of it'}. Leave research out."
            )
    if isinstance(start, RecurrentShape):
        assert isinstance(config, RecurrentConfig)
        return replace(
            start,
            context_tokens=config.context_tokens,
            dropout=config.dropout,
            embedding_dropout=config.embedding_dropout,
            weight_drop=config.weight_drop,
        )
    assert isinstance(config, TransformerConfig)
    return replace(start, context_tokens=config.context_tokens, dropout=config.dropout)


def lora_settings(config: NetworkConfig) -> dict[str, Any] | None:
    """The adapters' settings as a spec has them."""
    return config.lora.literals() if isinstance(config, TransformerConfig) and config.lora is not None else None
