"""Conversations in JSON: each turn that follows others is a pair, the turns before it and what is said next.

In: JSON Lines, an array or one object a file, whose records hold a list of turns (`turns: a.b` is `b` within `a`): texts, pairs
of speaker and text, or objects; or one text with a turn a line. Out: a document for each turn from the second on; its text is the
conversation so far, a line a turn, and its target the turn. Where speakers are named, a line begins with its speaker, and the
text ends with the name of who speaks next. The turns of a conversation are a group, which no split parts.
Trade-off: a conversation of n turns is written n times, each time a turn longer; `max_turns` bounds it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.config.file_sources import DialogueSource
from pipeline.ingestion.fields import value_of
from pipeline.ingestion.items import Document, Rejected
from pipeline.ingestion.json_documents import read_records
from pipeline.records import document_id

Turn = tuple[str | None, str]
"""Speaker and text."""


class _BadTurns(Exception):
    """A record that holds no conversation."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def read_dialogue(path: Path, config: DialogueSource, facts: Counter[str]) -> Iterator[Document | Rejected]:
    """The file's pairs and rejects, numbered in their order.

    Raises:
        FileRejected: the file as a whole cannot be read, see `read_json`.
    """
    numbers = itertools.count()
    for record in read_records(path, facts):
        if isinstance(record, Rejected):
            yield Rejected(
                index=next(numbers),
                reason=record.reason,
                detail=record.detail,
                num_bytes=record.num_bytes,
                excerpt=record.excerpt,
            )
            continue
        try:
            turns = turns_of(record.value, config)
        except _BadTurns as error:
            yield Rejected(
                index=next(numbers),
                reason=error.reason,
                detail=f"{record.where.capitalize()}: {error}",
                num_bytes=len(record.raw.encode("utf-8", "surrogateescape")),
                excerpt=record.raw[:200],
            )
            continue
        facts["conversations"] += 1
        if config.speakers and not any(speaker in config.speakers for speaker, _ in turns[1:]):
            yield Rejected(
                index=next(numbers),
                reason="no_such_speaker",
                detail=f"{record.where.capitalize()}: None of its turns after the first is said by "
                f"{' or '.join(config.speakers)}; {_who_speaks(turns)}.",
                num_bytes=len(record.raw.encode("utf-8", "surrogateescape")),
                excerpt=record.raw[:200],
            )
        yield from _pairs(turns, config, numbers)


def turns_of(value: Any, config: DialogueSource) -> list[Turn]:
    """The turns of a record.

    {"turns": [["USER", "Hi."], ["SYSTEM", "Hello."]]} -> [("USER", "Hi."), ("SYSTEM", "Hello.")]

    Raises:
        _BadTurns: `wrong_type`, `missing_text` or `too_few_turns`.
    """
    if not isinstance(value, dict):
        raise _BadTurns("wrong_type", "It is no JSON object.")
    found = value_of(value, config.turns)
    if isinstance(found, str):
        found = [line for line in found.split("\n") if line.strip()]
    if not isinstance(found, list):
        raise _BadTurns("missing_text", f"The field {config.turns!r} holds no list of turns.")
    turns = [_turn(item, number, config) for number, item in enumerate(found)]
    if len(turns) < 2:
        raise _BadTurns("too_few_turns", f"It has {len(turns)} turns; a pair needs 2.")
    return turns


def _turn(item: Any, number: int, config: DialogueSource) -> Turn:
    if isinstance(item, dict):
        speaker = item.get(config.speaker) if config.speaker is not None else None
        item = [speaker, item.get(config.text)]
    elif isinstance(item, str):
        item = [None, item]
    if not (isinstance(item, list) and len(item) == 2 and isinstance(item[1], str) and isinstance(item[0], str | None)):
        raise _BadTurns("wrong_type", f"Its turn {number + 1} is neither a text nor a speaker with a text.")
    return item[0], " ".join(item[1].split())


def _who_speaks(turns: list[Turn]) -> str:
    """`USER and SYSTEM speak`"""
    names = list(dict.fromkeys(speaker for speaker, _ in turns if speaker))
    return f"{' and '.join(names)} {'speak' if len(names) > 1 else 'speaks'}" if names else "no turn names its speaker"


def _pairs(turns: list[Turn], config: DialogueSource, numbers: Iterator[int]) -> Iterator[Document]:
    lines = [f"{speaker}: {text}" if speaker else text for speaker, text in turns]
    group = document_id("\n".join(lines))
    for place in range(1, len(turns)):
        speaker, text = turns[place]
        if config.speakers and speaker not in config.speakers:
            continue
        before = lines[max(0, place - config.max_turns) : place] if config.max_turns is not None else lines[:place]
        cue = [f"{speaker}:"] if speaker else []
        yield Document(index=next(numbers), text="\n".join(before + cue), target=text, group=group)
