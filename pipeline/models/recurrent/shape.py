"""The sizes of a recurrent network, derived from its depth.

Rules: width 256 per layer, for the embeddings too: two layers of 512 lie between the medium and the small network of Zaremba et
al. 2014 (arXiv 1409.2329: two layers of 650 and of 200), and have about as many parameters as a Transformer of depth 4. One
table for input and output (Press & Wolf 2017, arXiv 1608.05859; Inan et al. 2017, arXiv 1611.01462). Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

WIDTH_PER_LAYER = 256
NUM_GATES = {"rnn": 1, "gru": 3, "lstm": 4}
"""Matrix products of a cell with its input, and as many with its state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurrentShape:
    """Everything that decides the parameters, and the dropouts."""

    cell: str
    """`rnn`, `gru` or `lstm`."""
    vocab_size: int
    context_tokens: int
    """Tokens of a training row: gradients go back this far."""
    num_layers: int
    width: int
    """Of the embeddings and of every layer."""
    tie_embeddings: bool
    dropout: float
    embedding_dropout: float
    weight_drop: float

    @property
    def num_matrix_parameters(self) -> int:
        """Of all layers, biases left out."""
        return self.num_layers * NUM_GATES[self.cell] * 2 * self.width**2

    @property
    def num_parameters(self) -> int:
        """Each cell has two biases a gate, as the kernels of cuDNN have; one is redundant but for the GRU's."""
        tables = self.vocab_size * self.width * (1 if self.tie_embeddings else 2)
        biases = self.num_layers * NUM_GATES[self.cell] * 2 * self.width
        return self.num_matrix_parameters + biases + tables

    @property
    def flops_per_token(self) -> int:
        """Of training: 6 per matrix parameter, the head's included."""
        return 6 * (self.num_matrix_parameters + self.width * self.vocab_size)


def derive_recurrent_shape(
    *,
    cell: str,
    vocab_size: int,
    context_tokens: int,
    depth: int,
    width: int | None = None,
    tie_embeddings: bool = True,
    dropout: float = 0.0,
    embedding_dropout: float = 0.0,
    weight_drop: float = 0.0,
) -> RecurrentShape:
    """What is given, and the rules for the rest.

    Raises:
        ValueError: no such cell.
    """
    if cell not in NUM_GATES:
        raise ValueError(f"{cell!r} is no recurrent cell; there are {', '.join(NUM_GATES)}")
    return RecurrentShape(
        cell=cell,
        vocab_size=vocab_size,
        context_tokens=context_tokens,
        num_layers=depth,
        width=width or WIDTH_PER_LAYER * depth,
        tie_embeddings=tie_embeddings,
        dropout=dropout,
        embedding_dropout=embedding_dropout,
        weight_drop=weight_drop,
    )
