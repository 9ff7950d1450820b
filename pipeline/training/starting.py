"""Where training begins when not at random weights: what a folder of weights is, whether it fits, and what of it stays frozen.

In: a folder into which Textmill saved a model or Hugging Face a Llama or Qwen3, and a model's settings. Out: the sizes of the
network, and the network with those weights. Imports no torch until a folder is opened. A tokenizer is compared by its hash; a
folder that has none is compared by its vocabulary's size, and that is said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.config import RecurrentConfig, TransformerConfig
from pipeline.errors import ConfigurationError, InputError
from pipeline.models.recurrent.shape import RecurrentShape
from pipeline.models.transformer.hugging_face import shape_of_folder
from pipeline.models.transformer.shape import TransformerShape
from pipeline.tokenizer.model import Tokenizer

if TYPE_CHECKING:
    from pipeline.training.families import Network

WEIGHTS = "model.safetensors"
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
    shape: TransformerShape | RecurrentShape
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
    shape: TransformerShape | RecurrentShape
    family, tokenizer_hash = "transformer", None
    if (folder / CARD).is_file():
        card = read_card(folder)
        family, tokenizer_hash = card["family"], card["tokenizer_hash"]
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
            f"dataset's {tokenizer_hash[:12]}, so its token ids mean other text. Give the dataset that model's tokenizer, or "
            "begin afresh."
        )
    if start.shape.vocab_size != vocab_size:
        raise ConfigurationError(
            f"models.{name} cannot begin with {start.origin}: its vocabulary has {start.shape.vocab_size:,} entries, the "
            f"dataset's {vocab_size:,}. Give the dataset that model's tokenizer, or begin afresh."
        )
    if start.tokenizer_hash is None:
        return (
            f"{start.origin} has no tokenizer.model beside it: only the vocabulary's size, {vocab_size:,}, was compared. Its "
            "token ids must be the dataset's."
        )
    return None


def shape_from(
    start: TransformerShape | RecurrentShape, config: TransformerConfig | RecurrentConfig
) -> TransformerShape | RecurrentShape:
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
    if isinstance(start, RecurrentShape):
        assert isinstance(config, RecurrentConfig)
        return replace(
            start,
            context_tokens=config.context_tokens,
            dropout=config.dropout,
            embedding_dropout=config.embedding_dropout,
            weight_drop=config.weight_drop,
        )
    return replace(start, context_tokens=config.context_tokens)


def load_start(network: Network, folder: Path) -> None:
    """Fills a network with the folder's weights.

    Raises:
        InputError: they are cut short, or of another shape than the folder says.
    """
    from pipeline.models.recurrent.model import load_weights as load_recurrent
    from pipeline.models.transformer.model import load_weights as load_transformer
    from pipeline.models.transformer.network import Transformer

    try:
        if isinstance(network, Transformer):
            load_transformer(network, folder / WEIGHTS)
        else:
            load_recurrent(network, folder / WEIGHTS)
    except Exception as error:  # safetensors, missing keys and sizes each raise their own
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{folder / WEIGHTS} does not load ({reason}). Restore it, or begin with another model."
        ) from error


def lora_settings(config: TransformerConfig | RecurrentConfig) -> dict[str, Any] | None:
    """The adapters' settings as a spec has them."""
    return config.lora.literals() if isinstance(config, TransformerConfig) and config.lora is not None else None


def hold(network: Network, *, parts: Sequence[str], lora: Mapping[str, Any] | None, seed: int) -> None:
    """Freezes the named parts, or all but the adapters that are added.

    Raises:
        ConfigurationError: what is to be frozen or adapted is not there.
    """
    if parts:
        freeze(network, parts)
    if lora is not None:
        from pipeline.training.lora import add_adapters

        add_adapters(network, rank=lora["rank"], alpha=lora["alpha"], targets=lora["targets"], seed=seed)


def freeze(network: Network, parts: Sequence[str]) -> None:
    """Takes the named parts out of training.

    `embedding`, `head` and `norm` are the tables and the last norm; any other part is what its parameters' names begin with,
    where `0-3` stands for several numbers and `*` for any one word.

    Raises:
        ConfigurationError: a part, or a number of its range, is no parameter's; or nothing is left to train.
    """
    parameters = {_short(parameter_name): parameter for parameter_name, parameter in network.named_parameters()}
    for part in parts:
        for wanted in _expanded(part):
            if wanted == ["lm_head"] and network.shape.tie_embeddings:
                wanted = ["embed_tokens"]
            found = [key for key in parameters if _begins(key.split("."), wanted)]
            if not found:
                known = sorted(
                    {".".join(key.split(".")[:2]) if "layers" in key else key.split(".")[0] for key in parameters}
                )
                raise ConfigurationError(
                    f"freeze names {part!r}, and the network has no {'.'.join(wanted)}; it has {', '.join(known)}. "
                    "Correct it."
                )
            for key in found:
                parameters[key].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigurationError("freeze leaves nothing to train. Take something out of it.")


def _short(name: str) -> str:
    return name.removeprefix("model.")


def _expanded(part: str) -> list[list[str]]:
    """`layers.0-1.mlp` -> [["layers", "0", "mlp"], ["layers", "1", "mlp"]]."""
    words = {"embedding": "embed_tokens", "head": "lm_head"}.get(part, part).split(".")
    found: list[list[str]] = [[]]
    for word in words:
        bounds = re.fullmatch(r"(\d+)-(\d+)", word)
        choices = map(str, range(int(bounds[1]), int(bounds[2]) + 1)) if bounds else [word]
        found = [[*before, choice] for choice in choices for before in found]
    return found


def _begins(key: list[str], wanted: list[str]) -> bool:
    return len(key) >= len(wanted) and all(w in ("*", k) for w, k in zip(wanted, key, strict=False))
