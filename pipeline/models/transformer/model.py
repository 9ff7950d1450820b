"""A trained Transformer: scores, continuations with a key-value cache, saving and loading in Hugging Face's layout.

Files of a saved model: `config.json` and `generation_config.json` (Qwen3 or Llama), `model.safetensors`, `textmill.json`.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from pipeline.errors import InputError
from pipeline.models.interface import GenerationParameters, TokenScores
from pipeline.models.loading import read_card, token_ids_of, weights_of
from pipeline.models.network_model import NetworkModel
from pipeline.models.saving import save_network
from pipeline.models.target_scores import score_in_rows
from pipeline.models.token_scores import score_states
from pipeline.models.transformer.continuing import continuations, kept_of_prompt
from pipeline.models.transformer.decoding import Decoder
from pipeline.models.transformer.hugging_face import config_of
from pipeline.models.transformer.network import Transformer
from pipeline.models.transformer.shape import TransformerShape

if TYPE_CHECKING:
    from jaxtyping import Int

_TABLES = ("model.embed_tokens.weight", "lm_head.weight")


class TransformerModel(NetworkModel[Transformer]):
    """A trained decoder-only Transformer."""

    family = "transformer"
    is_encoder_decoder = False
    _decoder: Decoder | None = None

    @torch.inference_mode()
    def score(self, token_ids: Int[Tensor, "batch seq"]) -> TokenScores:
        """Scores positions 1..T-1; T is at most `context_tokens`.

        Raises:
            ValueError: a longer sequence, or one shorter than two tokens.
        """
        if not 2 <= token_ids.shape[1] <= self.context_tokens:
            raise ValueError(f"{token_ids.shape[1]} tokens; a sequence has 2 to {self.context_tokens}")
        token_ids = token_ids.to(self.device)
        return score_states(self.network.logits, self.network.hidden(token_ids[:, :-1]), token_ids[:, 1:])

    def score_targets(self, prompts: list[list[int]], targets: list[list[int]]) -> list[np.ndarray[Any, np.dtype[Any]]]:
        """Scores each target after its prompt; see `target_scores.py`.

        Raises:
            InputError: an empty prompt.
        """
        return score_in_rows(self, prompts, targets)

    @torch.inference_mode()
    def generate(self, prompts: list[list[int]], parameters: GenerationParameters) -> list[list[int]]:
        """Continues prompts of any lengths together.

        A text that outgrows the context goes on with the last half of it as its new context; beams stay within one context.

        Raises:
            InputError: an empty prompt.
        """
        if not prompts:
            return []
        if any(not prompt for prompt in prompts):
            raise InputError("A prompt has no tokens; begin it with the BOS token.")
        self._decoder = self._decoder or Decoder(self.network)
        with self._decoder.threads(len(prompts) * parameters.num_beams):
            return continuations(
                self._decoder, prompts, parameters, context_tokens=self.context_tokens, pad_id=self.pad_id
            )

    def kept_of_prompt(self, length: int, parameters: GenerationParameters) -> int:
        """How many of a prompt's tokens, the last ones, become context."""
        return kept_of_prompt(length, parameters, context_tokens=self.context_tokens)

    def save(self, folder: Path) -> None:
        """Writes the model so that `from_pretrained` of Qwen3 (without query and key norms: Llama) gives equal logits. With parts
        that no other library computes, `config.json` says so, and none loads it."""
        shape = self.network.shape
        tensors = dict(self.network.state_dict())
        for table in _tables(shape):
            tensors[table] = tensors[table][: shape.vocab_size]
        if shape.tie_embeddings:
            del tensors["lm_head.weight"]
        config: dict[str, Any] = {"model_type": "textmill_transformer", **asdict(shape)}
        if not shape.research_parts:
            config = config_of(shape, bos_id=self.bos_id, eos_id=self.eos_id, pad_id=self.pad_id)
        save_network(folder, self, tensors, shape=shape, config=config)

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> TransformerModel:
        """The inverse of `save`.

        Raises:
            ArtifactDamaged: the weights are missing, cut short or of another shape.
        """
        card = read_card(folder)
        network = Transformer(TransformerShape(**card["shape"]))
        with weights_of(folder) as weights:
            load_weights(network, weights)
        return cls(
            network.to(device),
            **token_ids_of(card),
        )


def _tables(shape: TransformerShape) -> tuple[str, ...]:
    """What has an entry for each of the vocabulary."""
    return (*_TABLES, "model.value_embed_tokens.weight") if shape.value_embeddings else _TABLES


def load_weights(network: Transformer, file: Path) -> None:
    """Fills a network with saved weights of its shape, the vocabulary's padding with zeros; a tied head is written once.

    Raises:
        SafetensorError, KeyError, RuntimeError, OSError: the file is missing, cut short or of another shape.
    """
    state = {name: tensor.float() for name, tensor in load_file(file).items()}
    if network.shape.tie_embeddings:
        state["lm_head.weight"] = state[_TABLES[0]]
    padding = network.shape.padded_vocab_size - network.shape.vocab_size
    for table in _tables(network.shape):
        state[table] = torch.nn.functional.pad(state[table], (0, 0, 0, padding))
    network.load_state_dict(state)
