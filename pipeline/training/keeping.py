"""Which checkpoints stay: the newest, every n-th, the best. Imports no torch, so that whoever starts training may ask too."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Which checkpoints stay when a new one is saved."""

    newest: int
    every_steps: int | None = None
    """Those at multiples of this."""
    best: bool = False
    """The one with the least validation loss."""

    def kept(self, checkpoints: list[Path]) -> set[Path]:
        """Of these, by age."""
        found = set(checkpoints[len(checkpoints) - self.newest :] if self.newest < len(checkpoints) else checkpoints)
        if self.every_steps is not None:
            found |= {path for path in checkpoints if int(path.name.removeprefix("step-")) % self.every_steps == 0}
        if self.best:
            found |= set(by_validation(checkpoints)[:1])
        return found


def by_validation(checkpoints: list[Path]) -> list[Path]:
    """Those that were validated, the one with the least loss first, of equal ones the oldest."""
    losses = {path: loss for path in checkpoints if (loss := _validation_loss(path)) is not None}
    return sorted(losses, key=lambda path: (losses[path], path))


def _validation_loss(path: Path) -> float | None:
    try:
        loss: float | None = json.loads((path / "manifest.json").read_text(encoding="utf-8"))["validation_loss"]
    except (OSError, ValueError, KeyError):
        return None
    return loss
