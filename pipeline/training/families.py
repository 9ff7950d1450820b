"""The families that the training loop serves: from a spec's name and sizes to a network, and from that to a model."""

from __future__ import annotations

from typing import Any

from pipeline.models.interface import LanguageModel
from pipeline.models.recurrent.model import RecurrentModel
from pipeline.models.recurrent.network import Recurrent
from pipeline.models.recurrent.shape import RecurrentShape
from pipeline.models.seq2seq_model import Seq2SeqModel
from pipeline.models.seq2seq_rnn.network import Seq2SeqRnn
from pipeline.models.seq2seq_rnn.shape import Seq2SeqRnnShape
from pipeline.models.seq2seq_transformer.network import Seq2SeqTransformer
from pipeline.models.seq2seq_transformer.shape import Seq2SeqTransformerShape
from pipeline.models.transformer.model import TransformerModel
from pipeline.models.transformer.network import Transformer
from pipeline.models.transformer.shape import TransformerShape
from pipeline.training.hardware import MICRO_BATCH_TOKENS

EncoderDecoderShape = Seq2SeqTransformerShape | Seq2SeqRnnShape
Shape = TransformerShape | RecurrentShape | EncoderDecoderShape
Network = Transformer | Recurrent | Seq2SeqTransformer | Seq2SeqRnn

_MOST_FORWARD_TOKENS = 8_192
_MOST_LOGITS = 2**26
"""Of a forward pass: 256 MB."""

_SHAPES: dict[str, type[Shape]] = {
    "transformer": TransformerShape,
    "seq2seq_transformer": Seq2SeqTransformerShape,
    "seq2seq_rnn": Seq2SeqRnnShape,
}


def shape_of(family: str, sizes: dict[str, Any]) -> Shape:
    """The sizes of a spec as the family's own."""
    return _SHAPES.get(family, RecurrentShape)(**sizes)


def cpu_forward_tokens(shape: Shape) -> int:
    """Tokens a forward pass takes at most on a CPU. A recurrent network multiplies one token of every row at a time, so it wants
    as many rows as logits leave room for; for a Transformer more would only take more memory."""
    if isinstance(shape, TransformerShape | Seq2SeqTransformerShape):
        return MICRO_BATCH_TOKENS["cpu"]
    return min(_MOST_FORWARD_TOKENS, max(MICRO_BATCH_TOKENS["cpu"], _MOST_LOGITS // shape.vocab_size))


def network_of(shape: Shape) -> Network:
    """A network of these sizes, its weights not yet set."""
    if isinstance(shape, TransformerShape):
        return Transformer(shape)
    if isinstance(shape, Seq2SeqTransformerShape):
        return Seq2SeqTransformer(shape)
    return Seq2SeqRnn(shape) if isinstance(shape, Seq2SeqRnnShape) else Recurrent(shape)


def model_of(network: Network, **identity: Any) -> LanguageModel:
    """A trained network as a model; `identity` is its tokenizer's hash and special ids."""
    if isinstance(network, Transformer):
        return TransformerModel(network, **identity)
    if isinstance(network, Seq2SeqTransformer | Seq2SeqRnn):
        return Seq2SeqModel(network, **identity)
    return RecurrentModel(network, **identity)
