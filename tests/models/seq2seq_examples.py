"""Small encoder-decoders of every kind, with no weight left at zero or one."""

from __future__ import annotations

from typing import Any

import torch

from pipeline.models.seq2seq_model import Seq2SeqModel
from pipeline.models.seq2seq_rnn.network import Seq2SeqRnn
from pipeline.models.seq2seq_rnn.shape import derive_seq2seq_rnn_shape
from pipeline.models.seq2seq_transformer.network import Seq2SeqTransformer
from pipeline.models.seq2seq_transformer.shape import derive_seq2seq_transformer_shape

VOCAB_SIZE = 20
KINDS: dict[str, dict[str, Any]] = {
    "rotary": {"width": 16, "num_heads": 2, "positions": "rotary"},
    "sinusoidal": {"width": 16, "num_heads": 2, "positions": "sinusoidal"},
    "gru": {"width": 12, "cell": "gru"},
    "lstm, input feeding": {"width": 12, "cell": "lstm", "input_feeding": True},
}


def network_of(kind: str, *, noise: float = 0.3, **changes: Any) -> Seq2SeqTransformer | Seq2SeqRnn:
    """Two layers, untied tables of two sizes unless `changes` say otherwise."""
    sizes: dict[str, Any] = {
        "source_vocab_size": 30,
        "vocab_size": VOCAB_SIZE,
        "context_tokens": 16,
        "depth": 2,
        "share_vocabulary": False,
        "tie_embeddings": False,
        **KINDS[kind],
        **changes,
    }
    network: Seq2SeqTransformer | Seq2SeqRnn
    if "positions" in sizes:
        network = Seq2SeqTransformer(derive_seq2seq_transformer_shape(**sizes))
    else:
        network = Seq2SeqRnn(derive_seq2seq_rnn_shape(**sizes))
    network.initialise(seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * noise)
    return network


def model_of(kind: str, **changes: Any) -> Seq2SeqModel:
    ids = {"bos_id": 2, "eos_id": 3, "pad_id": 0}
    source = {"tokenizer_hash": "1" * 64, **ids}
    return Seq2SeqModel(network_of(kind, **changes), tokenizer_hash="0" * 64, **ids, source=source)
