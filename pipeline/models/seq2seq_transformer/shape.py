"""The sizes of an encoder-decoder Transformer, derived from its depth.

Rules: as many decoder layers as encoder layers; width and heads see `transformer_sizes.py`; feed-forward 8/3 of the width,
rounded up to a multiple of 64, as in the decoder-only family. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.models.encoder_decoder_sizes import EncoderDecoderSizes
from pipeline.transformer_sizes import encoder_decoder_width_and_heads


@dataclass(frozen=True, slots=True, kw_only=True)
class Seq2SeqTransformerShape(EncoderDecoderSizes):
    """Everything that decides the parameters."""

    num_encoder_layers: int
    num_decoder_layers: int
    width: int
    num_heads: int
    feed_forward_width: int
    positions: str
    """`rotary` or `sinusoidal`."""

    @property
    def head_width(self) -> int:
        return self.width // self.num_heads

    @property
    def num_matrix_parameters(self) -> int:
        """Of all layers, norms left out: self-attention 4 d^2, attention to the source as many, SwiGLU 3 d f."""
        attention, feed_forward = 4 * self.width**2, 3 * self.width * self.feed_forward_width
        encoder = self.num_encoder_layers * (attention + feed_forward)
        return encoder + self.num_decoder_layers * (2 * attention + feed_forward)

    @property
    def num_parameters(self) -> int:
        norms = self.num_encoder_layers * (2 * self.width + 2 * self.head_width)
        norms += self.num_decoder_layers * (3 * self.width + 4 * self.head_width) + 2 * self.width
        return self.num_matrix_parameters + self.num_table_rows * self.width + norms

    @property
    def flops_per_token(self) -> int:
        """Of training, for each token of a pair: half of them are read by the encoder, half by the decoder and the head. 6 per
        matrix parameter that a token meets; attention is left out, since sequences are short beside the width."""
        return 3 * (self.num_matrix_parameters + self.width * self.vocab_size)


def derive_seq2seq_transformer_shape(
    *,
    source_vocab_size: int,
    vocab_size: int,
    context_tokens: int,
    depth: int,
    width: int | None = None,
    num_heads: int | None = None,
    feed_forward_width: int | None = None,
    share_vocabulary: bool = True,
    tie_embeddings: bool = True,
    positions: str = "rotary",
    dropout: float = 0.0,
    label_smoothing: float = 0.0,
) -> Seq2SeqTransformerShape:
    """What is given, and the rules for the rest.

    Raises:
        ValueError: the heads do not divide the width, or one table is to serve two vocabularies.
    """
    width, num_heads = encoder_decoder_width_and_heads(depth=depth, width=width, num_heads=num_heads)
    return Seq2SeqTransformerShape(
        source_vocab_size=source_vocab_size,
        vocab_size=vocab_size,
        context_tokens=context_tokens,
        num_encoder_layers=depth,
        num_decoder_layers=depth,
        width=width,
        num_heads=num_heads,
        feed_forward_width=feed_forward_width or -(-8 * width // (3 * 64)) * 64,
        share_vocabulary=share_vocabulary,
        tie_embeddings=tie_embeddings,
        positions=positions,
        dropout=dropout,
        label_smoothing=label_smoothing,
    )
