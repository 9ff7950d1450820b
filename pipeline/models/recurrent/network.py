"""The layers of a recurrent language model: embedding, a stack of torch's RNN, GRU or LSTM layers, and the output head.

| cell | state h and, for the LSTM, memory c, from input x and the state before |
|---|---|
| rnn (Elman 1990) | h' = tanh(W x + b + U h + d) |
| gru (Cho et al. 2014, arXiv 1406.1078) | r, z = s(..), s(..); n = tanh(W x + b + r * (U h + d)); h' = (1 - z) * n + z * h |
| lstm (Hochreiter & Schmidhuber 1997) | i, f, o = s(..) each; g = tanh(..); c' = f * c + i * g; h' = o * tanh(c') |

where s is the logistic function and every (..) is W x + b + U h + d with matrices of its own.

Three dropouts act while training only. `dropout` is locked: one mask a row, the same at all its tokens (Gal & Ghahramani
2016, arXiv 1512.05287), on the embedded tokens and after every layer. `embedding_dropout` takes whole entries out of the input
table, so that every occurrence of a token is missing in a forward pass (the same paper, section 4.2). `weight_drop` takes entries
out of the matrices U from state to state, one mask a forward pass (DropConnect; Merity et al. 2017, arXiv 1708.02182).

Every row begins with a state of zeros: windows come shuffled, so that no row goes on where another ended. What a state may
learn to hold is bounded by the row's length, and each row's first tokens are predicted from little; both shrink as
`context_tokens` grows. The cells compute in float32, the head's product in `compute_dtype`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.loss import mean_loss
from pipeline.models.products import linear
from pipeline.models.recurrent.shape import NUM_GATES, RecurrentShape

if TYPE_CHECKING:
    from jaxtyping import Float, Int

State = list[tuple[Tensor, ...]]
"""Of each layer h, and for the LSTM c behind it: (1, B, width) each."""

_LAYERS: dict[str, Any] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
_KERNELS: dict[str, Any] = {"rnn": torch.rnn_tanh, "gru": torch.gru, "lstm": torch.lstm}
_EMBEDDING_BOUND = 0.1


def locked_dropout(x: Float[Tensor, "batch seq width"], probability: float) -> Float[Tensor, "batch seq width"]:
    """Zeroes the same dimensions at every token of a row and scales the rest by 1 / (1 - probability)."""
    if not probability:
        return x
    return x * functional.dropout(x.new_ones(x.shape[0], 1, x.shape[2]), probability)


class Recurrent(nn.Module):
    """Token ids to logits, or to the mean loss of given targets."""

    def __init__(self, shape: RecurrentShape) -> None:
        super().__init__()
        self.shape = shape
        self.compute_dtype = torch.float32
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.width)
        layer = _LAYERS[shape.cell]
        self.layers = nn.ModuleList(layer(shape.width, shape.width, batch_first=True) for _ in range(shape.num_layers))
        self.lm_head = nn.Linear(shape.width, shape.vocab_size, bias=False)
        if shape.tie_embeddings:
            self.lm_head.weight = self.embed_tokens.weight

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Random weights: tables uniform within 0.1 (Merity et al. 2017), input matrices with variance 1/inputs, state
        matrices orthogonal gate by gate (Saxe et al. 2014, arXiv 1312.6120), biases zero but the LSTM's forget gate, which
        begins open at 1 (Jozefowicz et al. 2015)."""
        generator = torch.Generator().manual_seed(seed)
        width = self.shape.width
        for name, parameter in self.named_parameters():
            if "embed_tokens" in name or "lm_head" in name:
                parameter.uniform_(-_EMBEDDING_BOUND, _EMBEDDING_BOUND, generator=generator)
            elif "weight_ih" in name:
                bound = (3.0 / width) ** 0.5
                parameter.uniform_(-bound, bound, generator=generator)
            elif "weight_hh" in name:
                for gate in parameter.chunk(NUM_GATES[self.shape.cell]):
                    nn.init.orthogonal_(gate, generator=generator)
            else:
                parameter.zero_()
                if self.shape.cell == "lstm" and "bias_ih" in name:
                    parameter[width : 2 * width] = 1.0

    def hidden(
        self, token_ids: Int[Tensor, "batch seq"], *, state: State | None = None
    ) -> tuple[Float[Tensor, "batch seq width"], State]:
        """The last layer's output, and the state after the last token, from which a text goes on."""
        probability = self.shape.dropout if self.training else 0.0
        x = locked_dropout(self.embedded(token_ids), probability)
        after: State = []
        for number, layer in enumerate(self.layers):
            x, kept = self._layer(layer, x, state[number] if state else None)
            x = locked_dropout(x, probability)
            after.append(kept)
        return x, after

    def embedded(self, token_ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq width"]:
        """The tokens' entries of the input table, while training without those that embedding dropout takes out."""
        vectors: Tensor = self.embed_tokens(token_ids)
        if self.training and self.shape.embedding_dropout:
            kept = functional.dropout(vectors.new_ones(self.shape.vocab_size, 1), self.shape.embedding_dropout)
            vectors = vectors * kept[token_ids]
        return vectors

    def _layer(
        self, layer: Any, x: Float[Tensor, "batch seq width"], state: tuple[Tensor, ...] | None
    ) -> tuple[Float[Tensor, "batch seq width"], tuple[Tensor, ...]]:
        if state is None:
            zeros = x.new_zeros(1, x.shape[0], self.shape.width)
            state = (zeros, zeros) if self.shape.cell == "lstm" else (zeros,)
        if self.training and self.shape.weight_drop:  # the layer's own kernel, with another matrix
            dropped = functional.dropout(layer.weight_hh_l0, self.shape.weight_drop)
            weights = [layer.weight_ih_l0, dropped, layer.bias_ih_l0, layer.bias_hh_l0]
            start = state if self.shape.cell == "lstm" else state[0]
            out, *after = _KERNELS[self.shape.cell](x, start, weights, True, 1, 0.0, True, False, True)
            return out, tuple(after)
        if self.shape.cell == "lstm":
            return layer(x, state)  # type: ignore[no-any-return]
        out, after = layer(x, state[0])
        return out, (after,)

    def logits(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch vocab"]:
        """float32."""
        return linear(hidden.to(self.compute_dtype), self.lm_head.weight).float()

    def forward(self, token_ids: Int[Tensor, "batch seq"], targets: Int[Tensor, "batch seq"]) -> Float[Tensor, ""]:
        """Mean cross entropy in nats, from a state of zeros."""
        hidden, _ = self.hidden(token_ids)
        return mean_loss(self.logits, hidden, targets)
