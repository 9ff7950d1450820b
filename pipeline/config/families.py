"""Every family's model section as one, told apart by `family`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.seq2seq import Seq2SeqRnnConfig, Seq2SeqTransformerConfig
from pipeline.config.training import NgramConfig, RecurrentConfig, TransformerConfig

EncoderDecoderConfig = Seq2SeqTransformerConfig | Seq2SeqRnnConfig
"""These learn from pairs."""
NetworkConfig = TransformerConfig | RecurrentConfig | Seq2SeqTransformerConfig | Seq2SeqRnnConfig
"""These are trained step by step."""
ModelConfig = Annotated[
    TransformerConfig | RecurrentConfig | Seq2SeqTransformerConfig | Seq2SeqRnnConfig | NgramConfig,
    Field(discriminator="family"),
]
