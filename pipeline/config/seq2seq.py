"""The model sections of the encoder-decoders."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.config.training import Fraction, ModelSection, Positive, TrainConfig
from pipeline.transformer_sizes import encoder_decoder_width_and_heads


class Seq2SeqSection(ModelSection):
    """What both kinds of encoder-decoder have."""

    context_tokens: Annotated[int, Field(ge=8, le=131_072)] = 256
    """The longest source, which is cut to it, and the longest target; a pair with a longer one is left out."""
    share_vocabulary: bool | None = None
    """One table for what encoder and decoder read; null: where the dataset has one tokenizer for both sides."""
    tie_embeddings: bool = True
    """One table for what the decoder reads and what it predicts."""
    dropout: Fraction = 0.1
    """Of embeddings and of what each part adds; 0.3 suits a small corpus read many times."""
    label_smoothing: Fraction = 0.1
    """The part of each target's probability that is spread over the vocabulary while training (Szegedy et al. 2016)."""
    train: TrainConfig = TrainConfig()
    """How it learns; tokens are those of both sides, and `batch_tokens` counts their padding."""

    @model_validator(mode="after")
    def _compiles_not(self) -> Seq2SeqSection:
        if self.train.compile == "on":
            raise ValueError(
                "sets train.compile to on, but batches of pairs have many shapes, each of which would be compiled. Write auto or "
                "off"
            )
        return self


class Seq2SeqTransformerConfig(Seq2SeqSection):
    """An encoder-decoder Transformer, pre-norm. It learns from pairs."""

    family: Literal["seq2seq_transformer"]
    """The kind of model."""
    depth: Annotated[int, Field(ge=1, le=128)] = 3
    """Layers of the encoder and of the decoder, and the one dial: width, heads, learning rates, batch and horizon derive."""
    width: Positive | None = None
    """Default 64 per layer, and 256 at least."""
    num_heads: Positive | None = None
    """Attention heads; default width / 64."""
    feed_forward_width: Positive | None = None
    """Inner width of the SwiGLU; default about 8/3 of the width."""
    positions: Literal["rotary", "sinusoidal"] = "rotary"
    """Angles of queries and keys (Su et al. 2021), or waves added to the embeddings (Vaswani et al. 2017)."""

    @model_validator(mode="after")
    def _shapes(self) -> Seq2SeqTransformerConfig:
        encoder_decoder_width_and_heads(depth=self.depth, width=self.width, num_heads=self.num_heads)
        return self


class Seq2SeqRnnConfig(Seq2SeqSection):
    """A recurrent encoder-decoder with the attention of Bahdanau et al. 2015. It learns from pairs."""

    family: Literal["seq2seq_rnn"]
    """The kind of model."""
    cell: Literal["gru", "lstm"] = "gru"
    """Gated recurrent units, or long short-term memory."""
    depth: Annotated[int, Field(ge=1, le=64)] = 1
    """Layers of the encoder and of the decoder, and the one dial: width, learning rates, batch and horizon derive from it."""
    width: Annotated[int, Field(ge=2, multiple_of=2)] | None = None
    """Of the decoder, and of the encoder's two directions together; default 256 per layer, and 512 at least."""
    embedding_width: Positive | None = None
    """Default half of the width."""
    input_feeding: bool = False
    """The decoder also reads what it last predicted from (Luong et al. 2015)."""
