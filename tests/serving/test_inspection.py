"""What `textmill inspect` shows is what the models compute, and text on its page stays text."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from small_models import identity, lstm, ngram, shaken, transformer
from tiny_chain import chain_of

from pipeline.errors import InputError
from pipeline.evaluation.pair_model import PairModel, TextModel
from pipeline.evaluation.scoring import score_documents
from pipeline.models.seq2seq_model import Seq2SeqModel
from pipeline.models.seq2seq_transformer.network import Seq2SeqTransformer
from pipeline.models.seq2seq_transformer.shape import derive_seq2seq_transformer_shape
from pipeline.serving.inspection.alignment import align
from pipeline.serving.inspection.internals import look_inside
from pipeline.serving.inspection.page import COLUMNS, Subject, inspection_page
from pipeline.serving.inspection.surprisal import token_surprisals
from pipeline.tokenizer.model import SPACE_SYMBOL, Tokenizer

TEXT = "the red fox sees a small door. 春望 é"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    _, _, artifact, _ = chain_of(tmp_path_factory.mktemp("chain"))
    return Tokenizer.load(artifact.file("tokenizer.model"))


@pytest.fixture(scope="module")
def subjects(tokenizer: Tokenizer) -> list[Subject]:
    made = {"five_gram": ngram(tokenizer), "lstm": lstm(tokenizer), "gpt": transformer(tokenizer)}
    return [Subject(name=name, writer=TextModel(model=model, tokenizer=tokenizer)) for name, model in made.items()]


@pytest.mark.parametrize("text", [TEXT, "a" * 9, f"x{SPACE_SYMBOL}the{SPACE_SYMBOL}", "\n\t 春"])
def test_spans_cover_a_text_without_gaps_and_are_the_ids_of_encode(tokenizer: Tokenizer, text: str) -> None:
    spans = tokenizer.spans(text)
    assert [token for token, _, _ in spans] == tokenizer.encode(text)
    assert spans[0][1] == 0
    assert spans[-1][2] == len(text)
    assert all(end == start for (_, _, end), (_, start, _) in pairwise(spans))


@pytest.mark.parametrize("family", [ngram, lstm, transformer])
@pytest.mark.parametrize("text", [TEXT, TEXT * 4])  # within the context, and longer
def test_surprisals_add_up_to_the_bits_of_the_evaluation(tokenizer: Tokenizer, family: Any, text: str) -> None:
    model = family(tokenizer)
    tokens = token_surprisals(model, tokenizer, text)
    expected = score_documents(model, tokenizer, [text])
    assert sum(token.bits for token in tokens) == pytest.approx(expected.bits[0], rel=1e-6)
    assert sum(token.rank == 0 for token in tokens) == expected.num_top1[0]


def test_an_ngram_model_says_how_much_context_each_prediction_used(tokenizer: Tokenizer) -> None:
    model = ngram(tokenizer)
    tokens = token_surprisals(model, tokenizer, "the red fox sees a zzz")
    assert tokens[0].context_tokens == 1  # BOS before "the"
    ids = [tokenizer.bos_id, *tokenizer.encode("the red fox sees a zzz")]
    known: list[set[tuple[int, ...]]] = [set(), set(), set(), set()]
    for text in model.texts:
        stream = [tokenizer.bos_id, *tokenizer.encode(text)]
        for size in (1, 2, 3):
            known[size] |= {tuple(stream[start : start + size]) for start in range(len(stream) - size + 1)}
    for place, token in enumerate(tokens, start=1):
        seen = [
            size for size in (1, 2, 3) if size <= place + 1 and tuple(ids[place + 1 - size : place + 1]) in known[size]
        ]
        assert token.context_tokens == max(seen, default=1) - 1
    assert tokens[-1].context_tokens == 0


def test_attention_weights_are_those_that_the_layers_use(tokenizer: Tokenizer) -> None:
    model = transformer(tokenizer)
    ids = [tokenizer.bos_id, *tokenizer.encode("the red fox sees")]
    heard: list[torch.Tensor] = []
    values: list[torch.Tensor] = []
    attention = model.network.model.layers[0].self_attn
    attention.o_proj.register_forward_hook(lambda module, inputs, output: heard.append(inputs[0]))
    attention.v_proj.register_forward_hook(lambda module, inputs, output: values.append(output))
    inside = look_inside(model, ids)
    weights = inside.attention[0]  # (H, T, T)
    assert weights.sum(-1) == pytest.approx(torch.ones(weights.shape[:2]), abs=1e-5)
    assert torch.all(weights.triu(1) == 0)
    v = values[0].view(len(ids), weights.shape[0], -1).transpose(0, 1)  # (H, T, W)
    mixed = (weights @ v).transpose(0, 1).reshape(len(ids), -1)
    assert torch.allclose(mixed, heard[0][0], atol=1e-5)


def test_the_last_layer_of_the_lens_is_the_models_own_prediction(tokenizer: Tokenizer) -> None:
    model = transformer(tokenizer)
    ids = [tokenizer.bos_id, *tokenizer.encode("the red fox sees")]
    inside = look_inside(model, ids)
    hidden = model.network.hidden(torch.tensor([ids]))
    expected = model.network.logits(hidden[0]).softmax(-1)
    assert inside.predictions[-1].tolist() == expected.argmax(-1).tolist()
    assert inside.confidences[-1].tolist() == pytest.approx(expected.max(-1).values.tolist(), rel=1e-5)
    assert len(inside.predictions) == 2


def test_every_model_covers_every_column_of_every_band(subjects: list[Subject]) -> None:
    page = inspection_page(TEXT * 3, subjects)
    bands = page.split('<table class="band">')[1:]
    assert len(bands) == -(-3 * len(TEXT) // COLUMNS)
    for band in bands:
        band = band.split("</table>")[0]
        columns = band.count('<col class="character">')
        rows = re.findall(r"<tr>(.*?)</tr>", band, re.S)
        assert len(rows) == 3
        for row in rows:
            assert sum(map(int, re.findall(r'colspan="(\d+)"', row))) == columns


@pytest.mark.parametrize("attack", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</td><b>{{ 7*7 }}"])
def test_text_on_the_page_stays_text(subjects: list[Subject], attack: str) -> None:
    named = [Subject(name=attack, writer=subject.writer) for subject in subjects[:1]]
    page = inspection_page(attack, [*named, subjects[2]])
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "<b>" not in page
    assert "49" not in re.sub(r"base64,[^\"]*|[\d.]+", "", page)
    assert re.findall(r"(?:src|href)=[\"'](?!data:)", page) == []


def test_what_shows_nothing_has_a_sign(subjects: list[Subject]) -> None:
    page = inspection_page("a\u202eb\u200dc\nd e", subjects[2:])
    _, _, band = page.partition('<tr class="text">')
    shown = re.findall(r"<td>(.*?)</td>", band.partition("</tr>")[0])
    assert shown == ["a", "▫", "b", "▫", "c", "↵", "d", "␣", "e"]
    assert page.count("\u202e") == 1  # in the text itself alone, which has a frame of its own


def test_an_empty_text_is_one_sentence(subjects: list[Subject]) -> None:
    with pytest.raises(InputError, match="The text is empty"):
        inspection_page("", subjects)
    assert np.isfinite(
        sum(token.bits for token in token_surprisals(subjects[0].writer.model, subjects[0].writer.tokenizer, " "))
    )


@pytest.fixture(scope="module")
def translator(tokenizer: Tokenizer) -> PairModel:
    sizes = {"vocab_size": tokenizer.vocab_size, "source_vocab_size": tokenizer.vocab_size, "context_tokens": 32}
    shape = derive_seq2seq_transformer_shape(
        **sizes,
        depth=2,
        width=16,
        num_heads=2,
        positions="rotary",
        share_vocabulary=False,
        tie_embeddings=False,
    )
    model: Any = Seq2SeqModel(shaken(Seq2SeqTransformer(shape)), **identity(tokenizer), source={**identity(tokenizer)})
    return PairModel(model, tokenizer, tokenizer, {"task": "translation", "keep_source": "end", "template": None})


def test_an_alignment_is_the_models_own_and_every_target_token_looks_somewhere(translator: PairModel) -> None:
    found = align(translator, "the red fox", "a small door")
    (expected,) = translator.score(["the red fox"], ["a small door"]).bits
    assert sum(found.bits) == pytest.approx(expected, rel=1e-5)
    assert [len(row) for row in found.weights] == [len(found.source)] * len(found.target)
    assert np.array(found.weights).sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    assert found.source[0] == "<s>"
    assert align(translator, "the red fox", None).was_written
    assert found.is_whole
    assert not align(translator, "the red fox " * 40, "a small door").is_whole


def test_the_page_says_what_of_an_alignment_it_leaves_out(translator: PairModel) -> None:
    subject = Subject(name="translator", writer=translator)
    said = "Of each side the first 60 tokens at most are shown, of what the model reads."
    assert said in inspection_page("the red fox " * 40, [subject], target="a small door")
    assert said not in inspection_page("the red fox", [subject], target="a small door")


def test_an_encoder_decoder_stands_on_the_page_by_its_alignment(translator: PairModel, subjects: list[Subject]) -> None:
    subject = Subject(name="translator", writer=translator)
    alone = inspection_page("the red fox", [subject], target="<script>alert(1)</script>")
    assert "where it looks as it writes" in alone
    assert "Surprisal, side by side" not in alone
    assert "<script" not in alone
    both = inspection_page("the red fox", [subject, subjects[0]])
    assert "Surprisal, side by side" in both
