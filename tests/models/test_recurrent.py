"""Recurrent cells equal their equations and their gradients, see nothing of the future, and drop out only what is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.config import RecurrentConfig
from pipeline.errors import ArtifactDamaged, InputError
from pipeline.models import products
from pipeline.models.interface import GenerationParameters
from pipeline.models.loading import load_model
from pipeline.models.recurrent.decoding import Decoder
from pipeline.models.recurrent.model import RecurrentModel
from pipeline.models.recurrent.network import Recurrent, locked_dropout
from pipeline.models.recurrent.shape import NUM_GATES, derive_recurrent_shape
from pipeline.training.derive import derive

CELLS = ("rnn", "gru", "lstm")
GREEDY = GenerationParameters(max_new_tokens=20, temperature=0.0)


def network_of(cell: str, **changes: Any) -> Recurrent:
    sizes = {"vocab_size": 100, "context_tokens": 16, "depth": 2, "width": 24}
    network = Recurrent(derive_recurrent_shape(cell=cell, **{**sizes, **changes}))
    network.initialise(seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():  # what begins as zero or one would hide mistakes
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return network


def model_of(cell: str, **changes: Any) -> RecurrentModel:
    return RecurrentModel(network_of(cell, **changes), tokenizer_hash="0" * 64, bos_id=2, eos_id=3, pad_id=0)


def tokens(*shape: int) -> Tensor:
    return torch.randint(4, 100, shape, generator=torch.Generator().manual_seed(3))


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def elman(x: np.ndarray, h: np.ndarray, c: np.ndarray, w: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return np.tanh(w[0] @ x + w[2] + w[1] @ h + w[3]), c


def gated(x: np.ndarray, h: np.ndarray, c: np.ndarray, w: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    (input_r, input_z, input_n), (state_r, state_z, state_n) = (
        np.split(w[k] @ v + w[k + 2], 3) for k, v in ((0, x), (1, h))
    )
    r, z = logistic(input_r + state_r), logistic(input_z + state_z)
    return (1 - z) * np.tanh(input_n + r * state_n) + z * h, c


def long_short(x: np.ndarray, h: np.ndarray, c: np.ndarray, w: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    i, f, g, o = np.split(w[0] @ x + w[2] + w[1] @ h + w[3], 4)
    c = logistic(f) * c + logistic(i) * np.tanh(g)
    return logistic(o) * np.tanh(c), c


EQUATIONS: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {"rnn": elman, "gru": gated, "lstm": long_short}
PARTS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("num_rows", [1, 3])
@pytest.mark.parametrize("one_thread_bytes", [0, products.ONE_THREAD_BYTES])  # oneDNN multiplies, and NumPy one row
def test_a_steps_logits_are_those_of_reading_everything_anew(
    cell: str, num_rows: int, one_thread_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "ONE_THREAD_BYTES", one_thread_bytes)
    network = network_of(cell).eval()
    decoder = Decoder(network)
    token_ids = torch.randint(100, (num_rows, 9), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        _, state = network.hidden(token_ids[:, :3])
        for length in range(4, 10):
            logits, state = decoder.step(token_ids[:, length - 1], state)
            hidden, expected = network.hidden(token_ids[:, :length])
            torch.testing.assert_close(logits, network.logits(hidden[:, -1]), atol=2e-5, rtol=0)
            torch.testing.assert_close(state, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_writing_in_bfloat16_differs_by_the_heads_rounding_only(cell: str) -> None:
    network = network_of(cell).eval()
    with torch.inference_mode():
        _, state = network.hidden(torch.tensor([[5, 9]]))
        exact, _ = Decoder(network).step(torch.tensor([7]), state)
        network.compute_dtype = torch.bfloat16
        rounded, _ = Decoder(network).step(torch.tensor([7]), state)
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, atol=0.02 * float(exact.abs().max()), rtol=0)


@pytest.mark.parametrize("cell", CELLS)
def test_two_steps_of_a_cell_are_the_equations_and_so_are_their_gradients(cell: str) -> None:
    network = network_of(cell, depth=1, width=3).double()
    layer: Any = network.layers[0]
    token_ids = torch.tensor([[5, 9]])
    sums = torch.tensor([0.7, -1.3, 0.4], dtype=torch.float64)
    found, state = network.hidden(token_ids)
    (found[0, -1] @ sums).backward()

    inputs = network.embed_tokens.weight[token_ids[0]].detach().numpy()
    weights = [getattr(layer, name).detach().numpy().copy() for name in PARTS]

    def objective() -> float:
        h, c = np.zeros(3), np.zeros(3)
        for x in inputs:
            h, c = EQUATIONS[cell](x, h, c, weights)
        return float(h @ sums.numpy())

    h, c = np.zeros(3), np.zeros(3)
    for position, x in enumerate(inputs):
        h, c = EQUATIONS[cell](x, h, c, weights)
        np.testing.assert_allclose(found[0, position].detach().numpy(), h, rtol=0, atol=1e-12)
    np.testing.assert_allclose(state[0][-1][0, 0].detach().numpy(), c if cell == "lstm" else h, rtol=0, atol=1e-12)
    for name, weight in zip(PARTS, weights, strict=True):  # central differences of the equations
        expected = np.empty_like(weight)
        for place in np.ndindex(weight.shape):
            kept, sides = weight[place], []
            for nudge in (1e-5, -1e-5):
                weight[place] = kept + nudge
                sides.append(objective())
            weight[place] = kept
            expected[place] = (sides[0] - sides[1]) / 2e-5
        np.testing.assert_allclose(getattr(layer, name).grad.numpy(), expected, rtol=0, atol=1e-9)


def test_the_gradient_of_an_elman_step_is_the_one_derived_by_hand() -> None:
    network = network_of("rnn", depth=1, width=3).double()
    layer: Any = network.layers[0]
    found, _ = network.hidden(torch.tensor([[5, 9]]))
    found[0, 1].sum().backward()
    first, second = found[0].detach().numpy()
    inputs = network.embed_tokens.weight[[5, 9]].detach().numpy()
    late = 1 - second**2  # of the sum, before the second tanh
    early = (layer.weight_hh_l0.detach().numpy().T @ late) * (1 - first**2)
    np.testing.assert_allclose(layer.weight_hh_l0.grad.numpy(), np.outer(late, first), atol=1e-12)
    np.testing.assert_allclose(
        layer.weight_ih_l0.grad.numpy(), np.outer(late, inputs[1]) + np.outer(early, inputs[0]), atol=1e-12
    )
    np.testing.assert_allclose(layer.bias_hh_l0.grad.numpy(), late + early, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_a_state_goes_on_where_it_was_left(cell: str) -> None:
    network = network_of(cell).eval()
    token_ids = tokens(3, 12)
    with torch.inference_mode():
        whole, last = network.hidden(token_ids)
        before, state = network.hidden(token_ids[:, :5])
        parts = [before]
        for position in range(5, 12):
            step, state = network.hidden(token_ids[:, position : position + 1], state=state)
            parts.append(step)
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-6)
    for ours, theirs in zip(state, last, strict=True):
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours, theirs, strict=True))


def recomputed(model: RecurrentModel, prompt: list[int], count: int) -> list[int]:
    text = list(prompt)
    with torch.inference_mode():
        while len(text) < len(prompt) + count:
            hidden, _ = model.network.hidden(torch.tensor([text]))
            text.append(int(model.network.logits(hidden)[0, -1].argmax()))
    return text[len(prompt) :]


@pytest.mark.parametrize("cell", CELLS)
def test_decoding_with_the_state_is_full_recomputation_for_prompts_of_unequal_length(cell: str) -> None:
    model = model_of(cell)
    prompts = [[2, 9], [2, 5, 6, 7, 8, 9, 10], [2]]
    together = model.generate(prompts, GREEDY)
    assert together == [recomputed(model, prompt, 20) for prompt in prompts]
    assert together == [model.generate([prompt], GREEDY)[0] for prompt in prompts]
    with pytest.raises(InputError, match="begin it with the BOS token"):
        model.generate([[2], []], GREEDY)
    assert model.generate([], GREEDY) == []


def test_a_continuation_ends_before_a_stop_token_and_its_draws_are_its_own() -> None:
    model = model_of("gru")
    drawn = GenerationParameters(max_new_tokens=12, temperature=1.0, seed=4)
    free = model.generate([[2, 9], [2, 5]], drawn)
    assert free == [model.generate([prompt], drawn)[0] for prompt in ([2, 9], [2, 5])]
    stopped = GenerationParameters(max_new_tokens=12, temperature=1.0, seed=4, stop_ids=(free[0][5],))
    found = model.generate([[2, 9], [2, 5]], stopped)
    assert found[0] == free[0][: free[0].index(free[0][5])]


@pytest.mark.parametrize("cell", CELLS)
def test_later_tokens_change_no_earlier_score(cell: str) -> None:
    model = model_of(cell)
    token_ids = tokens(2, 300)  # more than one span
    for place in (10, 255, 256, 257, 299):
        changed = token_ids.clone()
        changed[:, place:] = 7
        before, after = model.score(token_ids), model.score(changed)
        assert torch.equal(before.log_probabilities[:, : place - 1], after.log_probabilities[:, : place - 1])
        assert not torch.equal(before.log_probabilities[:, place - 1 :], after.log_probabilities[:, place - 1 :])


@pytest.mark.parametrize("cell", CELLS)
def test_a_batch_scores_its_rows_as_each_alone_and_as_the_log_softmax(cell: str) -> None:
    model = model_of(cell)
    token_ids = tokens(4, 300)
    together = model.score(token_ids)
    for row in range(4):
        alone = model.score(token_ids[row : row + 1])
        assert torch.allclose(alone.log_probabilities[0], together.log_probabilities[row], atol=1e-5)
    with torch.inference_mode():
        hidden, _ = model.network.hidden(token_ids[:, :-1])
        expected = model.network.logits(hidden).log_softmax(-1)
    chosen = expected.gather(-1, token_ids[:, 1:, None])
    assert torch.allclose(together.log_probabilities, chosen.squeeze(-1), atol=1e-5)
    assert torch.allclose(together.confidences, expected.amax(-1).exp(), atol=1e-5)
    assert ((together.ranks == 0) == (expected.argmax(-1) == token_ids[:, 1:])).all()
    with pytest.raises(ValueError, match="1 tokens; a sequence has 2 to 4096"):
        model.score(tokens(1, 1))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_model_comes_back_as_it_was(tmp_path: Path, cell: str, tied: bool) -> None:
    model = model_of(cell, tie_embeddings=tied, dropout=0.3)
    model.save(tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, RecurrentModel)
    assert again.family == cell == json.loads((tmp_path / "textmill.json").read_text())["family"]
    assert torch.equal(again.score(tokens(2, 9)).log_probabilities, model.score(tokens(2, 9)).log_probabilities)
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-8])
    with pytest.raises(ArtifactDamaged, match="model.safetensors does not load"):
        load_model(tmp_path)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_counted_once(cell: str, tied: bool) -> None:
    network = network_of(cell, tie_embeddings=tied)
    expected = 2 * NUM_GATES[cell] * (2 * 24 * 24 + 2 * 24) + 100 * 24 * (1 if tied else 2)
    assert network.shape.num_parameters == expected == sum(parameter.numel() for parameter in network.parameters())
    assert (network.lm_head.weight is network.embed_tokens.weight) == tied


def test_sizes_follow_from_the_depth_by_the_written_rules() -> None:
    config = RecurrentConfig(family="lstm", dataset="d", train={"tokens": 3_000_000})
    derived = derive(config, vocab_size=8192)
    assert (derived.shape.num_layers, derived.shape.width) == (2, 512)
    # 2 layers of 4 gates with 2 matrices of 512 x 512 and 2 biases, and a tied table
    assert derived.shape.num_parameters == 2 * 4 * (2 * 512 * 512 + 2 * 512) + 8192 * 512
    assert derived.matrix_learning_rate == 0.03
    assert derive(RecurrentConfig(family="rnn", dataset="d"), vocab_size=8192).matrix_learning_rate == 0.01
    # the tied table's rate at width 768, times the root of 768 / 512
    assert derived.head_learning_rate == pytest.approx(0.0306, abs=1e-4)
    with pytest.raises(ValueError, match="'mlp' is no recurrent cell"):
        derive_recurrent_shape(cell="mlp", vocab_size=10, context_tokens=8, depth=1)
    with pytest.raises(ValueError, match="recurrent layers run as the library's own kernels"):
        RecurrentConfig(family="gru", dataset="d", train={"compile": "on"})


def test_the_lstm_begins_with_an_open_forget_gate_and_orthogonal_state_matrices() -> None:
    network = Recurrent(derive_recurrent_shape(cell="lstm", vocab_size=20, context_tokens=8, depth=1, width=8))
    network.initialise(seed=0)
    layer: Any = network.layers[0]
    assert (layer.bias_ih_l0 + layer.bias_hh_l0).tolist() == [0.0] * 8 + [1.0] * 8 + [0.0] * 16
    for gate in layer.weight_hh_l0.chunk(4):
        assert torch.allclose(gate @ gate.T, torch.eye(8), atol=1e-6)


def test_locked_dropout_is_one_mask_a_row_at_every_token() -> None:
    torch.manual_seed(0)
    dropped = locked_dropout(torch.ones(64, 7, 50), 0.4)
    assert (dropped == dropped[:, :1]).all()
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1 / 0.6).item()}
    assert abs((dropped == 0).float().mean() - 0.4) < 0.03  # 3,200 draws: four standard deviations
    assert not torch.equal(dropped[0], dropped[1])


def test_embedding_dropout_takes_out_a_token_wherever_it_stands() -> None:
    network = network_of("gru", embedding_dropout=0.5)
    token_ids = torch.tensor([[5, 6, 5, 7], [6, 5, 8, 9]])
    torch.manual_seed(0)
    masks = set()
    for _ in range(20):
        ratio = network.embedded(token_ids) / network.embed_tokens(token_ids)
        assert all(bool((vector == vector[0]).all()) for vector in ratio.flatten(0, 1))  # whole entries
        kept = ratio[..., 0]
        assert kept[0, 0] == kept[0, 2] == kept[1, 1] and kept[0, 1] == kept[1, 0]
        masks.add(tuple(kept.flatten().tolist()))
    assert len(masks) > 3 and {value for mask in masks for value in mask} == {0.0, 2.0}


@pytest.mark.parametrize("cell", CELLS)
def test_weight_drop_zeroes_state_weights_while_training_only(cell: str) -> None:
    network = network_of(cell, weight_drop=0.5)
    plain = network_of(cell)
    token_ids, targets = tokens(2, 9)[:, :-1], tokens(2, 9)[:, 1:]
    assert torch.equal(network.eval()(token_ids, targets), plain.eval()(token_ids, targets))
    network.train()
    torch.manual_seed(0)
    loss = network(token_ids, targets)
    loss.backward()
    torch.manual_seed(0)
    with torch.no_grad():
        for number, layer in enumerate(plain.layers):  # the same draws, in the same order, written into the weights
            weight: Any = layer.weight_hh_l0
            kept: Any = network.layers[number].weight_hh_l0.grad != 0
            mask = torch.nn.functional.dropout(torch.ones_like(weight), 0.5)
            assert torch.equal(kept, mask != 0)
            weight.mul_(mask)
        assert torch.allclose(plain.train()(token_ids, targets), loss, atol=1e-6)
    assert not torch.equal(network(token_ids, targets), loss)


@pytest.mark.parametrize("cell", CELLS)
def test_nothing_is_dropped_while_scoring(cell: str) -> None:
    dropping = model_of(cell, dropout=0.5, embedding_dropout=0.5, weight_drop=0.5)
    plain = model_of(cell)
    assert torch.equal(dropping.score(tokens(2, 9)).log_probabilities, plain.score(tokens(2, 9)).log_probabilities)
