"""Encoder-decoders equal their equations, see neither padding nor the future, and decode step by step what they score at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from seq2seq_examples import KINDS, VOCAB_SIZE, model_of, network_of
from torch import Tensor

from pipeline.errors import ArtifactDamaged, InputError
from pipeline.models.interface import GenerationParameters
from pipeline.models.loading import load_model
from pipeline.models.seq2seq_model import Seq2SeqModel
from pipeline.models.seq2seq_rnn.shape import derive_seq2seq_rnn_shape
from pipeline.models.seq2seq_transformer.attention import sinusoidal_positions
from pipeline.models.seq2seq_transformer.shape import derive_seq2seq_transformer_shape

GREEDY = GenerationParameters(max_new_tokens=9, temperature=0.0)
SOURCES = [[2, 5, 9, 3], [2, 25, 6, 7, 8, 3], [2, 4, 3]]
TARGETS = [[7, 8, 3], [4, 4, 5, 6, 9, 3], [11, 3]]


def logits_of(network: Any, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
    with torch.inference_mode():
        hidden, _ = network.decode(target, network.begin(source, lengths))
        found: Tensor = network.logits(hidden)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_padding_of_the_source_has_no_influence_whatever_it_holds(kind: str) -> None:
    network = network_of(kind).eval()
    source, target = torch.tensor([[2, 5, 9, 3]]), torch.tensor([[2, 7, 8]])
    lengths = torch.tensor([4])
    alone = logits_of(network, source, lengths, target)
    for filler in (0, 29):
        padded = torch.cat((source, torch.full((1, 5), filler)), dim=1)
        assert torch.allclose(logits_of(network, padded, lengths, target), alone, atol=1e-5)
    longer = torch.cat((source, torch.tensor([[29]])), dim=1)  # one that counts does
    assert not torch.allclose(logits_of(network, longer, torch.tensor([5]), target), alone, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_later_target_tokens_change_no_earlier_logits_and_every_source_token_changes_all(kind: str) -> None:
    network = network_of(kind).eval()
    source, lengths, target = torch.tensor([[2, 5, 9, 6, 3]]), torch.tensor([5]), torch.tensor([[2, 7, 8, 9, 10]])
    before = logits_of(network, source, lengths, target)
    for place in range(1, 5):
        changed = target.clone()
        changed[0, place] = 15
        after = logits_of(network, source, lengths, changed)
        assert torch.allclose(after[:, :place], before[:, :place], atol=1e-6)
        assert not torch.allclose(after[:, place:], before[:, place:], atol=1e-4)
    for place in range(5):
        changed = source.clone()
        changed[0, place] = 20
        assert ((logits_of(network, changed, lengths, target) - before).abs().amax(-1) > 1e-5).all()


@pytest.mark.parametrize("kind", KINDS)
def test_token_by_token_is_full_recomputation(kind: str) -> None:
    network = network_of(kind).eval()
    source, lengths = torch.randint(4, 30, (3, 6)), torch.tensor([6, 4, 2])
    target = torch.randint(4, VOCAB_SIZE, (3, 8))
    whole = logits_of(network, source, lengths, target)
    with torch.inference_mode():
        state = network.begin(source, lengths)
        steps = [network.logits(network.decode(token[:, None], state)[0]) for token in target.unbind(1)]
    assert torch.allclose(torch.cat(steps, dim=1), whole, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_attention_weights_are_a_mean_over_the_real_source_tokens(kind: str) -> None:
    network = network_of(kind).eval()
    source, lengths = torch.randint(4, 30, (2, 6)), torch.tensor([6, 3])
    target = torch.randint(4, VOCAB_SIZE, (2, 5))
    with torch.inference_mode():
        hidden, layers = network.decode(target, network.begin(source, lengths), wants_weights=True)
        plain, none = network.decode(target, network.begin(source, lengths))
    assert torch.allclose(hidden, plain, atol=1e-5) and none == []
    for weights in layers:
        assert weights.shape[0] == 2 and weights.shape[2:] == (5, 6)
        assert torch.allclose(weights.sum(-1), torch.ones(weights.shape[:3]), atol=1e-5)
        assert not weights[1, :, :, 3:].any()


def test_one_step_of_attention_is_bahdanaus_equations() -> None:
    network = network_of("gru", depth=1).double()
    decoder: Any = network.decoder
    source, lengths = torch.tensor([[5, 9, 6]]), torch.tensor([3])
    state = network.begin(source, lengths)
    memory, start = state.memory[0].detach().numpy(), state.layers[0][0][0].detach().numpy()
    query, key = decoder.query_proj.weight.detach().numpy(), decoder.key_proj.weight.detach().numpy()
    energies = np.array([decoder.score.detach().numpy() @ np.tanh(query @ start + key @ h) for h in memory])
    weights = np.exp(energies) / np.exp(energies).sum()
    context = weights @ memory
    _, (found,) = network.decode(torch.tensor([[2]]), state, wants_weights=True)
    np.testing.assert_allclose(found[0, 0, 0].detach().numpy(), weights, atol=1e-12)

    word = decoder.embed_tokens.weight[2].detach().numpy()
    cell = decoder.cells[0]
    w, u, b, d = (getattr(cell, name).detach().numpy() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    (input_r, input_z, input_n), (state_r, state_z, state_n) = (
        np.split(w @ np.concatenate((word, context)) + b, 3),
        np.split(u @ start + d, 3),
    )
    r, z = 1 / (1 + np.exp(-input_r - state_r)), 1 / (1 + np.exp(-input_z - state_z))
    after = (1 - z) * np.tanh(input_n + r * state_n) + z * start
    np.testing.assert_allclose(state.layers[0][0][0].detach().numpy(), after, atol=1e-12)
    readout = np.tanh(decoder.readout_proj.weight.detach().numpy() @ np.concatenate((after, context, word)))
    np.testing.assert_allclose(state.readout[0].detach().numpy(), readout, atol=1e-12)


def test_the_encoders_two_directions_are_torchs_bidirectional_layer() -> None:
    network = network_of("lstm, input feeding")
    encoder: Any = network.encoder
    theirs = torch.nn.LSTM(6, 6, num_layers=2, bidirectional=True, batch_first=True)
    with torch.no_grad():
        for layer in range(2):
            for suffix, ours in (("", encoder.forwards[layer]), ("_reverse", encoder.backwards[layer])):
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    getattr(theirs, f"{name}_l{layer}{suffix}").copy_(getattr(ours, f"{name}_l0"))
        source, lengths = torch.randint(4, 30, (3, 7)), torch.tensor([7, 5, 2])
        memory, ends = encoder(source, lengths)
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            encoder.embed_tokens(source), lengths, batch_first=True, enforce_sorted=False
        )
        expected, (last, _) = theirs(packed)
        padded, _ = torch.nn.utils.rnn.pad_packed_sequence(expected, batch_first=True)
    for row, length in enumerate(lengths.tolist()):
        assert torch.allclose(memory[row, :length], padded[row, :length], atol=1e-6)
    for layer in range(2):
        assert torch.allclose(ends[layer], torch.cat((last[2 * layer], last[2 * layer + 1]), dim=-1), atol=1e-6)


def test_sinusoidal_positions_are_the_formula() -> None:
    found = sinusoidal_positions(8, 4)
    for position in (0, 1, 7):
        slow = position / 100.0  # 10000^(2 / 4)
        expected = [np.sin(position), np.cos(position), np.sin(slow), np.cos(slow)]
        np.testing.assert_allclose(found[position].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["rotary", "gru"])
def test_labels_are_smoothed_while_training_alone(kind: str) -> None:
    network = network_of(kind, label_smoothing=0.1)
    source, lengths = torch.tensor([[2, 5, 9, 3]]), torch.tensor([4])
    target, targets = torch.tensor([[2, 7, 8, 0]]), torch.tensor([[7, 8, 3, -100]])
    log_p = logits_of(network, source, lengths, target).log_softmax(-1)[0, :3]
    plain = -log_p.gather(-1, torch.tensor([[7], [8], [3]])).mean()
    smoothed = 0.9 * plain - 0.1 * log_p.mean()
    assert torch.allclose(network.eval()(source, lengths, target, targets), plain, atol=1e-5)
    assert torch.allclose(network.train()(source, lengths, target, targets), smoothed, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_targets_score_in_a_batch_as_alone_and_all_that_could_follow_adds_up_to_one(kind: str) -> None:
    model = model_of(kind)
    together = model.score_targets(SOURCES, TARGETS)
    for source, target, scores in zip(SOURCES, TARGETS, together, strict=True):
        (alone,) = model.score_targets([source], [target])
        np.testing.assert_allclose(alone, scores, atol=1e-5)
    every = model.score_targets([SOURCES[0]] * VOCAB_SIZE, [[7, token] for token in range(VOCAB_SIZE)])
    assert sum(float(np.exp(scores[1])) for scores in every) == pytest.approx(1.0, abs=1e-4)
    (bare,) = model.score_targets([SOURCES[0][1:-1]], [TARGETS[0]])  # marks that a prompt lacks are added
    np.testing.assert_allclose(bare, together[0], atol=1e-5)
    assert model.score_targets([SOURCES[0]], [[]])[0].size == 0


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_is_full_recomputation_and_a_batch_writes_what_each_alone_does(kind: str) -> None:
    model = model_of(kind)
    written = model.generate(SOURCES, GREEDY)
    for source, text in zip(SOURCES, written, strict=True):
        assert model.generate([source], GREEDY) == [text]
        expected: list[int] = []
        while len(expected) < 9:
            ids = torch.tensor([source])
            logits = logits_of(model.network, ids, torch.tensor([len(source)]), torch.tensor([[2, *expected]]))
            token = int(logits[0, -1].argmax())
            if token == 3:
                break
            expected.append(token)
        assert text == expected
    drawn = GenerationParameters(max_new_tokens=9, temperature=1.0, seed=4)
    assert model.generate(SOURCES, drawn) == [model.generate([source], drawn)[0] for source in SOURCES]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_too_long_is_refused_with_its_length(kind: str) -> None:
    model = model_of(kind)
    with pytest.raises(InputError, match="A prompt has 15 tokens; the model reads 14 at most"):
        model.generate([[2, *[5] * 15, 3]], GREEDY)
    with pytest.raises(InputError, match="A target has 17 tokens; the model writes 16 at most"):
        model.score_targets([[2, 5, 3]], [[4] * 17])
    with pytest.raises(InputError, match="scores targets given a source"):
        model.score(torch.tensor([[2, 5, 6]]))
    assert len(model.generate([[5] * 14], GenerationParameters(max_new_tokens=50, temperature=0.0))[0]) <= 16


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("share", "tie"), [(False, False), (True, True), (False, True), (True, False)])
def test_a_saved_model_comes_back_as_it_was_and_its_parameters_are_counted_once(
    tmp_path: Path, kind: str, share: bool, tie: bool
) -> None:
    sizes = {"share_vocabulary": share, "tie_embeddings": tie, "dropout": 0.3}
    model = model_of(kind, **sizes, source_vocab_size=VOCAB_SIZE if share else 30)
    sources, targets = [[2, 5, 9, 3]], [[7, 8, 3]]
    model.save(tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, Seq2SeqModel)
    card = json.loads((tmp_path / "textmill.json").read_text())
    assert again.family == model.family == card["family"]
    assert again.source == model.source
    np.testing.assert_array_equal(again.score_targets(sources, targets)[0], model.score_targets(sources, targets)[0])
    assert model.num_parameters == sum(parameter.numel() for parameter in model.network.parameters())
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:-8])
    with pytest.raises(ArtifactDamaged, match="model.safetensors does not load"):
        load_model(tmp_path)


def test_one_table_for_two_vocabularies_is_refused() -> None:
    sizes: dict[str, Any] = {"source_vocab_size": 30, "vocab_size": 20, "context_tokens": 8, "depth": 1}
    for derive in (derive_seq2seq_transformer_shape, derive_seq2seq_rnn_shape):
        words = sizes if derive is derive_seq2seq_transformer_shape else {**sizes, "cell": "gru"}
        with pytest.raises(ValueError, match="the source has 30 tokens and the target 20; set share_vocabulary"):
            derive(**words)


def test_alignments_have_a_row_for_each_target_token() -> None:
    (layer,) = model_of("gru").alignment([5, 9], [7, 8, 3])
    assert layer.shape == (1, 3, 4)
    np.testing.assert_allclose(layer.sum(-1), 1.0, atol=1e-5)
    assert [weights.shape for weights in model_of("rotary").alignment([5, 9], [7, 8, 3])] == [(2, 3, 4)] * 2
