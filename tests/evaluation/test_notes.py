"""What an evaluation says of a training that went on for too long."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.evaluation.build import known_by_heart


def trained(**counts: Any) -> Any:
    return SimpleNamespace(manifest=SimpleNamespace(counts={"steps": 1_200, "least_validation_step": 600, **counts}))


def test_a_validation_loss_that_rose_again_is_told_with_its_step() -> None:
    (note,) = known_by_heart(trained(least_validation_loss=3.0561, final_validation_loss=3.833))
    assert note.startswith("Its validation loss was least at step 600 of 1,200 (3.056) and is 3.833 at the end")


@pytest.mark.parametrize(
    "counts",
    [
        {"least_validation_loss": 3.0, "final_validation_loss": 3.04},  # within the noise of a validation
        {"least_validation_loss": 3.0, "final_validation_loss": 3.0},
        {"final_validation_loss": 3.0},  # of an n-gram model, which has no steps
    ],
)
def test_one_that_did_not_is_not(counts: dict[str, Any]) -> None:
    assert known_by_heart(trained(**counts)) == []
