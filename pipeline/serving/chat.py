"""The next turn of a conversation: the turns so far are the text, asked for as the model's data were.

In: a model ready to answer, and turns. Out: its turn. A model of pairs reads the turns, a line each, through its dataset's
template (too many of them are cut at the end that the dataset names); where the lines of its data begin with names, so do these.
One that goes on with texts stops at its first line's end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.evaluation.pair_model import PairModel, TextModel


def reply(writer: TextModel | PairModel, turns: Sequence[str], settings: Mapping[str, Any] | None = None) -> str:
    """What the model says after these turns, of which the last is the other's.

    Raises:
        ValueError: a setting that does not exist or cannot be.
    """
    from pipeline.evaluation.pair_model import PairModel

    lines = [turn.replace("\n", " ").strip() for turn in turns]
    if isinstance(writer, PairModel):
        (text,) = writer.answer(["\n".join(_named(lines, writer.speakers))], settings)
    else:
        (text,) = writer.answer(["\n".join(lines) + "\n"], settings)
    return next(iter(text.strip().splitlines()), "")


def _named(lines: Sequence[str], speakers: Sequence[str] | None) -> list[str]:
    """["Hi."], ("USER", "SYSTEM") -> ["USER: Hi.", "SYSTEM:"]"""
    if speakers is None:
        return list(lines)
    return [*(f"{speakers[number % 2]}: {line}" for number, line in enumerate(lines)), f"{speakers[1]}:"]
