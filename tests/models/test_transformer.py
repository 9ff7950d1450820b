"""The Transformer equals another implementation, sees nothing of the future, and generates what recomputation would."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from pipeline.errors import ArtifactDamaged, InputError
from pipeline.models import products
from pipeline.models.interface import GenerationParameters
from pipeline.models.loading import load_model
from pipeline.models.sampling import filtered
from pipeline.models.transformer import continuing
from pipeline.models.transformer.decoding import Decoder
from pipeline.models.transformer.model import TransformerModel
from pipeline.models.transformer.network import Transformer, rotary_angles, rotate
from pipeline.models.transformer.shape import derive_shape

GREEDY = GenerationParameters(max_new_tokens=20, temperature=0.0)


def model_of(**changes: Any) -> TransformerModel:
    sizes = {"vocab_size": 100, "context_tokens": 16, "depth": 2, "width": 32, "num_heads": 4, "num_kv_heads": 2}
    network = Transformer(derive_shape(**{**sizes, **changes}))
    network.initialise(seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():  # what begins as zero or one would hide mistakes
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return TransformerModel(network, tokenizer_hash="0" * 64, bos_id=2, eos_id=3, pad_id=0)


def tokens(*shape: int) -> torch.Tensor:
    return torch.randint(4, 100, shape, generator=torch.Generator().manual_seed(3))


def logits_of(model: TransformerModel, token_ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model.network.logits(model.network.hidden(token_ids))


def test_sizes_follow_from_the_depth_by_the_written_rules() -> None:
    shape = derive_shape(vocab_size=8192, context_tokens=256, depth=4)
    assert (shape.width, shape.num_heads, shape.head_width, shape.feed_forward_width) == (256, 4, 64, 704)
    network = Transformer(shape)
    assert shape.num_parameters == sum(parameter.numel() for parameter in network.parameters())
    assert derive_shape(vocab_size=10, context_tokens=8, depth=16).head_width == 128


def test_a_wrong_number_of_heads_is_refused() -> None:
    with pytest.raises(ValueError, match="width 64, which 5 heads do not divide"):
        derive_shape(vocab_size=10, context_tokens=8, depth=1, num_heads=5)


def test_rotation_is_that_of_the_complex_plane() -> None:
    cos, sin = rotary_angles(5, 4, 100.0)
    x = torch.randn(1, 1, 5, 4, dtype=torch.float64)
    pairs = torch.complex(x[..., :2], x[..., 2:])
    turns = torch.polar(torch.ones(5, 2), torch.outer(torch.arange(5.0), torch.tensor([1.0, 0.1])))
    expected = pairs * turns
    found = rotate(x, cos, sin)
    assert torch.allclose(torch.complex(found[..., :2], found[..., 2:]), expected.to(torch.complex128), atol=1e-6)


@pytest.mark.parametrize("changes", [{}, {"tie_embeddings": True}, {"vocab_size": 128, "num_kv_heads": 4}])
def test_transformers_loads_what_is_saved_with_equal_logits(tmp_path: Path, changes: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is in the extra `dev`")
    model = model_of(**changes)
    model.save(tmp_path)
    theirs, report = transformers.Qwen3ForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    token_ids = tokens(3, 16)
    with torch.inference_mode():
        expected = theirs(token_ids).logits
    assert torch.allclose(logits_of(model, token_ids), expected, atol=2e-5, rtol=0)


def test_a_saved_model_comes_back_as_it_was(tmp_path: Path) -> None:
    model = model_of()
    model.save(tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, TransformerModel)
    assert torch.equal(logits_of(again, tokens(2, 9)), logits_of(model, tokens(2, 9)))


def test_later_tokens_change_no_earlier_score() -> None:
    model = model_of()
    token_ids = tokens(1, 16)
    changed = token_ids.clone()
    changed[0, 10:] = 7
    before, after = model.score(token_ids), model.score(changed)
    assert torch.equal(before.log_probabilities[:, :9], after.log_probabilities[:, :9])
    assert not torch.equal(before.log_probabilities[:, 9:], after.log_probabilities[:, 9:])


def test_scores_are_the_log_softmax_at_the_tokens() -> None:
    model = model_of()
    token_ids = tokens(2, 8)
    expected = logits_of(model, token_ids)[:, :-1].log_softmax(-1)
    scores = model.score(token_ids)
    for row in range(2):
        for position in range(7):
            column = expected[row, position]
            token = token_ids[row, position + 1]
            assert scores.log_probabilities[row, position].item() == pytest.approx(column[token].item(), abs=1e-5)
            assert scores.ranks[row, position] == (column > column[token]).sum()
            assert scores.confidences[row, position].item() == pytest.approx(column.max().exp().item(), abs=1e-5)


def test_many_tokens_are_scored_as_few_are() -> None:
    model = model_of(context_tokens=256)
    token_ids = tokens(3, 250)  # more than are scored at once
    expected = logits_of(model, token_ids)[:, :-1].log_softmax(-1)
    chosen = expected.gather(-1, token_ids[:, 1:, None])
    scores = model.score(token_ids)
    torch.testing.assert_close(scores.log_probabilities, chosen[..., 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(scores.confidences, expected.exp().amax(-1), atol=1e-5, rtol=0)
    assert (
        scores.ranks == (expected > chosen + 1e-5).sum(-1)
    ).float().mean() > 0.99  # but for words as likely as the one
    assert scores.ranks.shape == (3, 249)


def test_a_product_without_a_gradient_is_the_product() -> None:
    x, weight = torch.randn(2, 3, 16), torch.randn(40, 16, requires_grad=True)
    expected = torch.einsum("btw,vw->btv", x.double(), weight.double()).float()
    with torch.no_grad():
        torch.testing.assert_close(products.linear(x, weight), expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(products.linear(x.mT.contiguous().mT, weight), expected, atol=1e-5, rtol=0)
        assert products.linear(x[:0], weight).shape == (0, 3, 40)
        assert products.linear(x.bfloat16(), weight).dtype == torch.bfloat16
    products.linear(x, weight).sum().backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad[0], x.sum((0, 1)), atol=1e-5, rtol=0)


def test_a_sequence_longer_than_the_context_is_refused() -> None:
    with pytest.raises(ValueError, match="17 tokens; a sequence has 2 to 16"):
        model_of().score(tokens(1, 17))


def recomputed(model: TransformerModel, prompt: list[int], count: int) -> list[int]:
    text = list(prompt)
    while len(text) < len(prompt) + count:
        text.append(int(logits_of(model, torch.tensor([text]))[0, -1].argmax()))
    return text[len(prompt) :]


def test_decoding_with_the_cache_is_full_recomputation_for_prompts_of_unequal_length() -> None:
    model = model_of(context_tokens=64)
    prompts = [[2, 9], [2, 5, 6, 7, 8, 9, 10], [2]]
    together = model.generate(prompts, GREEDY)
    assert together == [recomputed(model, prompt, 20) for prompt in prompts]
    assert together == [model.generate([prompt], GREEDY)[0] for prompt in prompts]


@pytest.mark.parametrize("stop_ids", [(), (5,), tuple(range(4, 50))])
def test_texts_that_outgrow_the_context_go_on_as_they_would_alone(stop_ids: tuple[int, ...]) -> None:
    model = model_of(context_tokens=16)
    prompts = [tokens(length).tolist() for length in (20, 13, 3, 16, 15)]
    parameters = replace(GREEDY, max_new_tokens=40, stop_ids=stop_ids)
    together = model.generate(prompts, parameters)
    assert together == [model.generate([prompt], parameters)[0] for prompt in prompts]


def test_draws_are_a_prompts_own_whatever_its_place_and_its_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = model_of(context_tokens=32)
    prompts = [tokens(length).tolist() for length in (5, 2, 9, 4, 7)]
    parameters = GenerationParameters(max_new_tokens=8, temperature=1.0, seed=3)
    expected = model.generate(prompts, parameters)
    assert expected == [model.generate([prompt], parameters)[0] for prompt in prompts]
    assert model.generate(prompts, replace(parameters, seed=2**70)) != expected
    monkeypatch.setattr(continuing, "_BATCH_ROWS", 2)
    assert model.generate(prompts, parameters) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_kv_heads": 4},
        {"num_kv_heads": 1, "tie_embeddings": True},
        {"vocab_size": 129},
        {"query_key_norm": False, "head_width": 12},
        {"softcap": 2.0, "relu_squared": True, "value_embeddings": True},
    ],
)
@pytest.mark.parametrize("one_thread_bytes", [0, products.ONE_THREAD_BYTES])  # oneDNN multiplies, and NumPy one row
def test_a_steps_logits_are_those_of_reading_everything_anew(
    changes: dict[str, Any], one_thread_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "ONE_THREAD_BYTES", one_thread_bytes)
    model = model_of(context_tokens=32, **changes)
    decoder = Decoder(model.network)
    for lengths in ((5, 5, 5), (7, 1, 4), (6,)):  # without padding, with it, and one row
        texts = [tokens(length).tolist() for length in lengths]
        logits, cache = decoder.read(texts, num_steps=6, pad_id=0)
        decoder.read([[9, 9]], num_steps=6, pad_id=0)  # has a cache of its own
        for step in range(7):
            for row, text in enumerate(texts):
                torch.testing.assert_close(
                    logits[row], logits_of(model, torch.tensor([text]))[0, -1], atol=2e-5, rtol=0
                )
            if step < 6:
                latest = torch.tensor([4 + step + row for row in range(len(texts))])
                logits = decoder.step(cache, latest)
                texts = [[*text, int(token)] for text, token in zip(texts, latest, strict=True)]
        assert cache.is_full


@pytest.mark.parametrize(
    ("one_thread_bytes", "has_control", "num_rows", "expected"),
    [
        (0, True, 1, (2, {2})),
        (products.ONE_THREAD_BYTES, True, 1, (2, {1})),  # NumPy multiplies
        (products.ONE_THREAD_BYTES, True, 2, (2, {1})),  # torch does
        (products.ONE_THREAD_BYTES, False, 1, (1, {2})),
        (products.ONE_THREAD_BYTES, False, 2, (2, {2})),
    ],
)
def test_only_one_row_of_a_small_model_keeps_to_one_thread_and_gives_the_others_back(
    one_thread_bytes: int,
    has_control: bool,
    num_rows: int,
    expected: tuple[int, set[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not has_control:
        monkeypatch.setattr(products, "_numpy_threads", lambda: None)
    monkeypatch.setattr(products, "ONE_THREAD_BYTES", one_thread_bytes)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threadpool_limits(2, user_api="blas"):
            with Decoder(model_of().network).threads(num_rows):
                assert num_threads() == expected
            assert num_threads() == (2, {2})
    finally:
        torch.set_num_threads(before)


def num_threads() -> tuple[int, set[int]]:
    """Torch's, and those of all BLAS libraries; torch's own is none of them."""
    return torch.get_num_threads(), {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_a_machine_without_control_over_numpys_threads_writes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = model_of().generate([[2, 9], [2]], GREEDY)
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert model_of().generate([[2, 9], [2]], GREEDY) == expected


def test_generation_in_bfloat16_differs_by_its_rounding_only() -> None:
    model = model_of(context_tokens=32)
    exact, _ = Decoder(model.network).read([[2, 9, 11]], num_steps=2, pad_id=0)
    model.network.compute_dtype = torch.bfloat16
    decoder = Decoder(model.network)
    _, cache = decoder.read([[2, 9]], num_steps=2, pad_id=0)
    rounded = decoder.step(cache, torch.tensor([11]))
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, atol=0.05 * float(exact.abs().max()), rtol=0)


def test_generation_goes_on_beyond_the_context() -> None:
    model = model_of(context_tokens=16)
    (found,) = model.generate([[2, 9]], GenerationParameters(max_new_tokens=50, temperature=0.0))
    assert len(found) == 50
    assert found[:14] == recomputed(model, [2, 9], 14)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_prompt_that_is_too_long_goes_on_as_its_end_does_and_that_is_told(num_beams: int) -> None:
    model = model_of(context_tokens=16)
    parameters = GenerationParameters(max_new_tokens=6, temperature=0.0, num_beams=num_beams)
    long = [2, *range(5, 25)]
    kept = model.kept_of_prompt(len(long), parameters)
    assert kept == (8 if num_beams == 1 else 10)
    assert model.generate([long], parameters) == model.generate([long[-kept:]], parameters)
    assert model.kept_of_prompt(9, parameters) == 9


def test_a_seed_gives_one_continuation_whatever_the_batch() -> None:
    model = model_of()
    drawn = GenerationParameters(max_new_tokens=12, temperature=1.0, seed=4)
    alone = model.generate([[2, 9]], drawn)
    assert model.generate([[2, 9], [2, 11]], drawn)[0] == alone[0]
    assert model.generate([[2, 9]], GenerationParameters(max_new_tokens=12, temperature=1.0, seed=5)) != alone


def test_a_continuation_ends_before_a_stop_token() -> None:
    model = model_of()
    (whole,) = model.generate([[2, 9]], GREEDY)
    stop = next(token for token in whole if token != whole[0])
    (cut,) = model.generate([[2, 9]], GenerationParameters(max_new_tokens=20, temperature=0.0, stop_ids=(stop,)))
    assert cut == whole[: whole.index(stop)]


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(InputError, match="A prompt has no tokens"):
        model_of().generate([[]], GREEDY)


def test_top_k_and_top_p_keep_the_smallest_sets_worked_out_by_hand() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    kept = GenerationParameters(temperature=1.0, top_k=2, top_p=1.0)
    assert filtered(logits, kept)[0].tolist() == pytest.approx([0.625, 0.375, 0, 0])
    kept = GenerationParameters(temperature=1.0, top_k=None, top_p=0.75)
    assert filtered(logits, kept)[0].tolist() == pytest.approx([0.625, 0.375, 0, 0])
    kept = GenerationParameters(temperature=0.5, top_k=None, top_p=1.0)
    squares = [0.25, 0.09, 0.0225, 0.0025]
    assert filtered(logits, kept)[0].tolist() == pytest.approx([square / 0.365 for square in squares])


@pytest.mark.parametrize("changes", [{"temperature": -1.0}, {"top_k": 0}, {"top_p": 0.0}, {"max_new_tokens": 0}])
def test_impossible_parameters_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        GenerationParameters(**changes)


def test_damaged_folders_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ArtifactDamaged, match=r"holds no readable textmill\.json"):
        load_model(tmp_path)
    model_of().save(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ArtifactDamaged, match=r"model\.safetensors does not load"):
        load_model(tmp_path)
    card = json.loads((tmp_path / "textmill.json").read_text())
    (tmp_path / "textmill.json").write_text(json.dumps({**card, "family": "oracle"}))
    with pytest.raises(ArtifactDamaged, match="unknown family 'oracle'"):
        load_model(tmp_path)
