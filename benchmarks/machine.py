"""What the results say of the machine they were measured on."""

from __future__ import annotations

import platform
from pathlib import Path

_OF_MATRICES = {"avx512_bf16", "amx_bf16", "avx512f", "avx2"}


def processor() -> str:
    """The processor's name."""
    return _facts().get("model name") or platform.processor() or platform.machine()


def instructions() -> list[str]:
    """Of the instructions that decide how fast matrices are multiplied, those that the processor has."""
    return sorted(_OF_MATRICES & set(_facts().get("flags", "").split()))


def _facts() -> dict[str, str]:
    """What Linux says of the last of its processors, which are alike; nothing elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {}
    facts = (line.split(":", 1) for line in lines if ":" in line)
    return {name.strip(): value.strip() for name, value in facts}
