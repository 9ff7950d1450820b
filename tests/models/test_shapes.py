"""The shapes in the signatures of the models hold while they train, score and generate."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from seq2seq_examples import KINDS, model_of

from pipeline.models import beam_search, encoder_decoder, sampling
from pipeline.models.interface import GenerationParameters
from pipeline.models.recurrent import model as recurrent_model
from pipeline.models.recurrent import network as recurrent_network
from pipeline.models.recurrent.shape import derive_recurrent_shape
from pipeline.models.seq2seq_rnn import network as seq2seq_rnn
from pipeline.models.seq2seq_transformer import attention as seq2seq_attention
from pipeline.models.seq2seq_transformer import network as seq2seq_transformer
from pipeline.models.transformer import model, network
from pipeline.models.transformer.model import TransformerModel
from pipeline.models.transformer.shape import derive_shape

MODULES = (
    network,
    model,
    recurrent_network,
    recurrent_model,
    sampling,
    beam_search,
    encoder_decoder,
    seq2seq_attention,
    seq2seq_transformer,
    seq2seq_rnn,
)
SHAPE = derive_shape(vocab_size=50, context_tokens=16, depth=2, width=32, num_heads=4, num_kv_heads=2)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> int:
    """Has every annotated function of the models' modules check its arguments and its result; how many that are."""
    jaxtyping = pytest.importorskip("jaxtyping", reason="jaxtyping is in the extra `dev`")
    beartype = pytest.importorskip("beartype", reason="beartype is in the extra `dev`")
    num_checked = 0

    def check(function: Callable[..., Any]) -> Callable[..., Any]:
        nonlocal num_checked
        num_checked += 1
        wrapped: Callable[..., Any] = jaxtyping.jaxtyped(typechecker=beartype.beartype)(function)
        return wrapped

    for module in MODULES:
        for name in ("Float", "Int", "Bool"):  # imported for the type checker alone
            monkeypatch.setattr(module, name, getattr(jaxtyping, name), raising=False)
    for module in MODULES:
        for holder in (module, *(entry for _, entry in inspect.getmembers(module, inspect.isclass))):
            if inspect.getmodule(holder) is not module:
                continue
            for name, function in list(vars(holder).items()):
                shaped = inspect.isfunction(function) and any(
                    "[" in str(text) for text in function.__annotations__.values()
                )
                if shaped and function.__module__ == module.__name__:
                    monkeypatch.setattr(holder, name, check(function))
    return num_checked


def test_shapes_hold_from_token_ids_to_loss_scores_and_continuations(checked: int) -> None:
    assert checked > 10
    built = network.Transformer(SHAPE)
    built.initialise(seed=0)
    token_ids = torch.randint(0, 50, (3, 17))
    for dtype in (torch.float32, torch.bfloat16):
        built.compute_dtype = dtype
        built(token_ids[:, :-1], token_ids[:, 1:]).backward()
    built.compute_dtype = torch.float32
    trained = TransformerModel(built, tokenizer_hash="0" * 64, bos_id=2, eos_id=3, pad_id=0)
    trained.score(token_ids[:, :16])
    trained.generate([[2, 5], [2]], GenerationParameters(max_new_tokens=20, seed=1))


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_shapes_hold_in_recurrent_networks_too(checked: int, cell: str) -> None:
    built = recurrent_network.Recurrent(
        derive_recurrent_shape(
            cell=cell,
            vocab_size=50,
            context_tokens=16,
            depth=2,
            width=32,
            dropout=0.1,
            embedding_dropout=0.1,
            weight_drop=0.1,
        )
    )
    built.initialise(seed=0)
    token_ids = torch.randint(0, 50, (3, 17))
    for dtype in (torch.float32, torch.bfloat16):
        built.compute_dtype = dtype
        built(token_ids[:, :-1], token_ids[:, 1:]).backward()
    trained = recurrent_model.RecurrentModel(built, tokenizer_hash="0" * 64, bos_id=2, eos_id=3, pad_id=0)
    trained.score(token_ids)
    trained.generate([[2, 5], [2]], GenerationParameters(max_new_tokens=20, seed=1))


def test_a_wrong_shape_is_noticed(checked: int) -> None:
    jaxtyping = importlib.import_module("jaxtyping")
    built = network.Transformer(SHAPE)
    with pytest.raises(jaxtyping.TypeCheckError):
        built(torch.zeros(16, dtype=torch.int64), torch.zeros(16, dtype=torch.int64))
    with pytest.raises(jaxtyping.TypeCheckError):
        network.rotate(torch.zeros(1, 2, 5, 8), torch.zeros(4, 8), torch.zeros(4, 8))


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_hold_in_encoder_decoders_too(checked: int, kind: str) -> None:
    made = model_of(kind)
    source, lengths = torch.randint(4, 30, (3, 7)), torch.tensor([7, 5, 2])
    target = torch.randint(4, 20, (3, 6))
    made.network.train()(source, lengths, target[:, :-1], target[:, 1:]).backward()
    made.network.eval()
    assert made.alignment([5, 6], [7, 3])[0].shape[1:] == (2, 4)
    for parameters in (GenerationParameters(max_new_tokens=5), GenerationParameters(max_new_tokens=5, num_beams=3)):
        assert len(made.generate([[5, 6], [7]], parameters)) == 2
