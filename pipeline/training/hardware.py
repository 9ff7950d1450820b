"""What the machine offers: device, precision, compilation, threads; decided once a run and kept in its checkpoints."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.errors import TrainingError

PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}
"""Dense bfloat16 FLOP/s by device name: NVIDIA's data sheets, without sparsity."""
SECONDS_WORTH_COMPILING = 60.0
_ASSUMED_CPU_FLOPS, _ASSUMED_GPU_FLOPS = 6e10, 1e14


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """Everything about the machine that changes bits; JSON values."""

    device: str
    precision: str
    compiled: bool
    num_threads: int

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32


def choose_hardware(*, device: str, precision: str, compile: str, total_flops: float) -> Hardware:  # noqa: A002
    """Turns `auto` into what this machine is best at.

    Raises:
        TrainingError: CUDA is asked for and not there, or a compiler is and not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("models.*.train.device is cuda, but torch sees no CUDA device. Set it to auto or cpu.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "auto":
        precision = "bfloat16" if device == "cuda" or _cpu_has_bfloat16() else "float32"
    has_compiler = device == "cuda" or any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++"))
    if compile == "on" and not has_compiler:
        raise TrainingError(
            "models.*.train.compile is on, but there is no C++ compiler (g++). Install one or set it to auto."
        )
    assumed = _ASSUMED_GPU_FLOPS if device == "cuda" else _ASSUMED_CPU_FLOPS
    is_worth_it = total_flops / assumed > SECONDS_WORTH_COMPILING
    return Hardware(
        device=device,
        precision=precision,
        compiled=compile == "on" or (compile == "auto" and has_compiler and is_worth_it),
        num_threads=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    )


def peak_flops(device: str) -> float | None:
    """The device's published bfloat16 peak, or None where it is not known."""
    if device != "cuda":
        return None
    name = torch.cuda.get_device_name()
    return next((peak for known, peak in PEAK_FLOPS.items() if known in name), None)


def _cpu_has_bfloat16() -> bool:
    """AMX or AVX512-BF16: without them bfloat16 products are emulated, and slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags
