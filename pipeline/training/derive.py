"""What the settings leave open, derived from one dial, the depth; imports no torch.

| What | Rule | Source |
|---|---|---|
| width | 64 a layer; recurrent 256 | nanochat's aspect ratio; Zaremba et al. 2014, see recurrent/shape.py |
| heads | of 64, from width 1024 on of 128 | attention kernels are fastest at 128; below, fewer than 8 heads would be left |
| feed-forward | 8/3 of the width, in steps of 64; relu^2: 4 | as many parameters as the classical 4 (Shazeer 2020) |
| tokens, the horizon | 20 a parameter | Hoffmann et al. 2022, arXiv 2203.15556 |
| batch | 4,096 tokens at 3 M tokens, growing with their power 0.383; a power of two of windows | exponent as in nanochat |
| steps | tokens by batch; batch warm-up makes more of them | batch_size.py |
| warm-up, cooldown | 2 % and the last 60 % of the steps | Hägele et al. 2024: 20 % and more is enough; 40 to 70 % in speed runs |
| validation | ten times, each at most 1/100 of the tokens | |
| the same of averaged SGD | 30 times, since its trigger waits for several | |
| matrix learning rate | 0.03, Elman's 0.01 | Muon's update has unit spectral norm whatever the width; Jordan et al. 2024 |
| embedding, head learning rate | 0.3 and 0.004, times (768 / width)^0.5 | nanochat's values at width 768, scaled as there |
| the same of recurrent families, encoder-decoders too | 0.025 for both, times (768 / width)^0.5 | measured, below |
| the same of the encoder-decoder Transformer | 0.012 for both, times (768 / width)^0.5 | measured, below |
| vector learning rate | 0.01 | |

Long runs like 0.02 to 0.025 for matrices, short ones more: novels, depth 4, 122 steps of 4,096 tokens gave 1.803 bits per byte
at 0.02 and 1.780 at 0.04; an embedding rate of 1.2 in place of 0.52 gave 1.818.

Recurrent: novels, LSTM of one layer of 256, 117 steps of 1,024 tokens, validation loss in nats by the tied table's rate:
6.466 at 0.007 (the Transformer's rule), 6.110 at 0.014, 5.940 at 0.03, 5.893 at 0.06; a Transformer of as many parameters gave
5.946. At 0.03, Muon with 0.1 gave 5.950, and AdamW with 0.01 in Muon's place 5.960. A bias at the output changed 6.466 to 6.459
and was left out. Elman's cell without gates to hold its state: at 0.1 the run diverged at step 87; over 352 steps, 0.03 gave
5.432 and 0.01 5.373.

Encoder-decoders: Multi30k German to English, lower-cased, one vocabulary of 6,000, 49 steps of 2,048 tokens, dropout 0.1;
validation loss in nats by the tied table's rate, and at 0.03 by the matrices'. Transformer, depth 2 of width 128: 5.217 at
0.01, 5.147 at 0.03, 5.506 at 0.1; matrices 5.324 at 0.01, 5.133 at 0.06. Recurrent, one layer of width 256: 5.782 at 0.01,
5.171 at 0.03, 5.098 at 0.1; matrices 5.252 at 0.01, 5.137 at 0.06. So short a run likes high rates; the rules give 0.03 at
width 128 and 0.043 at width 256.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from pipeline.config import (
    EncoderDecoderConfig,
    NetworkConfig,
    RecurrentConfig,
    Seq2SeqRnnConfig,
    Seq2SeqTransformerConfig,
)
from pipeline.config.starting import StartSettings
from pipeline.models.recurrent.shape import RecurrentShape, derive_recurrent_shape
from pipeline.models.seq2seq_rnn.shape import Seq2SeqRnnShape, derive_seq2seq_rnn_shape
from pipeline.models.seq2seq_transformer.shape import Seq2SeqTransformerShape, derive_seq2seq_transformer_shape
from pipeline.models.transformer.shape import TransformerShape, derive_shape
from pipeline.training.batch_size import steps_for
from pipeline.training.starting import StartShape, shape_from

Shape = TransformerShape | RecurrentShape | Seq2SeqTransformerShape | Seq2SeqRnnShape
TOKENS_PER_PARAMETER = 20
REFERENCE_TOKENS, REFERENCE_BATCH_TOKENS, BATCH_EXPONENT = 3_000_000, 4_096, 0.383
VALIDATIONS, VALIDATIONS_WITH_TRIGGER = 10, 30
VALIDATION_SHARE = 100
"""A validation reads at most this part of the training tokens: ten of them then cost about 3 % of the training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """A run's sizes and rates with nothing left open."""

    shape: Shape
    num_steps: int
    batch_windows: int
    batch_warmup_steps: int
    micro_windows: int | None
    matrix_learning_rate: float
    embedding_learning_rate: float
    head_learning_rate: float
    vector_learning_rate: float
    weight_decay: float
    warmup_fraction: float
    cooldown_fraction: float
    gradient_clip: float | None
    spike_sigma: float | None
    validate_every_steps: int
    validation_windows: int


def derive(
    config: NetworkConfig, *, vocab_size: int, source_vocab_size: int | None = None, start: Shape | None = None
) -> Derived:
    """The resolved run of a model's settings with a vocabulary of this size; `source_vocab_size` is that of sources with a
    vocabulary of their own; of `start`, where it begins, are the sizes.

    Raises:
        ConfigurationError: a size is set to another value than that of `start`.
    """
    train = config.train
    if start is None:
        shape = _shape(config, vocab_size=vocab_size, source_vocab_size=source_vocab_size)
    else:
        assert isinstance(config, StartSettings) and isinstance(start, StartShape)
        shape = shape_from(start, config)
    tokens = train.tokens or TOKENS_PER_PARAMETER * shape.num_parameters
    if train.batch_tokens is not None:
        batch_windows = max(1, round(train.batch_tokens / config.context_tokens))
    else:  # a power of two divides evenly on every machine
        batch_tokens = REFERENCE_BATCH_TOKENS * (tokens / REFERENCE_TOKENS) ** BATCH_EXPONENT
        batch_windows = 2 ** max(0, round(math.log2(batch_tokens / config.context_tokens)))
    micro_tokens = train.micro_batch_tokens
    warmup = train.batch_warmup_fraction
    num_validations = VALIDATIONS if train.averaged_sgd is None else VALIDATIONS_WITH_TRIGGER
    num_steps = steps_for(tokens / config.context_tokens, batch_rows=batch_windows, warmup_fraction=warmup)
    return Derived(
        shape=shape,
        num_steps=num_steps,
        batch_windows=batch_windows,
        batch_warmup_steps=round(warmup * num_steps),
        micro_windows=max(1, micro_tokens // config.context_tokens) if micro_tokens else None,
        **_updates(config, width=shape.width),
        validate_every_steps=train.validate_every_steps or max(1, num_steps // num_validations),
        validation_windows=max(1, min(train.validation_tokens, tokens // VALIDATION_SHARE) // config.context_tokens),
    )


def _updates(config: NetworkConfig, *, width: int) -> dict[str, Any]:
    """Rates, decay, schedule and largest gradient."""
    train = config.train
    if train.averaged_sgd is not None:  # one rate, and no schedule
        kinds = ("matrix", "embedding", "head", "vector")
        own = {f"{kind}_learning_rate": train.averaged_sgd.learning_rate for kind in kinds}
        own |= {"weight_decay": train.averaged_sgd.weight_decay, "gradient_clip": train.averaged_sgd.gradient_clip}
        # at a constant rate gradients grow as the loss falls, and their clipping bounds every step: no spikes are looked for
        return {**own, "warmup_fraction": 0.0, "cooldown_fraction": 0.0, "spike_sigma": None}
    matrix, embedding, head = _rates(config)
    scale = (768 / width) ** 0.5
    return {
        "matrix_learning_rate": train.matrix_learning_rate or matrix,
        "embedding_learning_rate": train.embedding_learning_rate or embedding * scale,
        "head_learning_rate": train.head_learning_rate or head * scale,
        "vector_learning_rate": train.vector_learning_rate or 0.01,
        "weight_decay": train.weight_decay,
        "gradient_clip": train.gradient_clip,
        "spike_sigma": train.spike_sigma,
        "warmup_fraction": train.warmup_fraction,
        "cooldown_fraction": train.cooldown_fraction,
    }


def _rates(config: NetworkConfig) -> tuple[float, float, float]:
    """Of matrices, embeddings and heads, the last two at width 768."""
    if isinstance(config, RecurrentConfig):
        return 0.01 if config.family == "rnn" else 0.03, 0.025, 0.025
    if isinstance(config, Seq2SeqTransformerConfig):
        return 0.03, 0.012, 0.012
    if isinstance(config, Seq2SeqRnnConfig):
        return 0.03, 0.025, 0.025
    return 0.03, 0.3, 0.004


def _shape(config: NetworkConfig, *, vocab_size: int, source_vocab_size: int | None) -> Shape:
    if isinstance(config, Seq2SeqTransformerConfig):
        return derive_seq2seq_transformer_shape(
            source_vocab_size=source_vocab_size or vocab_size,
            vocab_size=vocab_size,
            context_tokens=config.context_tokens,
            depth=config.depth,
            width=config.width,
            num_heads=config.num_heads,
            feed_forward_width=config.feed_forward_width,
            share_vocabulary=_shares(config, source_vocab_size),
            tie_embeddings=config.tie_embeddings,
            positions=config.positions,
            dropout=config.dropout,
            label_smoothing=config.label_smoothing,
        )
    if isinstance(config, Seq2SeqRnnConfig):
        return derive_seq2seq_rnn_shape(
            cell=config.cell,
            source_vocab_size=source_vocab_size or vocab_size,
            vocab_size=vocab_size,
            context_tokens=config.context_tokens,
            depth=config.depth,
            width=config.width,
            embedding_width=config.embedding_width,
            input_feeding=config.input_feeding,
            share_vocabulary=_shares(config, source_vocab_size),
            tie_embeddings=config.tie_embeddings,
            dropout=config.dropout,
            label_smoothing=config.label_smoothing,
        )
    if isinstance(config, RecurrentConfig):
        return derive_recurrent_shape(
            cell=config.family,
            vocab_size=vocab_size,
            context_tokens=config.context_tokens,
            depth=config.depth,
            width=config.width,
            tie_embeddings=config.tie_embeddings,
            dropout=config.dropout,
            embedding_dropout=config.embedding_dropout,
            weight_drop=config.weight_drop,
        )
    return derive_shape(
        vocab_size=vocab_size,
        context_tokens=config.context_tokens,
        depth=config.depth,
        width=config.width,
        num_heads=config.num_heads,
        num_kv_heads=config.num_kv_heads,
        feed_forward_width=config.feed_forward_width,
        tie_embeddings=config.tie_embeddings,
        rope_theta=config.rope_theta,
        head_width=config.head_width,
        query_key_norm=config.query_key_norm,
        softcap=config.research.softcap,
        relu_squared=config.research.relu_squared,
        value_embeddings=config.research.value_embeddings,
        dropout=config.dropout,
    )


def _shares(config: EncoderDecoderConfig, source_vocab_size: int | None) -> bool:
    return source_vocab_size is None if config.share_vocabulary is None else config.share_vocabulary
