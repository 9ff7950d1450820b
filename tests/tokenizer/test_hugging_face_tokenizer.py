"""Hugging Face's library reads our tokenizer files, and finds the ids that SentencePiece finds."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from test_tokenizer_build import HOSTILE, SENTENCES, build, load

from pipeline.tokenizer.hugging_face import tokenizer_config, tokenizer_json
from pipeline.tokenizer.model import SPACE_SYMBOL, Tokenizer

tokenizers = pytest.importorskip("tokenizers", reason="of the extra dev")

TEXTS = [
    *SENTENCES,
    *HOSTILE,
    "<0x41><unk>",
    "a\u00a0b\u3000c",
    "def f(x):\n    return  x + 1024\n",
    "e\u0301\u200b" * 40,
]


def theirs(tokenizer: Tokenizer) -> Any:
    """Text that spells out a control symbol is text to ours."""
    read = tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(tokenizer)))
    read.encode_special_tokens = True
    return read


@pytest.mark.parametrize("kind", ["bpe", "unigram", "char"])
@pytest.mark.parametrize("byte_fallback", [True, False])
def test_ids_and_texts_are_those_of_sentencepiece(tmp_path: Path, kind: str, byte_fallback: bool) -> None:
    settings = {"kind": kind, "byte_fallback": byte_fallback, "vocab_size": 326 if byte_fallback else 70}
    tokenizer = load(build(tmp_path, [*SENTENCES, "if a<b and b>0x41: </unk>"] * 50, **settings))
    assert (tokenizer.facts.kind, tokenizer.has_bytes) == (kind, byte_fallback)
    read = theirs(tokenizer)
    # theirs finds a control symbol in a text whose other readings need <unk>, even when told not to
    for text in TEXTS if kind != "unigram" else set(TEXTS) - {HOSTILE[0]}:
        ids = tokenizer.encode(text)
        assert read.encode(text, add_special_tokens=False).ids == ids, text
        assert read.encode(text).ids == [tokenizer.bos_id, *ids]
        if tokenizer.unk_id not in ids:
            assert read.decode(ids) == text


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "tied"), [("bpe", 0), ("unigram", 10)])
def test_the_same_in_three_hundred_languages(tmp_path: Path, corpora: Path, kind: str, tied: int) -> None:
    """Where two readings are equally likely, a unigram tokenizer of theirs may choose another."""
    with zipfile.ZipFile(corpora / "udhr.zip") as archive:
        files = [name for name in archive.namelist() if not name.endswith("/")]
        text = "\n".join(archive.read(name).decode("utf-8", "ignore") for name in files)
    lines = [line.replace(SPACE_SYMBOL, "") for line in text.splitlines() if line.strip()][::5]
    assert len(lines) > 3000
    tokenizer = load(build(tmp_path, lines[::2], kind=kind, vocab_size=6000))
    read = theirs(tokenizer)
    held_out = lines[1::2]
    found = [read.encode(line, add_special_tokens=False).ids for line in held_out]
    assert sum(ids != tokenizer.encode(line) for ids, line in zip(found, held_out, strict=True)) <= tied
    assert [read.decode(ids) for ids in found] == held_out


@pytest.mark.slow
def test_a_conversation_is_read_as_the_models_data_were(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="of the extra dev")
    tokenizer = load(build(tmp_path / "made"))
    between = '\n"Answer" {{ é \\ 漢 🙂 }} '
    config = tokenizer_config(tokenizer, context_tokens=64, before="Q: ", between=between)
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer_json(tokenizer)))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    read = transformers.AutoTokenizer.from_pretrained(tmp_path)
    turns = [{"role": "user", "content": " Who is\nthere? "}, {"role": "assistant", "content": "Nobody."}]
    turns.append({"role": "user", "content": "I see."})
    text = read.apply_chat_template(turns, tokenize=False)
    assert text == f"<s>Q: Who is there?\nNobody.\nI see.{between}"
    ids = read.apply_chat_template(turns, tokenize=True, return_dict=False)
    assert ids == [tokenizer.bos_id, *tokenizer.encode(text.removeprefix("<s>"))]
    assert read("The cat").input_ids == [tokenizer.bos_id, *tokenizer.encode("The cat")]
    named = tokenizer_config(tokenizer, context_tokens=64, speakers=("USER", 'The "SYSTEM"'))["chat_template"]
    text = read.apply_chat_template(turns, tokenize=False, chat_template=named)
    assert text == '<s>USER: Who is there?\nThe "SYSTEM": Nobody.\nUSER: I see.\nThe "SYSTEM":\n'
    assert (read.eos_token_id, read.pad_token_id, read.model_max_length) == (tokenizer.eos_id, tokenizer.pad_id, 64)
    assert read.decode(read("The cat").input_ids, skip_special_tokens=True) == "The cat"
