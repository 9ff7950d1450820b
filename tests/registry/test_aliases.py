"""The champion alias goes back to whom it was taken from."""

from __future__ import annotations

import pytest

from pipeline.registry.aliases import Move, previous_holder

ALL = {"1", "2", "3", "4"}


def moves(*steps: tuple[str, str | None, str]) -> list[Move]:
    return [
        Move(action=action, from_version=before, to_version=after, reason="", decision=None, time="", done=True)
        for action, before, after in steps
    ]


UP_TO_THREE = (("gate", None, "1"), ("gate", "1", "2"), ("promote", "2", "3"))


@pytest.mark.parametrize(
    ("steps", "now", "expected"),
    [
        ((), None, None),
        (UP_TO_THREE[:1], "1", None),
        (UP_TO_THREE, "3", "2"),
        ((*UP_TO_THREE, ("rollback", "3", "2")), "2", "1"),
        ((*UP_TO_THREE, ("rollback", "3", "2"), ("rollback", "2", "1")), "1", None),
        ((*UP_TO_THREE, ("rollback", "3", "2"), ("gate", "2", "4")), "4", "2"),
        ((("gate", None, "1"), ("gate", "1", "2"), ("promote", "2", "1")), "1", "2"),
    ],
)
def test_the_previous_holder_is_the_one_before_on_the_stack(
    steps: tuple[tuple[str, str | None, str], ...], now: str | None, expected: str | None
) -> None:
    assert previous_holder(moves(*steps), now, ALL) == expected


def test_a_version_that_was_deleted_is_passed_over() -> None:
    assert previous_holder(moves(*UP_TO_THREE), "3", {"1", "3"}) == "1"


def test_an_alias_moved_from_outside_goes_back_to_the_last_one_on_record() -> None:
    assert previous_holder(moves(*UP_TO_THREE), "4", ALL) == "3"


def test_a_move_that_was_announced_and_never_made_counts_for_nothing() -> None:
    announced = Move(action="gate", from_version="3", to_version="4", reason="", decision=None, time="", done=False)
    assert previous_holder([*moves(*UP_TO_THREE), announced], "3", ALL) == "2"
    assert previous_holder([*moves(*UP_TO_THREE), announced], "4", ALL) == "3"  # made, and killed before it was marked
