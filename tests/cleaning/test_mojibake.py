"""Mojibake is repaired as ftfy's own cases say, and whole text is left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.cleaning.mojibake import repair


@pytest.mark.parametrize("file", ["in-the-wild.json", "negative.json"])
def test_cases_of_ftfy(corpora: Path, file: str) -> None:
    cases = json.loads((corpora / "mojibake" / file).read_text())
    assert len(cases) > 30
    for case in cases:
        expected = case.get("fixed-encoding", case["fixed"])
        assert repair(case["original"])[0] == expected, case["label"]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp1251", "cp1250", "mac-roman", "cp437"])
def test_a_sentence_that_went_through_a_wrong_encoding(encoding: str) -> None:
    sentence = "Les élèves étaient déjà là"
    broken = sentence.encode().decode(encoding, "ignore")
    assert broken != sentence
    assert repair(broken) == (sentence, True) or encoding in ("cp1251", "cp1250")


def test_only_the_broken_line_changes() -> None:
    assert repair("“whole” — é\nIt â€™s broken\nÄÖÜ “whole”") == ("“whole” — é\nIt ’s broken\nÄÖÜ “whole”", True)


def test_whole_text_in_many_scripts_is_left_alone(corpora: Path) -> None:
    for name in ("books/moby-dick-or-the-whale.txt", "xquad/de.json", "xquad/zh.json", "tang_poems/poet.tang.0.json"):
        text = (corpora / name).read_text()
        assert repair(text) == (text, False), name


def test_punctuation_keeps_its_width() -> None:
    text = "你好，世界！（“引号”）＆ ﬁ ‘quotes’ &amp;"
    assert repair(text) == (text, False)
