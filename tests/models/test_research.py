"""Parts of a Transformer that no other library computes: what they compute, and that they are kept and never exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config import TransformerConfig
from pipeline.errors import InputError
from pipeline.models.interface import GenerationParameters
from pipeline.models.loading import load_model
from pipeline.models.transformer.model import TransformerModel
from pipeline.models.transformer.network import FeedForward, Transformer
from pipeline.models.transformer.shape import derive_shape
from pipeline.serving import export
from pipeline.training.derive import derive

EVERYTHING = {"softcap": 5.0, "relu_squared": True, "value_embeddings": True}


def model_of(**changes: Any) -> TransformerModel:
    sizes = {"vocab_size": 30, "context_tokens": 16, "depth": 2, "width": 32, "num_heads": 4, "num_kv_heads": 2}
    network = Transformer(derive_shape(**{**sizes, **changes}))
    network.initialise(seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return TransformerModel(network, tokenizer_hash="0" * 64, bos_id=2, eos_id=3, pad_id=0)


def logits_of(model: TransformerModel, token_ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model.network.logits(model.network.hidden(token_ids))


def tokens(*shape: int) -> torch.Tensor:
    return torch.randint(4, 30, shape, generator=torch.Generator().manual_seed(3))


def test_logits_are_capped_by_a_scaled_tanh() -> None:
    plain, capped = model_of(), model_of(softcap=2.0)
    expected = 2.0 * torch.tanh(logits_of(plain, tokens(2, 8)) / 2.0)
    assert torch.allclose(logits_of(capped, tokens(2, 8)), expected, atol=1e-6)
    assert logits_of(capped, tokens(2, 8)).abs().max() < 2.0


def test_the_squared_rectifier_as_worked_out_by_hand() -> None:
    shape = derive_shape(vocab_size=8, context_tokens=8, depth=1, width=2, num_heads=1, relu_squared=True)
    assert shape.feed_forward_width == 8  # 4 times the width
    part = FeedForward(shape)
    part.up_proj.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], *[[0.0, 0.0]] * 6])
    part.down_proj.weight.data = torch.tensor([[1.0, 1.0, *[0.0] * 6], [2.0, 0.0, *[0.0] * 6]])
    assert part(torch.tensor([3.0, -2.0])).tolist() == [9.0, 18.0]  # relu(3)^2 = 9, relu(-2)^2 = 0


def test_value_embeddings_are_added_to_the_values_of_every_layer() -> None:
    plain, mixed = model_of(), model_of(value_embeddings=True)
    mixed.network.load_state_dict(plain.network.state_dict(), strict=False)
    token_ids = tokens(1, 8)
    assert not torch.allclose(logits_of(mixed, token_ids), logits_of(plain, token_ids))
    for layer in mixed.network.model.layers:
        layer.self_attn.value_mix.data.zero_()
    assert torch.equal(logits_of(mixed, token_ids), logits_of(plain, token_ids))
    # one token attends to itself alone: the values, and what o_proj makes of them, are worked out here
    network = model_of(depth=1, value_embeddings=True).network
    attention, x = network.model.layers[0].self_attn, torch.randn(1, 1, 32)
    values = network.model.value_embed_tokens(torch.tensor([[7]]))
    heard = attention(x, network.cos[:1], network.sin[:1], values=values)
    value = (attention.v_proj(x) + attention.value_mix * values).view(2, 8).repeat_interleave(2, dim=0)
    assert torch.allclose(heard.flatten(), attention.o_proj(value.flatten()), atol=1e-6)


def test_sizes_are_counted_as_they_are() -> None:
    for part, value in EVERYTHING.items():
        model = model_of(**{part: value})
        named = dict(model.network.named_parameters())
        padding = model.network.shape.padded_vocab_size - 30
        tables = [parameter for name, parameter in named.items() if "embed_tokens" in name or "lm_head" in name]
        padded = sum(padding * table.shape[1] for table in tables)
        assert sum(parameter.numel() for parameter in named.values()) - padded == model.num_parameters, part


def test_a_research_model_comes_back_and_writes_with_its_cache(tmp_path: Path) -> None:
    model = model_of(**EVERYTHING)
    model.save(tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, TransformerModel)
    assert torch.equal(logits_of(again, tokens(2, 9)), logits_of(model, tokens(2, 9)))
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "textmill_transformer"
    (found,) = again.generate([[2, 9]], GenerationParameters(max_new_tokens=8, temperature=0.0))
    text = [2, 9]
    for _ in range(8):
        text.append(int(logits_of(model, torch.tensor([text]))[0, -1].argmax()))
    assert found == text[2:]


def test_a_research_model_is_not_exported() -> None:
    registered: Any = type("Registered", (), {"name": "gpt", "version": "3"})
    with pytest.raises(
        InputError, match=r"Version 3 of gpt was trained with research settings \(softcap, relu_squared\)"
    ):
        export._refuse_research(model_of(softcap=5.0, relu_squared=True), registered)
    export._refuse_research(model_of(), registered)


def test_settings_reach_the_network() -> None:
    config = TransformerConfig(family="transformer", dataset="x", depth=1, research=EVERYTHING)
    shape = derive(config, vocab_size=100).shape
    assert {part: getattr(shape, part) for part in EVERYTHING} == EVERYTHING
    assert derive(TransformerConfig(family="transformer", dataset="x"), vocab_size=100).shape.research_parts == []
