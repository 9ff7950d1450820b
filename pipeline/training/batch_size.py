"""How many rows a step reads: all, or fewer in the first steps, as a pure function of the step.

Early on a small batch is as good a step as a large one, so the same tokens give more steps (Smith et al. 2017, arXiv
1711.00489; Merrill et al. 2025, arXiv 2505.23971, who double it): a quarter of the rows for the first half of the warm-up, half
of them for the second. Two doublings: a compiler makes a program for each size.
"""

from __future__ import annotations

from dataclasses import dataclass

WARMUP_SAVES = 0.625
"""Part of the warm-up's rows that are left out: half of it at 3/4, half at 1/2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSizes:
    """Rows by step.

    >>> sizes = BatchSizes(rows=8, warmup_steps=4)
    >>> [sizes.of(step) for step in range(6)], [sizes.before(step) for step in range(6)]
    ([2, 2, 4, 4, 8, 8], [0, 2, 4, 8, 12, 20])
    """

    rows: int
    warmup_steps: int = 0

    def of(self, step: int) -> int:
        """Rows of a step, counted from 0."""
        if step >= self.warmup_steps:
            return self.rows
        return self._quarter if 2 * step < self.warmup_steps else self._half

    def before(self, step: int) -> int:
        """Rows of all steps before this one: where it begins in the order of the data."""
        quarters = min(step, -(-self.warmup_steps // 2))
        halves = min(step, self.warmup_steps) - quarters
        return quarters * self._quarter + halves * self._half + (step - quarters - halves) * self.rows

    @property
    def _quarter(self) -> int:
        return max(1, self.rows // 4)

    @property
    def _half(self) -> int:
        return max(1, self.rows // 2)


def steps_for(rows: float, *, batch_rows: int, warmup_fraction: float) -> int:
    """Steps that read about so many rows when this part of them is warm-up; at least 1."""
    return max(1, round(rows / (batch_rows * (1 - WARMUP_SAVES * warmup_fraction))))
