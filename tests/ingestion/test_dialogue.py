"""Turns of conversations become pairs of what was said so far and what is said next."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.file_sources import DialogueSource
from pipeline.ingestion.dialogue import read_dialogue
from pipeline.ingestion.items import Document, Rejected


def read(folder: Path, records: list[Any], **settings: Any) -> list[Document | Rejected]:
    path = folder / "talks.jsonl"
    path.write_text("\n".join(json.dumps(record) for record in records))
    return list(read_dialogue(path, DialogueSource(reader="dialogue", path="x", **settings), Counter()))


def pairs(items: list[Document | Rejected]) -> list[tuple[str, str | None]]:
    return [(item.text, item.target) for item in items if isinstance(item, Document)]


def test_each_turn_follows_those_before_it(tmp_path: Path) -> None:
    items = read(tmp_path, [{"turns": ["你好", "你好！", "再见"]}, {"turns": ["a", "b"]}])
    assert pairs(items) == [("你好", "你好！"), ("你好\n你好！", "再见"), ("a", "b")]
    assert [item.index for item in items] == [0, 1, 2]
    first, second, third = (item.group for item in items if isinstance(item, Document))
    assert first == second != third


def test_speakers_begin_lines_and_the_text_ends_with_who_speaks_next(tmp_path: Path) -> None:
    turns = [["USER", "Hi."], ["SYSTEM", "Hello.\nYes?"], ["USER", "A cab."], ["SYSTEM", "Sure."]]
    expected = [
        ("USER: Hi.\nSYSTEM:", "Hello. Yes?"),
        ("USER: Hi.\nSYSTEM: Hello. Yes?\nUSER: A cab.\nSYSTEM:", "Sure."),
    ]
    assert pairs(read(tmp_path, [{"turns": turns}], speakers=["SYSTEM"])) == expected
    as_objects = [{"who": speaker, "says": text} for speaker, text in turns]
    settings = {"turns": "talk.turns", "text": "says", "speaker": "who", "speakers": ["SYSTEM"]}
    assert pairs(read(tmp_path, [{"talk": {"turns": as_objects}}], **settings)) == expected
    assert pairs(read(tmp_path, [{"turns": turns}], max_turns=1))[2] == ("USER: A cab.\nSYSTEM:", "Sure.")


def test_a_text_with_a_turn_a_line_is_a_conversation(tmp_path: Path) -> None:
    items = read(tmp_path, [{"dialogue": "#Person1#: Hello.\n\n#Person2#: Hi."}], turns="dialogue")
    assert pairs(items) == [("#Person1#: Hello.", "#Person2#: Hi.")]


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        ([1], "wrong_type", "Line 2: It is no JSON object."),
        ({"text": "a"}, "missing_text", "Line 2: The field 'turns' holds no list of turns."),
        ({"turns": ["a"]}, "too_few_turns", "Line 2: It has 1 turns; a pair needs 2."),
        ({"turns": ["a", 2]}, "wrong_type", "Line 2: Its turn 2 is neither a text nor a speaker with a text."),
        ({"turns": ["a", {"text": None}]}, "wrong_type", "Line 2: Its turn 2 is neither"),
    ],
)
def test_what_is_no_conversation_is_a_reject(tmp_path: Path, record: Any, reason: str, detail: str) -> None:
    _, reject, after = read(tmp_path, [{"turns": ["a", "b"]}, record, {"turns": ["c", "d"]}])
    assert isinstance(reject, Rejected)
    assert (reject.index, reject.reason, reject.detail[: len(detail)]) == (1, reason, detail)
    assert isinstance(after, Document)
    assert after.index == 2


def test_speakers_that_say_nothing_are_a_reject_with_those_who_do(tmp_path: Path) -> None:
    records = [{"turns": [["USER", "Hi."], ["SYSTEM", "Hello."]]}, {"turns": ["a", "b"]}]
    named, unnamed = read(tmp_path, records, speakers=["system"])
    assert isinstance(named, Rejected) and isinstance(unnamed, Rejected)
    assert named.reason == unnamed.reason == "no_such_speaker"
    assert named.detail == "Line 1: None of its turns after the first is said by system; USER and SYSTEM speak."
    assert unnamed.detail.endswith("said by system; no turn names its speaker.")


def test_real_conversations_are_read_whole(corpora: Path) -> None:
    facts: Counter[str] = Counter()
    source = DialogueSource(reader="dialogue", path="x")
    items = list(read_dialogue(corpora / "dialogue" / "kdconv_dev_film.jsonl", source, facts))
    talks = [json.loads(line) for line in (corpora / "dialogue" / "kdconv_dev_film.jsonl").read_text().splitlines()]
    assert facts["conversations"] == len(talks) == len({item.group for item in items if isinstance(item, Document)})
    assert len(items) == sum(len(talk["turns"]) - 1 for talk in talks)
    assert pairs(items)[0] == (talks[0]["turns"][0], talks[0]["turns"][1])
    source = DialogueSource(reader="dialogue", path="x", speakers=["SYSTEM"])
    answers = pairs(list(read_dialogue(corpora / "dialogue" / "sgd_dev_350.jsonl", source, Counter())))
    assert answers[0] == (
        "USER: Give me the weather update for the 1st of March 2019 please.\nSYSTEM:",
        "Sure, for which city?",
    )
    assert all(text.endswith("\nSYSTEM:") for text, _ in answers)
