"""Freed memory is kept by a process that asks for it, as workers do for each part, and by nobody whose user says otherwise."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

COUNTING = """
import mmap, resource, sys
import numpy as np
from pipeline.engine.attempt import attempt
from pipeline.environment import keep_memory

if sys.argv[1] == "keep":
    keep_memory()
elif sys.argv[1] == "work on a part":
    attempt(abs, 1)
faults = []
for _ in range(21):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [np.ones(375_000) for _ in range(20)]  # of 3 MB: for 4 MB or more NumPy asks for huge pages
    del blocks
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sum(faults[1:]) / (20 * 20 * 3e6 / mmap.PAGESIZE))
"""


def fraction_of_pages_asked_for_again(word: str, **variables: str) -> float:
    own = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, word], env={**own, **variables}, check=True, capture_output=True, text=True
    )
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such settings")
def test_a_block_that_is_freed_is_there_for_the_next_one() -> None:
    assert fraction_of_pages_asked_for_again("keep") < 0.01
    assert fraction_of_pages_asked_for_again("work on a part") < 0.01
    assert fraction_of_pages_asked_for_again("do not keep") > 0.5
    assert (
        fraction_of_pages_asked_for_again("keep", MALLOC_MMAP_THRESHOLD_="65536", MALLOC_TRIM_THRESHOLD_="65536") > 0.5
    )
