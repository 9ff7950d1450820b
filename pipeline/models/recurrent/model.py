"""A trained recurrent network: scores, continuations with a carried state, saving and loading.

Files of a saved model: `config.json`, `generation_config.json`, `model.safetensors`, `textmill.json`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from pipeline.errors import InputError
from pipeline.models.beam_search import beam_search
from pipeline.models.interface import GenerationParameters, TokenScores
from pipeline.models.loading import read_card, token_ids_of, weights_of
from pipeline.models.network_model import NetworkModel
from pipeline.models.recurrent.cache import ContinuousCache
from pipeline.models.recurrent.decoding import Decoder
from pipeline.models.recurrent.network import Recurrent, State
from pipeline.models.recurrent.shape import RecurrentShape
from pipeline.models.sampling import draw
from pipeline.models.saving import save_network
from pipeline.models.target_scores import score_in_rows
from pipeline.models.token_scores import joined, score_logarithms, score_states

if TYPE_CHECKING:
    from jaxtyping import Int

CONTEXT_TOKENS = 4096
"""The longest row that `score` takes: the state has no length, a row's memory has."""
_SPAN_TOKENS = 256
"""Tokens of a row that a cache takes part in at once."""


class RecurrentModel(NetworkModel[Recurrent]):
    """A trained recurrent language model."""

    is_encoder_decoder = False
    _decoder: Decoder | None = None  # made for the first text, and kept

    @property
    def family(self) -> str:
        """The cell: `rnn`, `gru` or `lstm`."""
        return self.network.shape.cell

    @property
    def context_tokens(self) -> int:
        """The longest row that `score` takes."""
        return CONTEXT_TOKENS

    @torch.inference_mode()
    def score(self, token_ids: Int[Tensor, "batch seq"], *, cache: ContinuousCache | None = None) -> TokenScores:
        """Scores positions 1..T-1, from a state of zeros; the state is carried from span to span of a row.

        An empty `cache`, where there is one, takes part in the predictions.

        Raises:
            ValueError: a sequence shorter than two tokens, or longer than `context_tokens`.
        """
        if not 2 <= token_ids.shape[1] <= self.context_tokens:
            raise ValueError(f"{token_ids.shape[1]} tokens; a sequence has 2 to {self.context_tokens}")
        token_ids = token_ids.to(self.device)
        if cache is None:
            hidden, _ = self.network.hidden(token_ids[:, :-1])
            return score_states(self.network.logits, hidden, token_ids[:, 1:])
        state: State | None = None
        found: list[TokenScores] = []
        spans = zip(
            *(torch.split(ids, _SPAN_TOKENS, dim=1) for ids in (token_ids[:, :-1], token_ids[:, 1:])), strict=True
        )
        for inputs, targets in spans:
            hidden, state = self.network.hidden(inputs, state=state)
            log_probabilities = self.network.logits(hidden).log_softmax(-1)  # (B, span, V)
            found.append(score_logarithms(cache.mixed(log_probabilities, hidden, targets), targets))
        return joined(found, dim=1)

    def score_targets(self, prompts: list[list[int]], targets: list[list[int]]) -> list[np.ndarray[Any, np.dtype[Any]]]:
        """Scores each target after its prompt; see `target_scores.py`.

        Raises:
            InputError: an empty prompt.
        """
        return score_in_rows(self, prompts, targets)

    @torch.inference_mode()
    def generate(self, prompts: list[list[int]], parameters: GenerationParameters) -> list[list[int]]:
        """Continues prompts of any lengths together: those of one length are read together, then all go on token by token.

        Raises:
            InputError: an empty prompt.
        """
        if not prompts:
            return []
        if any(not prompt for prompt in prompts):
            raise InputError("A prompt has no tokens; begin it with the BOS token.")
        self._decoder = self._decoder or Decoder(self.network)
        with self._decoder.threads(len(prompts) * parameters.num_beams):
            hidden, state = self._read(prompts)
            logits, decoding = self.network.logits(hidden), _Decoding(self._decoder, state)
            if parameters.num_beams > 1:
                return beam_search(logits, decoding, parameters)
            return draw(logits, decoding, parameters, prompts=prompts)

    def _read(self, prompts: list[list[int]]) -> tuple[Tensor, State]:
        """The last output, (B, W), and the state after prompts of any lengths; those of one length are read together."""
        rows_of: dict[int, list[int]] = defaultdict(list)
        for row, prompt in enumerate(prompts):
            rows_of[len(prompt)].append(row)
        last, states = [], []
        for rows in rows_of.values():
            token_ids = torch.tensor([prompts[row] for row in rows], device=self.device)
            state: State | None = None
            for span in torch.split(token_ids, CONTEXT_TOKENS, dim=1):
                outputs, state = self.network.hidden(span, state=state)
            assert state is not None, "a prompt has at least one token"
            last.append(outputs[:, -1])
            states.append(state)
        order = torch.tensor([row for rows in rows_of.values() for row in rows], device=self.device).argsort()
        layers = zip(*states, strict=True)  # from a state of each length to one of each layer
        return torch.cat(last)[order], [
            tuple(torch.cat(parts, dim=1)[:, order] for parts in zip(*layer, strict=True)) for layer in layers
        ]

    def save(self, folder: Path) -> None:
        """Writes the model; `load` is the inverse. A tied table is written once."""
        config = {"model_type": "textmill_recurrent", **asdict(self.network.shape)}
        tensors = dict(self.network.named_parameters())  # a tied table once
        save_network(folder, self, tensors, shape=self.network.shape, config=config)

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> RecurrentModel:
        """The inverse of `save`.

        Raises:
            ArtifactDamaged: the weights are missing, cut short or of another shape.
        """
        card = read_card(folder)
        network = Recurrent(RecurrentShape(**card["shape"]))
        with weights_of(folder) as weights:
            load_weights(network, weights)
        return cls(
            network.to(device),
            **token_ids_of(card),
        )


def load_weights(network: Recurrent, file: Path) -> None:
    """Fills a network with saved weights of its shape; a tied table is written once.

    Raises:
        SafetensorError, KeyError, RuntimeError, OSError: the file is missing, cut short or of another shape.
    """
    state = load_file(file)
    if network.shape.tie_embeddings:
        state["lm_head.weight"] = state["embed_tokens.weight"]
    network.load_state_dict(state)


class _Decoding:
    """For `beam_search.py` and `sampling.py`."""

    def __init__(self, decoder: Decoder, state: State) -> None:
        self._decoder, self._state = decoder, state

    def step(self, tokens: Int[Tensor, " rows"]) -> Tensor:
        logits, self._state = self._decoder.step(tokens, self._state)
        return logits

    def reorder(self, rows: Int[Tensor, " new_rows"]) -> None:
        self._state = [tuple(tensor[:, rows] for tensor in layer) for layer in self._state]
