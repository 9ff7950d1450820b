"""A conversation is asked for as the model's data were, and a turn is one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluation.pair_model import PairModel
from pipeline.serving.chat import reply


class Pairs(PairModel):
    """Keeps what it is asked."""

    def __init__(self, speakers: tuple[str, str] | None = None) -> None:
        self.asked: list[str] = []
        self.speakers = speakers

    def answer(self, texts: Sequence[str], settings: Mapping[str, Any] | None = None) -> list[str]:
        self.asked += texts
        return [" a first line\nand a second"]


class Continuing:
    def answer(self, texts: Sequence[str], settings: Mapping[str, Any] | None = None) -> list[str]:
        return [f"after {texts[0]!r}\nand on"]


def test_all_turns_so_far_are_the_text_a_line_each() -> None:
    writer = Pairs()
    assert reply(writer, ["hello", "hi", "how\nare you "]) == "a first line"
    assert writer.asked == ["hello\nhi\nhow are you"]


def test_turns_have_the_names_that_they_have_in_the_data() -> None:
    writer = Pairs(speakers=("USER", "SYSTEM"))
    reply(writer, ["A cab.", "Where to?", "Home."])
    assert writer.asked == ["USER: A cab.\nSYSTEM: Where to?\nUSER: Home.\nSYSTEM:"]


def test_a_model_that_goes_on_with_texts_is_stopped_at_its_lines_end() -> None:
    writer: Any = Continuing()
    assert reply(writer, ["hello", "hi"]) == "after 'hello\\nhi\\n'"
