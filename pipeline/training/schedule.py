"""The learning rate over a run: linear warm-up, plateau, linear cooldown to zero (Hägele et al. 2024, arXiv 2405.18392)."""

from __future__ import annotations


def learning_rate_scale(step: int, *, num_steps: int, warmup_fraction: float, cooldown_fraction: float) -> float:
    """What every learning rate is multiplied with at a step, counted from 0; in (0, 1].

    >>> [learning_rate_scale(s, num_steps=10, warmup_fraction=0.2, cooldown_fraction=0.5) for s in (0, 1, 4, 5, 9)]
    [0.5, 1.0, 1.0, 1.0, 0.2]
    """
    warmup, cooldown = warmup_fraction * num_steps, cooldown_fraction * num_steps
    rising = (step + 1) / warmup if warmup else 1.0
    falling = (num_steps - step) / cooldown if cooldown else 1.0
    return min(1.0, rising, falling)
