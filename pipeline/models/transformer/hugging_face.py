"""Hugging Face's `config.json` of Qwen3 and Llama: written for a shape, and read as one.

The two differ in one thing here: Qwen3 has norms of each head's queries and keys. What a network of ours cannot compute
(biases, scaled rotary positions, sliding windows) is refused and never left out silently.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.models.transformer.shape import TransformerShape

_ARCHITECTURES = {"qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}
_LLAMA_THETA, _LLAMA_CONTEXT = 10_000.0, 2_048
"""What the library takes where `config.json` says nothing."""


def config_of(shape: TransformerShape, *, bos_id: int, eos_id: int, pad_id: int) -> dict[str, Any]:
    """The `config.json` by which `AutoModelForCausalLM.from_pretrained` gives equal logits."""
    model_type = "qwen3" if shape.query_key_norm else "llama"
    own = {"use_sliding_window": False} if shape.query_key_norm else {"mlp_bias": False}
    return {
        "architectures": [_ARCHITECTURES[model_type]],
        "model_type": model_type,
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.width,
        "intermediate_size": shape.feed_forward_width,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "head_dim": shape.head_width,
        "hidden_act": "silu",
        "max_position_embeddings": shape.context_tokens,
        "rms_norm_eps": shape.norm_epsilon,
        "rope_parameters": {"rope_type": "default", "rope_theta": shape.rope_theta},
        "rope_theta": shape.rope_theta,
        "attention_bias": False,
        "attention_dropout": 0.0,
        **own,
        "tie_word_embeddings": shape.tie_embeddings,
        "dtype": "float32",
        "bos_token_id": bos_id,
        "eos_token_id": eos_id,
        "pad_token_id": pad_id,
    }


def shape_of_folder(folder: Path) -> TransformerShape:
    """The shape that a folder's `config.json` describes.

    Raises:
        InputError: it is missing, of another architecture, or has a part that no network here has.
    """
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model_type = config["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} holds no readable config.json of a Hugging Face model ({error}). Name its folder."
        ) from error
    if model_type not in _ARCHITECTURES:
        raise InputError(
            f"{folder} is a model of type {model_type!r}; training goes on from qwen3 and llama. Name one."
        )
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    refused = {
        "attention_bias": config.get("attention_bias", False),
        "mlp_bias": config.get("mlp_bias", False),
        "use_sliding_window": config.get("use_sliding_window", False),
        "hidden_act": config.get("hidden_act", "silu") not in ("silu", "swish") and config["hidden_act"],
        "rope_type": kind != "default" and kind,
    }
    for key, value in refused.items():
        if value:
            raise InputError(f"{folder}: config.json has {key} {value}, which no network here has. Name another model.")
    try:
        heads, width = config["num_attention_heads"], config["hidden_size"]
        head_width = config.get("head_dim") or width // heads
        theta = rope.get("rope_theta") or config.get("rope_theta") or _LLAMA_THETA
        return TransformerShape(
            vocab_size=config["vocab_size"],
            context_tokens=config.get("max_position_embeddings", _LLAMA_CONTEXT),
            num_layers=config["num_hidden_layers"],
            width=width,
            num_heads=heads,
            num_kv_heads=config.get("num_key_value_heads") or heads,
            feed_forward_width=config["intermediate_size"],
            tie_embeddings=config.get("tie_word_embeddings", False),
            rope_theta=float(theta),
            head_size=head_width if head_width * heads != width else None,
            query_key_norm=model_type == "qwen3",
            norm_epsilon=config.get("rms_norm_eps", 1e-6),
        )
    except KeyError as error:
        raise InputError(f"{folder}: config.json has no {error}, so its sizes are not known. Complete it.") from error
