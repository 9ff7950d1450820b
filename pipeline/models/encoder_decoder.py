"""What every encoder-decoder has in common: sizes, shared tables, and the loss of a target given its source.

A network reads a source into a state (`begin`), moves it along target tokens (`decode`) and predicts from what that gives
(`logits`). The loss smooths labels while training only, so that validation gives nats of the target itself:
(1 - e) * -log p(target) - e / V * sum over the vocabulary of log p (Szegedy et al. 2016, arXiv 1512.00567).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pipeline.models.encoder_decoder_sizes import EncoderDecoderSizes
from pipeline.models.loss import mean_loss

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class EncoderDecoder(nn.Module, ABC):
    """Source and target ids to logits, or to the mean loss of given targets."""

    def __init__(self, shape: EncoderDecoderSizes) -> None:
        super().__init__()
        self.shape = shape
        self.compute_dtype = torch.float32

    def share_tables(self, *, source: nn.Embedding, target: nn.Embedding, head: nn.Linear) -> None:
        """Makes one table of those that the sizes say are one."""
        if self.shape.share_vocabulary:
            source.weight = target.weight
        if self.shape.tie_embeddings:
            head.weight = target.weight

    @abstractmethod
    def begin(self, source: Int[Tensor, "batch source"], source_lengths: Int[Tensor, " batch"]) -> Any:
        """The state before the first target token; the first `source_lengths` tokens of each row are real."""

    @abstractmethod
    def decode(
        self, target: Int[Tensor, "batch target"], state: Any, *, wants_weights: bool = False
    ) -> tuple[Float[Tensor, "batch target width"], list[Float[Tensor, "batch heads target source"]]]:
        """The output at each of the given tokens, which go on where the state is; the state moves behind them. With
        `wants_weights`, each layer's attention to the source."""

    @abstractmethod
    def logits(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch vocab"]:
        """float32."""

    def forward(
        self,
        source: Int[Tensor, "batch source"],
        source_lengths: Int[Tensor, " batch"],
        target: Int[Tensor, "batch target"],
        targets: Int[Tensor, "batch target"],
    ) -> Float[Tensor, ""]:
        """Mean cross entropy in nats of `targets` (-100 where none) given the source and `target`, the tokens up to each."""
        hidden, _ = self.decode(target, self.begin(source, source_lengths))
        smoothing = self.shape.label_smoothing if self.training else 0.0
        return mean_loss(self.logits, hidden, targets, label_smoothing=smoothing)
