"""A docstring gives its summary to be written from the rest, and its parameters to be asked for."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from pipeline.ingestion.docstring_pairs import PairKind, docstring_pairs, parameters, sections
from pipeline.ingestion.items import Document, Rejected
from pipeline.ingestion.packages import find_package
from pipeline.ingestion.python_docs import read_docstring_pairs

BODY = (
    "It takes what it is given and turns it round, piece by piece, until nothing is left of what was there before. " * 2
)

MODULE = f'''
class Wheel:
    """Something that turns."""

    def turn(self, angle, *rest):
        """
        Turn the wheel by
        an angle.

        {BODY}

        Parameters
        ----------
        angle : float, optional
            How far to turn,
            in degrees of a circle.

        x, y : int
            Where the axis of the wheel stands.
        *rest
            Short.

        Returns
        -------
        wheel : Wheel
            The wheel after it was turned by the angle.

        Other Parameters
        ----------------
        speed : {{"slow", "fast"}}
            Whether it turns slowly or fast.
        """

def short():
    """Do it.

    Briefly."""

def signature(x):
    """signature(x, /) -> int

    {BODY}"""

def _private():
    """Turn the private wheel round.

    {BODY}"""
'''


def pairs(kind: PairKind) -> list[tuple[str, str, str, str]]:
    found = docstring_pairs("machines", ast.parse(MODULE), kind)
    return [(pair.title, pair.text, pair.target, pair.group) for pair in found]


def test_the_summary_is_to_be_written_from_the_body() -> None:
    ((title, text, target, _),) = pairs("summaries")
    assert title == "machines.Wheel.turn"
    assert target == "Turn the wheel by an angle."
    assert text.startswith(BODY.strip())
    assert text.endswith("Whether it turns slowly or fast.")


def test_each_parameter_is_asked_for_with_what_describes_it() -> None:
    found = pairs("parameters")
    assert [target for _, _, target, _ in found] == [
        "How far to turn, in degrees of a circle.",
        "Where the axis of the wheel stands.",
        "Whether it turns slowly or fast.",
    ]
    assert len({group for _, _, _, group in found}) == 1
    _, text, _, _ = found[0]
    assert text.startswith(
        "machines.Wheel.turn\n\nTurn the wheel by an angle.\n\nParameters\nangle : float, optional\n"
    )
    assert text.endswith("\n\nWhat does parameter angle of turn mean?")
    assert "in degrees of a circle" in text
    assert "Returns" not in text


def test_sections_and_parameters_are_told_by_their_form() -> None:
    text = "Sum.\n\nParameters\n----------\nx : int\n    One.\n    Two.\n**kwds\n\n    Three.\nodd line here\n    Four.\n\nNotes\n=====\nNo."
    found = sections(text)
    assert list(found) == ["Parameters", "Notes"]
    assert parameters(found["Parameters"]) == {"x": "One. Two.", "**kwds": "Three."}


@pytest.mark.parametrize(("kind", "at_least"), [("summaries", 600), ("parameters", 1500)])
@pytest.mark.slow
def test_a_real_package_gives_pairs(kind: PairKind, at_least: int) -> None:
    items = list(read_docstring_pairs(find_package("numpy"), kind, Counter()))
    documents = [item for item in items if isinstance(item, Document)]
    assert len(documents) > at_least
    assert not [item for item in items if isinstance(item, Rejected)]
    assert all(document.target and document.target.strip() for document in documents)
    if kind == "parameters":
        found = {document.text.rpartition("\n\n")[2]: document.target for document in documents}
        expected = (
            "If this is set to True, the axes which are normed over are left in the result as dimensions with size one."
        )
        assert found["What does parameter keepdims of norm mean?"].startswith(expected)


def test_a_file_that_does_not_parse_is_a_reject(tmp_path: Path) -> None:
    package = tmp_path / "machines"
    package.mkdir()
    (package / "a.py").write_text(MODULE)
    (package / "b.py").write_text("def (:\n")
    *documents, reject = read_docstring_pairs(package, "summaries", Counter())
    assert [document.title for document in documents if isinstance(document, Document)] == ["machines.a.Wheel.turn"]
    assert isinstance(reject, Rejected)
    assert reject.reason == "invalid_python"
