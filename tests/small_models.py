"""One small model of each family over one tokenizer, with random weights or a few texts' counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from counted import counted
from tiny_chain import default_texts

from pipeline.models.ngram.kneser_ney import estimate
from pipeline.models.ngram.model import NgramModel
from pipeline.models.ngram.table import NgramTable
from pipeline.models.recurrent.model import RecurrentModel
from pipeline.models.recurrent.network import Recurrent
from pipeline.models.recurrent.shape import derive_recurrent_shape
from pipeline.models.transformer.model import TransformerModel
from pipeline.models.transformer.network import Transformer
from pipeline.models.transformer.shape import derive_shape
from pipeline.tokenizer.model import Tokenizer


def ngram(tokenizer: Tokenizer) -> Any:
    """A trigram model of some training texts, which it keeps as `texts`."""
    texts = default_texts()["train"][:40]
    stream = np.concatenate([[tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id] for text in texts])
    orders = counted(stream, order=3, vocab_size=tokenizer.vocab_size, bos_id=tokenizer.bos_id)
    estimated = estimate(orders, never_predicted=[tokenizer.bos_id, tokenizer.pad_id])
    model: Any = NgramModel(NgramTable.of(orders, estimated, vocab_size=tokenizer.vocab_size), **identity(tokenizer))
    model.texts = texts
    return model


def lstm(tokenizer: Tokenizer) -> Any:
    shape = derive_recurrent_shape(cell="lstm", vocab_size=tokenizer.vocab_size, context_tokens=32, depth=1, width=24)
    return RecurrentModel(shaken(Recurrent(shape)), **identity(tokenizer))


def transformer(tokenizer: Tokenizer) -> Any:
    shape = derive_shape(vocab_size=tokenizer.vocab_size, context_tokens=32, depth=2, width=32, num_heads=2)
    return TransformerModel(shaken(Transformer(shape)), **identity(tokenizer))


def identity(tokenizer: Tokenizer) -> dict[str, Any]:
    ids = {"bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id, "pad_id": tokenizer.pad_id}
    return {"tokenizer_hash": tokenizer.hash, **ids}


def shaken(network: Any) -> Any:
    """Random weights that no two predictions share."""
    network.initialise(1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return network
