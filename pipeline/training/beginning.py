"""The network as training begins: with the weights of a folder, some parts frozen, adapters added."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigurationError, InputError
from pipeline.models.recurrent.model import load_weights as load_recurrent
from pipeline.models.recurrent.network import Recurrent
from pipeline.models.transformer.model import load_weights as load_transformer
from pipeline.models.transformer.network import Transformer
from pipeline.training.families import Network
from pipeline.training.lora import add_adapters

WEIGHTS = "model.safetensors"


def load_start(network: Network, folder: Path) -> None:
    """Fills a network with the folder's weights.

    Raises:
        InputError: they are cut short, or of another shape than the folder says.
    """
    try:
        if isinstance(network, Transformer):
            load_transformer(network, folder / WEIGHTS)
        else:
            assert isinstance(network, Recurrent), "no other family has a starting point"
            load_recurrent(network, folder / WEIGHTS)
    except Exception as error:  # safetensors, missing keys and sizes each raise their own
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{folder / WEIGHTS} does not load ({reason}). Restore it, or begin with another model."
        ) from error


def hold(network: Network, *, parts: Sequence[str], lora: Mapping[str, Any] | None, seed: int) -> None:
    """Freezes the named parts, or all but the adapters that are added.

    Raises:
        ConfigurationError: what is to be frozen or adapted is not there.
    """
    if parts:
        freeze(network, parts)
    if lora is not None:
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
