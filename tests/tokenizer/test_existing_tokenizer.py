"""A tokenizer that is there already is taken as it is, or refused with the reason."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from pydantic import ValidationError
from test_tokenizer_build import HOSTILE, SENTENCES, build, load

from pipeline.config import TokenizerConfig
from pipeline.errors import InputError
from pipeline.tokenizer.existing import read_tokenizer
from pipeline.tokenizer.hugging_face import is_exact, tokenizer_config, tokenizer_json
from pipeline.tokenizer.model import Tokenizer

LLAMAS: dict[str, Any] = {
    "model_type": "bpe",
    "vocab_size": 320,
    "byte_fallback": True,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "split_digits": True,
    "character_coverage": 0.99995,
}
"""What the files of Llama 2 were trained with: <unk>, <s>, </s> and no padding, and a space before each text."""


def train(file: Path, **settings: Any) -> Path:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(SENTENCES * 50), model_writer=model, minloglevel=2, **settings
    )
    file.write_bytes(model.getvalue())
    return file


def test_a_file_is_taken_as_it_is_and_measured(tmp_path: Path) -> None:
    trained = build(tmp_path / "trained", vocab_size=330)
    made = build(tmp_path / "taken", file=str(trained.file("tokenizer.model")), vocab_size=None)
    assert load(made).hash == load(trained).hash == made.manifest.counts["hash"]
    assert made.manifest.counts["bytes_per_token"] == trained.manifest.counts["bytes_per_token"]
    assert made.manifest.counts["lossless"] is False, "what it loses is for information"
    assert made.report().notes == ["It is a file that was there already, and learnt nothing from this corpus."]


def test_a_llamas_file_serves_without_a_padding_symbol(tmp_path: Path) -> None:
    tokenizer = Tokenizer(read_tokenizer(train(tmp_path / "llama.model", **LLAMAS)))
    assert (tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id) == (0, 1, 2, 0)
    assert tokenizer.facts.adds_space
    for text in (*SENTENCES, *HOSTILE):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_llamas_file_is_exported_with_the_space_before_a_text(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="of the extra dev")
    tokenizer = Tokenizer(read_tokenizer(train(tmp_path / "llama.model", **LLAMAS)))
    assert is_exact(tokenizer)
    read = tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(tokenizer)))
    read.encode_special_tokens = True
    for text in (*SENTENCES, *HOSTILE):
        ids = tokenizer.encode(text)
        assert read.encode(text, add_special_tokens=False).ids == ids
        assert read.decode(ids) == text
    config = tokenizer_config(tokenizer, context_tokens=8)
    assert (config["bos_token"], config["pad_token"], config["additional_special_tokens"]) == ("<s>", "<unk>", [])


@pytest.mark.parametrize(
    "settings",
    [
        {"normalization_rule_name": "nmt_nfkc"},
        {"remove_extra_whitespaces": True},
        {"user_defined_symbols": ["cat"]},
        {"model_type": "word", "vocab_size": 20, "byte_fallback": False},
    ],
)
def test_what_changes_a_text_first_has_no_form_of_hugging_faces(tmp_path: Path, settings: dict[str, Any]) -> None:
    assert not is_exact(Tokenizer(train(tmp_path / "a.model", **LLAMAS | settings).read_bytes()))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"bos_id": -1}, "has no symbol for a text's begin"),
        ({"eos_id": -1}, "has no symbol for a text's end"),
        ({"byte_fallback": False, "vocab_size": 70}, "has neither a padding symbol nor byte pieces"),
    ],
)
def test_a_file_that_cannot_serve_is_one_sentence(tmp_path: Path, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_tokenizer(train(tmp_path / "a.model", **LLAMAS | settings))


def test_a_file_that_is_none_or_not_the_planned_one_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="is no SentencePiece model, such as"):
        read_tokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(InputError, match="changed while the run began"):
        read_tokenizer(tmp_path / "tokenizer.json", sha256="0")
    with pytest.raises(InputError, match="cannot be read"):
        read_tokenizer(tmp_path)


def test_a_file_beside_settings_of_learning_is_refused() -> None:
    with pytest.raises(
        ValidationError, match="has file and vocab_size; a tokenizer that is there already learns nothing"
    ):
        TokenizerConfig(corpus="c", file="a.model", vocab_size=512)
