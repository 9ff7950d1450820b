"""The layers of a recurrent encoder-decoder with the attention of Bahdanau et al. 2015 (arXiv 1409.0473).

| part | equation; S source tokens, target position i |
|---|---|
| encoder | h_j = [forward_j; backward_j], (B, S, D), from cells that read the source from both ends |
| bridge | s_0 = tanh(B [forward_S; backward_1]) for each layer; an LSTM's memory begins at zero |
| attention | e_ij = v . tanh(W s_(i-1) + U h_j), a_ij = softmax_j(e_ij) over the real source tokens, c_i = sum_j a_ij h_j |
| decoder | s_i = cell([y_(i-1); c_i], s_(i-1)), and with input feeding cell([y_(i-1); c_i; t_(i-1)], s_(i-1)) |
| readout | t_i = tanh(R [s_i; c_i; y_(i-1)]), logits_i = head(t_i) |

where y are embedded target tokens, and s in the attention is the top layer's. The paper's readout takes the larger of two
features where this one has tanh. The mask is boolean, (B, S), True at real source tokens; the backward cells begin at a row's
last real token, so padding reaches nothing.

`dropout` acts on embeddings, between layers and on the readout. Cells compute in float32, the head's product in `compute_dtype`.
The loss is that of every encoder-decoder, see `encoder_decoder.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pipeline.models.encoder_decoder import EncoderDecoder
from pipeline.models.products import linear
from pipeline.models.seq2seq_rnn.shape import NUM_GATES, Seq2SeqRnnShape

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

_LAYERS: dict[str, Any] = {"gru": nn.GRU, "lstm": nn.LSTM}
_CELLS: dict[str, Any] = {"gru": nn.GRUCell, "lstm": nn.LSTMCell}
_EMBEDDING_BOUND = 0.1


@dataclass(slots=True, kw_only=True)
class DecoderState:
    """What the next target token is predicted from, a row a text."""

    memory: Float[Tensor, "batch source width"]
    keys: Float[Tensor, "batch source width"]
    """U h_j."""
    source_mask: Bool[Tensor, "batch source"]
    layers: list[tuple[Tensor, ...]]
    """Of each layer s, and for the LSTM its memory behind it: (B, D) each."""
    readout: Float[Tensor, "batch embedding"]
    num_tokens: int
    """Of the target so far."""

    def reorder(self, rows: Int[Tensor, " rows"]) -> None:
        """Row i becomes what row `rows[i]` was."""
        self.memory, self.keys, self.source_mask = self.memory[rows], self.keys[rows], self.source_mask[rows]
        self.layers = [tuple(tensor[rows] for tensor in layer) for layer in self.layers]
        self.readout = self.readout[rows]


class Encoder(nn.Module):
    """Embedding and layers of two directions."""

    def __init__(self, shape: Seq2SeqRnnShape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.source_vocab_size, shape.embedding_width)
        layer = _LAYERS[shape.cell]
        widths = [shape.embedding_width, *[shape.width] * (shape.num_layers - 1)]
        self.forwards = nn.ModuleList(layer(width, shape.width // 2, batch_first=True) for width in widths)
        self.backwards = nn.ModuleList(layer(width, shape.width // 2, batch_first=True) for width in widths)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(
        self, source: Int[Tensor, "batch source"], source_lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch source width"], list[Float[Tensor, "batch width"]]]:
        """The top layer's h, and of each layer [forward_S; backward_1]."""
        places = torch.arange(source.shape[1], device=source.device)
        # each row's real tokens from last to first, then its padding where it was
        turned = torch.where(places < source_lengths[:, None], source_lengths[:, None] - 1 - places, places)[..., None]
        last = (source_lengths - 1)[:, None, None]
        x = self.dropout(self.embed_tokens(source))
        ends = []
        for number, (forwards, backwards) in enumerate(zip(self.forwards, self.backwards, strict=True)):
            x = self.dropout(x) if number else x
            ahead, _ = forwards(x)
            back, _ = backwards(x.gather(1, turned.expand_as(x)))
            final = [h.gather(1, last.expand(-1, 1, h.shape[2])).squeeze(1) for h in (ahead, back)]
            ends.append(torch.cat(final, dim=-1))
            x = torch.cat((ahead, back.gather(1, turned.expand_as(back))), dim=-1)  # (B, S, D)
        return x, ends


class Decoder(nn.Module):
    """Embedding, attention, cells and readout."""

    def __init__(self, shape: Seq2SeqRnnShape) -> None:
        super().__init__()
        self.input_feeding = shape.input_feeding
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.embedding_width)
        widths = [shape.decoder_input_width, *[shape.width] * (shape.num_layers - 1)]
        self.cells = nn.ModuleList(_CELLS[shape.cell](width, shape.width) for width in widths)
        self.bridges = nn.ModuleList(nn.Linear(shape.width, shape.width, bias=False) for _ in widths)
        self.query_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.key_proj = nn.Linear(shape.width, shape.width, bias=False)
        self.score = nn.Parameter(torch.empty(shape.width))
        self.readout_proj = nn.Linear(shape.readout_input_width, shape.embedding_width, bias=False)
        self.dropout = nn.Dropout(shape.dropout)

    def begin(
        self,
        memory: Float[Tensor, "batch source width"],
        source_mask: Bool[Tensor, "batch source"],
        ends: list[Float[Tensor, "batch width"]],
    ) -> DecoderState:
        layers: list[tuple[Tensor, ...]] = []
        for cell, bridge, end in zip(self.cells, self.bridges, ends, strict=True):
            start = torch.tanh(bridge(end))
            layers.append((start, torch.zeros_like(start)) if isinstance(cell, nn.LSTMCell) else (start,))
        return DecoderState(
            memory=memory,
            keys=self.key_proj(memory),
            source_mask=source_mask,
            layers=layers,
            readout=memory.new_zeros(len(memory), self.readout_proj.out_features),
            num_tokens=0,
        )

    def attend(self, state: DecoderState) -> tuple[Float[Tensor, "batch width"], Float[Tensor, "batch source"]]:
        """The context of the next target token, and the weights over the source it is the mean by."""
        query = self.query_proj(state.layers[-1][0])[:, None]  # (B, 1, D)
        scores = torch.tanh(query + state.keys) @ self.score  # (B, S)
        weights = scores.masked_fill(~state.source_mask, float("-inf")).softmax(-1)
        return (weights[:, None] @ state.memory).squeeze(1), weights

    def step(
        self, embedded: Float[Tensor, "batch embedding"], state: DecoderState
    ) -> tuple[Float[Tensor, "batch embedding"], Float[Tensor, "batch source"]]:
        """The readout after one more token, and the weights over the source; the state moves behind the token."""
        context, weights = self.attend(state)
        x = torch.cat((embedded, context, *([state.readout] if self.input_feeding else [])), dim=-1)
        for number, cell in enumerate(self.cells):
            x = self.dropout(x) if number else x
            own = state.layers[number]
            state.layers[number] = cell(x, own) if len(own) == 2 else (cell(x, own[0]),)
            x = state.layers[number][0]
        state.readout = self.dropout(torch.tanh(self.readout_proj(torch.cat((x, context, embedded), dim=-1))))
        state.num_tokens += 1
        return state.readout, weights


class Seq2SeqRnn(EncoderDecoder):
    """Source and target ids to logits, or to the mean loss of given targets."""

    shape: Seq2SeqRnnShape

    def __init__(self, shape: Seq2SeqRnnShape) -> None:
        super().__init__(shape)
        self.encoder = Encoder(shape)
        self.decoder = Decoder(shape)
        self.lm_head = nn.Linear(shape.embedding_width, shape.vocab_size, bias=False)
        self.share_tables(source=self.encoder.embed_tokens, target=self.decoder.embed_tokens, head=self.lm_head)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Random weights: tables uniform within 0.1, matrices uniform with variance 1/inputs, those from state to state
        orthogonal gate by gate (Saxe et al. 2014, arXiv 1312.6120), biases zero but the LSTM's forget gate, which begins open
        at 1."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if "embed_tokens" in name or "lm_head" in name:
                parameter.uniform_(-_EMBEDDING_BOUND, _EMBEDDING_BOUND, generator=generator)
            elif "weight_hh" in name:
                for gate in parameter.chunk(NUM_GATES[self.shape.cell]):
                    nn.init.orthogonal_(gate, generator=generator)
            elif "bias" in name:
                parameter.zero_()
                if self.shape.cell == "lstm" and "bias_ih" in name:
                    width = len(parameter) // 4
                    parameter[width : 2 * width] = 1.0
            else:
                bound = (3.0 / parameter.shape[-1]) ** 0.5
                parameter.uniform_(-bound, bound, generator=generator)

    def begin(self, source: Int[Tensor, "batch source"], source_lengths: Int[Tensor, " batch"]) -> DecoderState:
        """The state before the first target token; the first `source_lengths` tokens of each row are real."""
        memory, ends = self.encoder(source, source_lengths)
        mask = torch.arange(source.shape[1], device=source.device) < source_lengths[:, None]
        return self.decoder.begin(memory, mask, ends)

    def decode(
        self, target: Int[Tensor, "batch target"], state: DecoderState, *, wants_weights: bool = False
    ) -> tuple[Float[Tensor, "batch target embedding"], list[Float[Tensor, "batch 1 target source"]]]:
        """The readout at each of the given tokens, which go on where the state is; the state moves behind them. With
        `wants_weights`, the attention to the source, as one layer of one head."""
        embedded = self.decoder.dropout(self.decoder.embed_tokens(target))
        steps = [self.decoder.step(token, state) for token in embedded.unbind(1)]
        readouts, weights = zip(*steps, strict=True)
        return torch.stack(readouts, dim=1), [torch.stack(weights, dim=1)[:, None]] if wants_weights else []

    def logits(self, hidden: Float[Tensor, "*batch embedding"]) -> Float[Tensor, "*batch vocab"]:
        """float32."""
        return linear(hidden.to(self.compute_dtype), self.lm_head.weight).float()
