"""The sizes of a recurrent encoder-decoder, derived from its depth.

Rules: width 256 per layer, 512 at least; embeddings half as wide; each direction of the encoder half as wide, so that what the
decoder attends to has its own width. Bahdanau et al. 2015 took 1,000 and 620. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.models.encoder_decoder_sizes import EncoderDecoderSizes

WIDTH_PER_LAYER, LEAST_WIDTH = 256, 512
NUM_GATES = {"gru": 3, "lstm": 4}
"""Matrix products of a cell with its input, and as many with its state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seq2SeqRnnShape(EncoderDecoderSizes):
    """Everything that decides the parameters."""

    cell: str
    """`gru` or `lstm`."""
    num_layers: int
    """Of the encoder and of the decoder."""
    width: int
    embedding_width: int
    input_feeding: bool
    """The decoder also reads what it last predicted from (Luong et al. 2015, arXiv 1508.04025, section 3.3)."""

    @property
    def decoder_input_width(self) -> int:
        """Of the first decoder layer: the token before, the context, and with input feeding the readout before."""
        return self.embedding_width * (2 if self.input_feeding else 1) + self.width

    @property
    def readout_input_width(self) -> int:
        """The decoder's output, the context, the token before."""
        return 2 * self.width + self.embedding_width

    @property
    def num_matrix_parameters(self) -> int:
        """Biases left out."""
        gates, half = NUM_GATES[self.cell], self.width // 2
        encoder = 2 * gates * half * (self.embedding_width + half + (self.num_layers - 1) * (self.width + half))
        decoder = gates * self.width * (self.decoder_input_width + (2 * self.num_layers - 1) * self.width)
        bridge, attention = self.num_layers * self.width**2, 2 * self.width**2
        return encoder + decoder + bridge + attention + self.readout_input_width * self.embedding_width

    @property
    def num_parameters(self) -> int:
        """Each cell has two biases a gate, and the attention a vector."""
        biases = NUM_GATES[self.cell] * 2 * 2 * self.width * self.num_layers
        return self.num_matrix_parameters + self.num_table_rows * self.embedding_width + biases + self.width

    @property
    def flops_per_token(self) -> int:
        """Of training, for each token of a pair: half of them are read by the encoder, half by the decoder and the head."""
        return 3 * (self.num_matrix_parameters + self.embedding_width * self.vocab_size)


def derive_seq2seq_rnn_shape(
    *,
    cell: str,
    source_vocab_size: int,
    vocab_size: int,
    context_tokens: int,
    depth: int,
    width: int | None = None,
    embedding_width: int | None = None,
    input_feeding: bool = False,
    share_vocabulary: bool = True,
    tie_embeddings: bool = True,
    dropout: float = 0.0,
    label_smoothing: float = 0.0,
) -> Seq2SeqRnnShape:
    """What is given, and the rules for the rest.

    Raises:
        ValueError: no such cell, an odd width, or one table is to serve two vocabularies.
    """
    if cell not in NUM_GATES:
        raise ValueError(f"{cell!r} is no cell of an encoder-decoder; there are {', '.join(NUM_GATES)}")
    width = width or max(LEAST_WIDTH, WIDTH_PER_LAYER * depth)
    if width % 2:
        raise ValueError(f"width {width} is odd; the encoder's two directions have half of it each")
    return Seq2SeqRnnShape(
        cell=cell,
        source_vocab_size=source_vocab_size,
        vocab_size=vocab_size,
        context_tokens=context_tokens,
        num_layers=depth,
        width=width,
        embedding_width=embedding_width or width // 2,
        input_feeding=input_feeding,
        share_vocabulary=share_vocabulary,
        tie_embeddings=tie_embeddings,
        dropout=dropout,
        label_smoothing=label_smoothing,
    )
