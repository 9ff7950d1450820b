"""A trained network's files: weights, `config.json` for other libraries, and the card by which `loading.py` knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from pipeline.files import write_bytes, write_json
from pipeline.models.loading import CARD, FORMAT
from pipeline.models.network_model import NetworkModel


def save_network(
    folder: Path,
    model: NetworkModel[Any],
    tensors: Mapping[str, Tensor],
    *,
    shape: Any,
    config: Mapping[str, Any],
    more: Mapping[str, Any] | None = None,
) -> None:
    """Writes `model.safetensors`, `config.json`, `generation_config.json` and `textmill.json`; weights become float32.

    `shape` is the family's dataclass of sizes, `more` what only its card has.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().float().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(folder / "model.safetensors", save(weights, metadata={"format": "pt"}))
    write_json(folder / "config.json", dict(config))
    ids = {"bos_token_id": model.bos_id, "eos_token_id": model.eos_id, "pad_token_id": model.pad_id}
    write_json(folder / "generation_config.json", ids)
    write_json(
        folder / CARD,
        {
            "format": FORMAT,
            "family": model.family,
            "tokenizer_hash": model.tokenizer_hash,
            "bos_id": model.bos_id,
            "eos_id": model.eos_id,
            "pad_id": model.pad_id,
            "num_parameters": model.num_parameters,
            "context_tokens": model.context_tokens,
            "vocab_size": shape.vocab_size,
            "shape": asdict(shape),
            **(more or {}),
        },
    )
