"""A tokenizer as Hugging Face's `tokenizer.json` and `tokenizer_config.json`: `AutoTokenizer.from_pretrained` gives equal ids,
with BOS before a text, as models here read it.

In: a tokenizer that `is_exact`. Out: two JSON values. Spaces become U+2581 and nothing else is changed before pieces
are looked for; what no piece holds is spelt in bytes. Merges of BPE are the pairs of pieces that make a piece, in the order in
which SentencePiece learnt them.

What cannot be said in these files: a text that spells out a control symbol (`</s>`) is read as that symbol unless
`split_special_tokens` is set; U+2581 in a text is read as a space; of two readings that a `unigram` tokenizer finds equally
likely, the other may be taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.tokenizer.model import SPACE_SYMBOL, Tokenizer

_NEVER = -1e6
"""A log-probability far below that of any reading of a text."""


def is_exact(tokenizer: Tokenizer) -> bool:
    """Whether these files can say what it does: one of words, or one that changes a text first, has no such form."""
    return tokenizer.facts.is_plain and tokenizer.facts.kind != "word"


def tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """The content of `tokenizer.json`, as the library `tokenizers` writes it."""
    assert is_exact(tokenizer), "others have no such form"
    pieces = tokenizer.pieces(range(tokenizer.vocab_size))
    controls = [token for token in range(tokenizer.vocab_size) if tokenizer.is_control(token)]
    if not tokenizer.has_bytes:  # else no text is unknown, and one that spells <unk> out is text
        controls.append(tokenizer.unk_id)
    bos = pieces[tokenizer.bos_id]
    text: dict[str, Any] = {"Sequence": {"id": "A", "type_id": 0}}
    second: dict[str, Any] = {"Sequence": {"id": "B", "type_id": 0}}
    adds_space = tokenizer.facts.adds_space
    begins = [{"type": "Prepend", "prepend": SPACE_SYMBOL}] if adds_space else []
    ends = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if adds_space else []
    begin: dict[str, Any] = {"SpecialToken": {"id": bos, "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(token, pieces[token]) for token in sorted(controls)],
        "normalizer": _sequence("normalizers", [*begins, _replace(" ", SPACE_SYMBOL)]),
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, text],
            "pair": [begin, text, second],
            "special_tokens": {bos: {"id": bos, "ids": [tokenizer.bos_id], "tokens": [bos]}},
        },
        "decoder": _sequence(
            "decoders", [_replace(SPACE_SYMBOL, " "), {"type": "ByteFallback"}, {"type": "Fuse"}, *ends]
        ),
        "model": _unigram(tokenizer, pieces) if tokenizer.facts.kind == "unigram" else _bpe(tokenizer, pieces),
    }


def tokenizer_config(
    tokenizer: Tokenizer,
    *,
    context_tokens: int,
    before: str = "",
    between: str = "\n",
    speakers: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The content of `tokenizer_config.json`. A conversation is read as `textmill chat` reads it: a line a turn, after the name
    of its speaker where the model's data have names, within what they have `before` a text and `between` it and its target."""
    roles = {"bos_token": tokenizer.bos_id, "eos_token": tokenizer.eos_id, "pad_token": tokenizer.pad_id}
    if not tokenizer.has_bytes:
        roles["unk_token"] = tokenizer.unk_id
    controls = [token for token in range(tokenizer.vocab_size) if tokenizer.is_control(token)]
    others = [token for token in controls if token not in roles.values()]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **dict(zip(roles, tokenizer.pieces(list(roles.values())), strict=True)),
        "additional_special_tokens": tokenizer.pieces(others),
        "clean_up_tokenization_spaces": False,
        "model_max_length": context_tokens,
        "chat_template": _chat_template(before, between, speakers),
    }


def _chat_template(before: str, between: str, speakers: Sequence[str] | None) -> str:
    name = last = ""
    if speakers is not None:
        first, second = map(_jinja_string, speakers)
        name = f"{{{{ [{first}, {second}][loop.index0 % 2] }}}}: "
        last = f"{{{{ '\\n' ~ {second} }}}}:"
    return (
        "{{ bos_token }}{{ " + _jinja_string(before) + " }}"
        "{% for message in messages %}"
        f"{name}{{{{ message['content'] | replace('\\n', ' ') | trim }}}}{{% if not loop.last %}}{{{{ '\\n' }}}}{{% endif %}}"
        "{% endfor %}" + last + "{{ " + _jinja_string(between) + " }}"
    )


def _sequence(key: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "Sequence", key: parts}


def _replace(found: str, by: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": found}, "content": by}


def _added(token: int, piece: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": token, "content": piece, **flags, "special": True}


def _unigram(tokenizer: Tokenizer, pieces: list[str]) -> dict[str, Any]:
    """What no text spells has a score so low that no text is read as it."""
    scores = tokenizer.scores()
    for token in range(len(pieces)):
        if not _is_text(tokenizer, token):
            scores[token] = _NEVER
    return {
        "type": "Unigram",
        "unk_id": tokenizer.unk_id,
        "vocab": [list(entry) for entry in zip(pieces, scores, strict=True)],
        "byte_fallback": tokenizer.has_bytes,
    }


def _bpe(tokenizer: Tokenizer, pieces: list[str]) -> dict[str, Any]:
    """`char` is BPE without merges."""
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": pieces[tokenizer.unk_id],
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": not tokenizer.has_bytes,
        "byte_fallback": tokenizer.has_bytes,
        "ignore_merges": False,
        "vocab": {piece: token for token, piece in enumerate(pieces)},
        "merges": _merges(tokenizer, pieces) if tokenizer.facts.kind == "bpe" else [],
    }


def _merges(tokenizer: Tokenizer, pieces: list[str]) -> list[list[str]]:
    scores = tokenizer.scores()
    is_text = [_is_text(tokenizer, token) for token in range(len(pieces))]
    known = {piece for piece, found in zip(pieces, is_text, strict=True) if found}
    learnt = [token for token, found in enumerate(is_text) if found and len(pieces[token]) > 1]
    learnt.sort(key=lambda token: (-scores[token], token))
    return [
        [pieces[token][:cut], pieces[token][cut:]]
        for token in learnt
        for cut in range(1, len(pieces[token]))
        if pieces[token][:cut] in known and pieces[token][cut:] in known
    ]


def _is_text(tokenizer: Tokenizer, token: int) -> bool:
    return not (tokenizer.is_byte(token) or tokenizer.is_control(token) or token == tokenizer.unk_id)


def _jinja_string(text: str) -> str:
    escaped = text.encode("unicode_escape").decode("ascii").replace('"', '\\"')
    return f'"{escaped}"'
