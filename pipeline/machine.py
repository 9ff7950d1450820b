"""What of the machine this process may use: processors and memory, within the limits of its container.

A container sees all processors and all memory of its host; what it may use of them is written in its control groups
(https://docs.kernel.org/admin-guide/cgroup-v2.html, and cgroup-v1/). A limit of a group holds for the groups below it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_GROUPS, _OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def num_processors() -> int:
    """Processors this process may use, second threads of a core included."""
    present = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(present, processor_quota())))


def processor_quota() -> float:
    """Processors' worth of time that its control groups grant, infinity where they set no limit."""
    quotas = [math.inf]
    for folder, is_v1 in _groups("cpu"):
        with suppress(OSError, ValueError):  # no such file where there is no such limit
            if is_v1:
                quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
                period = int((folder / "cpu.cfs_period_us").read_text(encoding="utf-8"))
            else:
                quota, period = map(int, (folder / "cpu.max").read_text(encoding="utf-8").split())  # `max 100000`: none
            if quota > 0 and period > 0:
                quotas.append(quota / period)
    return min(quotas)


def usable_memory_bytes() -> int:
    """Memory this process may use, with all others of its container."""
    import psutil  # where memory matters, not at every command's start

    limits = [psutil.virtual_memory().total]
    for folder, is_v1 in _groups("memory"):
        with suppress(OSError, ValueError):  # `max`: none
            limits.append(
                int((folder / ("memory.limit_in_bytes" if is_v1 else "memory.max")).read_text(encoding="utf-8"))
            )
    return min(limits)


def _groups(controller: str) -> Iterator[tuple[Path, bool]]:
    """This process's groups for a controller and those above them, and whether they are of the first version."""
    try:
        lines = _OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, names, path = line.split(":", 2)
        is_v1 = bool(names)
        if is_v1 and controller not in names.split(","):
            continue
        # the first version has a tree a controller; of the path, a container may see only the end, at the root of the tree
        root = _GROUPS / controller if is_v1 else _GROUPS
        for folder in (own := PurePosixPath(path), *own.parents):
            yield root / folder.relative_to("/"), is_v1
