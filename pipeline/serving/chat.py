"""The next turn of a conversation: the turns so far are the text, asked for as the model's data were.

In: a model ready to answer, and turns. Out: its turn. A model of pairs reads the turns, a line each, through its dataset's
template (too many of them are cut at the end that the dataset names); one that goes on with texts stops at its first line's end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.evaluation.pair_model import PairModel, TextModel


def reply(writer: TextModel | PairModel, turns: Sequence[str], settings: Mapping[str, Any] | None = None) -> str:
    """What the model says after these turns.

    Raises:
        ValueError: a setting that does not exist or cannot be.
    """
    from pipeline.evaluation.pair_model import PairModel

    said = "\n".join(turn.replace("\n", " ").strip() for turn in turns)
    if isinstance(writer, PairModel):
        (text,) = writer.answer([said], settings)
    else:
        (text,) = writer.answer([said + "\n"], settings)
    return next(iter(text.strip().splitlines()), "")
