"""A trained encoder-decoder of either kind: scores of targets, continuations, alignments, saving and loading.

A prompt is the source, `<s> tokens </s>`; marks that it lacks are added. Files of a saved model: `config.json`,
`generation_config.json`, `model.safetensors`, `textmill.json`; beside them `tokenizer.model` of the targets and, where the
sources have a vocabulary of their own, `source_tokenizer.model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
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
from pipeline.models.sampling import draw
from pipeline.models.saving import save_network
from pipeline.models.seq2seq_rnn.network import Seq2SeqRnn
from pipeline.models.seq2seq_rnn.shape import Seq2SeqRnnShape
from pipeline.models.seq2seq_transformer.network import Seq2SeqTransformer
from pipeline.models.seq2seq_transformer.shape import Seq2SeqTransformerShape
from pipeline.models.token_scores import score_states

if TYPE_CHECKING:
    from jaxtyping import Int

_BATCH_TOKENS = 4_096
"""Of both sides, read at once; at a vocabulary of 8,000 the logits of half of them take 64 MB."""
_BATCH_ROWS = 64
"""Texts written at once."""
_TABLES = {"encoder.embed_tokens.weight": "share_vocabulary", "lm_head.weight": "tie_embeddings"}
_KEPT_TABLE = "decoder.embed_tokens.weight"


class Seq2SeqModel(NetworkModel[Seq2SeqTransformer | Seq2SeqRnn]):
    """A trained encoder-decoder."""

    is_encoder_decoder = True

    def __init__(self, network: Seq2SeqTransformer | Seq2SeqRnn, *, source: dict[str, Any], **identity: Any) -> None:
        """`identity` is of the targets' vocabulary, as `NetworkModel` takes it; `source` has the same four of the sources'."""
        super().__init__(network, **identity)
        self.source = source

    @property
    def family(self) -> str:
        return "seq2seq_transformer" if isinstance(self.network, Seq2SeqTransformer) else "seq2seq_rnn"

    def score(self, token_ids: Int[Tensor, "batch seq"]) -> TokenScores:
        """Raises InputError: a target has no probability without its source."""
        raise InputError(
            f"A model of the family {self.family} scores targets given a source, not texts alone. Give it pairs, or choose a "
            "decoder-only family."
        )

    @torch.inference_mode()
    def score_targets(self, prompts: list[list[int]], targets: list[list[int]]) -> list[np.ndarray[Any, Any]]:
        """For each target float32 (its length,): natural logarithms of each token's probability, given the source and the
        target's tokens before it. Pairs of like length share a batch.

        Raises:
            InputError: a source or a target that is longer than the model reads.
        """
        sources = [self.source_ids(prompt) for prompt in prompts]
        for target in targets:
            if len(target) > self.context_tokens:
                raise InputError(
                    f"A target has {len(target)} tokens; the model writes {self.context_tokens} at most. Shorten it."
                )
        found = [np.zeros(len(target), dtype=np.float32) for target in targets]
        pairs = [
            (source, target, scores)
            for source, target, scores in zip(sources, targets, found, strict=True)
            if target  # an empty one has no token to score
        ]
        pairs.sort(key=lambda pair: len(pair[0]) + len(pair[1]), reverse=True)
        while pairs:
            count = max(1, _BATCH_TOKENS // (len(pairs[0][0]) + len(pairs[0][1])))
            batch, pairs = pairs[:count], pairs[count:]
            log_probabilities = self._log_probabilities([pair[0] for pair in batch], [pair[1] for pair in batch])
            for row, (_, target, scores) in zip(log_probabilities, batch, strict=True):
                scores[:] = row[: len(target)]
        return found

    def _log_probabilities(self, sources: list[list[int]], targets: list[list[int]]) -> np.ndarray[Any, Any]:
        """float32 (B, T); what stands behind a target's end means nothing."""
        wanted = _padded(targets, self.pad_id, self.device)
        begun = torch.full_like(wanted[:, :1], self.bos_id)
        hidden, _ = self.network.decode(torch.cat((begun, wanted[:, :-1]), dim=1), self._begin(sources))
        scores = score_states(self.network.logits, hidden, wanted)
        found: np.ndarray[Any, Any] = scores.log_probabilities.cpu().numpy()
        return found

    @torch.inference_mode()
    def generate(self, prompts: list[list[int]], parameters: GenerationParameters) -> list[list[int]]:
        """The target of each source, without its end: drawn, or by beam search where `num_beams` is more than 1.

        Raises:
            InputError: a source that is longer than the model reads.
        """
        parameters = replace(
            parameters,
            max_new_tokens=min(parameters.max_new_tokens, self.context_tokens),
            stop_ids=(*parameters.stop_ids, self.eos_id),
        )
        sources = [self.source_ids(prompt) for prompt in prompts]
        order = sorted(range(len(sources)), key=lambda number: len(sources[number]))
        found: list[list[int]] = [[] for _ in sources]
        rows = max(1, _BATCH_ROWS // parameters.num_beams)
        for start in range(0, len(order), rows):
            numbers = order[start : start + rows]
            some = [sources[number] for number in numbers]
            decoding = _Decoding(self.network, self._begin(some))
            begun = torch.full((len(numbers),), self.bos_id, device=self.device)
            logits = decoding.step(begun)
            written = (
                beam_search(logits, decoding, parameters)
                if parameters.num_beams > 1
                else draw(logits, decoding, parameters, prompts=some)
            )
            for number, text in zip(numbers, written, strict=True):
                found[number] = text
        return found

    @torch.inference_mode()
    def alignment(self, prompt: list[int], target: list[int]) -> list[np.ndarray[Any, Any]]:
        """How much each target token looked at each source token: of each layer float32 (heads, T, S), every row of it adding
        up to 1. S has the tokens of `source_ids`, T those of the target; row t is where the model looked to predict token t.

        Raises:
            InputError: a source that is longer than the model reads.
        """
        begun = torch.tensor([[self.bos_id, *target[:-1]]], device=self.device)
        _, weights = self.network.decode(begun, self._begin([self.source_ids(prompt)]), wants_weights=True)
        return [layer[0].float().cpu().numpy() for layer in weights]

    def source_ids(self, prompt: Sequence[int]) -> list[int]:
        """A prompt as the encoder reads it, with its marks.

        Raises:
            InputError: it is longer than the model reads.
        """
        bos_id, eos_id = self.source["bos_id"], self.source["eos_id"]
        inner = list(prompt)
        inner = inner[1:] if inner[:1] == [bos_id] else inner
        inner = inner[:-1] if inner[-1:] == [eos_id] else inner
        if len(inner) + 2 > self.context_tokens:
            raise InputError(
                f"A prompt has {len(inner)} tokens; the model reads {self.context_tokens - 2} at most. Shorten it, or train "
                "with a larger context_tokens."
            )
        return [bos_id, *inner, eos_id]

    def _begin(self, sources: list[list[int]]) -> Any:
        lengths = torch.tensor([len(source) for source in sources], device=self.device)
        return self.network.begin(_padded(sources, self.source["pad_id"], self.device), lengths)

    def save(self, folder: Path) -> None:
        """Writes the model; `load` is the inverse. A shared table is written once."""
        shape = self.network.shape
        config = {"model_type": f"textmill_{self.family}", "is_encoder_decoder": True, **asdict(shape)}
        tensors = dict(self.network.named_parameters())  # a shared table once, under its first name
        shared = next((name for name in _TABLES if name in tensors and _KEPT_TABLE not in tensors), None)
        if shared is not None:
            tensors[_KEPT_TABLE] = tensors.pop(shared)
        save_network(folder, self, tensors, shape=shape, config=config, more={"source": self.source})

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Seq2SeqModel:
        """The inverse of `save`.

        Raises:
            ArtifactDamaged: the weights are missing, cut short or of another shape.
        """
        card = read_card(folder)
        network: Seq2SeqTransformer | Seq2SeqRnn
        if card["family"] == "seq2seq_transformer":
            network = Seq2SeqTransformer(Seq2SeqTransformerShape(**card["shape"]))
        else:
            network = Seq2SeqRnn(Seq2SeqRnnShape(**card["shape"]))
        with weights_of(folder) as weights:
            state = load_file(weights)
            for table, option in _TABLES.items():
                if card["shape"][option]:
                    state[table] = state[_KEPT_TABLE]
            network.load_state_dict(state)
        return cls(
            network.to(device),
            **token_ids_of(card),
            source=card["source"],
        )


class _Decoding:
    """The network in the middle of writing, for `beam_search.py` and `sampling.py`."""

    def __init__(self, network: Seq2SeqTransformer | Seq2SeqRnn, state: Any) -> None:
        self._network, self._state = network, state

    def step(self, tokens: Int[Tensor, " rows"]) -> Tensor:
        hidden, _ = self._network.decode(tokens[:, None], self._state)
        return self._network.logits(hidden[:, -1])

    def reorder(self, rows: Int[Tensor, " new_rows"]) -> None:
        self._state.reorder(rows)


def _padded(rows: list[list[int]], filler: int, device: torch.device) -> Int[Tensor, "batch longest"]:
    longest = max(map(len, rows))
    return torch.tensor([row + [filler] * (longest - len(row)) for row in rows], device=device)
