"""The learning rate over a run, after a linear warm-up: a plateau and a linear cooldown to zero (Hägele et al. 2024, arXiv
2405.18392), or half a cosine to zero (Loshchilov & Hutter 2017, arXiv 1608.03983)."""

from __future__ import annotations

import math


def learning_rate_scale(
    step: int, *, num_steps: int, warmup_fraction: float, cooldown_fraction: float, schedule: str = "wsd"
) -> float:
    """What every learning rate is multiplied with at a step, counted from 0; in (0, 1].

    >>> [learning_rate_scale(s, num_steps=10, warmup_fraction=0.2, cooldown_fraction=0.5) for s in (0, 1, 4, 5, 9)]
    [0.5, 1.0, 1.0, 1.0, 0.2]
    >>> [
    ...     round(learning_rate_scale(s, num_steps=6, warmup_fraction=1 / 3, cooldown_fraction=0, schedule="cosine"), 3)
    ...     for s in range(6)
    ... ]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    warmup, cooldown = warmup_fraction * num_steps, cooldown_fraction * num_steps
    rising = (step + 1) / warmup if warmup else 1.0
    if schedule == "cosine":
        done = max(0.0, (step - warmup) / (num_steps - warmup))
        return min(1.0, rising, (1 + math.cos(math.pi * done)) / 2)
    falling = (num_steps - step) / cooldown if cooldown else 1.0
    return min(1.0, rising, falling)
