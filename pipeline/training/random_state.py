"""Every random generator's state, as tensors and JSON values; and what a step draws (dropout), set by the seed and the step.

A step that was given up half way is done again with the same draws, wherever its checkpoint was saved.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor


def seed_all(seed: int) -> None:
    """One seed for Python's, NumPy's and torch's global generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Torch's generators, set anew from the run's seed and the step's number; each of several processes draws its own."""
    words = [seed, step, rank] if rank else [seed, step]
    torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1)[0]))


def capture(device: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The states of torch's generators, and of Python's and NumPy's."""
    tensors = {"cpu": torch.get_rng_state()}
    if device == "cuda":
        tensors["cuda"] = torch.cuda.get_rng_state()
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return tensors, {
        "python": [version, list(numbers), gauss],
        "numpy": [name, [int(key) for key in keys], position, has_gauss, cached],
    }


def restore(tensors: dict[str, Tensor], values: dict[str, Any], device: str) -> None:
    """The inverse of `capture`."""
    torch.set_rng_state(tensors["cpu"])
    if device == "cuda" and "cuda" in tensors:
        torch.cuda.set_rng_state(tensors["cuda"])
    version, numbers, gauss = values["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, position, has_gauss, cached = values["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
