"""What the machine offers: device, precision, compilation, threads, size of a forward pass.

All of it changes the last bits of a result, so it is decided once a run, kept in its checkpoints and used again on resuming.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from pipeline.errors import ConfigurationError, TrainingError
from pipeline.machine import num_processors

PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}
"""Dense bfloat16 FLOP/s by device name: NVIDIA's data sheets, without sparsity."""
SECONDS_WORTH_COMPILING = 60.0
_ASSUMED_CPU_FLOPS, _ASSUMED_GPU_FLOPS = 6e10, 1e14
MICRO_BATCH_TOKENS = {"cpu": 2_048, "cuda": 65_536}
"""Tokens a forward pass at most: on a CPU what keeps the logits near its caches, on a GPU what fills it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """Everything about the machine that changes bits; JSON values."""

    device: str
    precision: str
    compiled: bool
    num_threads: int
    micro_windows: int
    """Windows a forward pass."""
    num_processes: int = 1
    """That train together, each on its rows of a batch."""
    strategy: str = "alone"
    """How they share the work: see `distributed.py`."""

    @property
    def devices(self) -> str:
        """For people: `cuda`, or `8 x cuda (fsdp)`."""
        return self.device if self.num_processes == 1 else f"{self.num_processes} x {self.device} ({self.strategy})"

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32


def choose_hardware(
    *,
    device: str,
    precision: str,
    compile: str,  # noqa: A002
    total_flops: float,
    batch_windows: int,
    micro_windows: int | None,
    context_tokens: int,
    cpu_forward_tokens: int = MICRO_BATCH_TOKENS["cpu"],
    num_processes: int = 1,
    strategy: str = "alone",
) -> Hardware:
    """Turns `auto` into what this machine is best at; the same machine gives the same answer.

    `cpu_forward_tokens` is what a forward pass of the network takes at most on a CPU.

    Raises:
        ConfigurationError: CUDA is asked for and not there, or a compiler is and not there, or a step has too few windows.
    """
    device = choose_device(device)
    if batch_windows < num_processes:
        raise ConfigurationError(
            f"models.*.train.devices is {num_processes}, but a step has {batch_windows} windows of {context_tokens} tokens. "
            f"Raise batch_tokens to {num_processes * context_tokens} or lower devices."
        )
    if precision == "auto":
        precision = "bfloat16" if _has_bfloat16(device) else "float32"
    has_compiler = can_compile(device)
    if compile == "on" and not has_compiler:
        raise ConfigurationError(
            "models.*.train.compile is on, but there is no C++ compiler (g++). Install one or set it to auto."
        )
    largest = cpu_forward_tokens if device == "cpu" else MICRO_BATCH_TOKENS[device]
    assumed = _ASSUMED_GPU_FLOPS if device == "cuda" else _ASSUMED_CPU_FLOPS
    is_worth_it = total_flops / assumed > SECONDS_WORTH_COMPILING
    return Hardware(
        device=device,
        precision=precision,
        compiled=compile == "on" or (compile == "auto" and has_compiler and is_worth_it),
        num_threads=max(1, num_cores() // (num_processes if device == "cpu" else 1)),
        micro_windows=even_share(
            -(-batch_windows // num_processes), micro_windows or max(1, largest // context_tokens)
        ),
        num_processes=num_processes,
        strategy=strategy,
    )


def same_device(device: str) -> Callable[[], None] | None:
    """Gives a thread the GPU of this one, since a new thread's current device is the first; None where there is nothing to do."""
    return partial(torch.cuda.set_device, torch.cuda.current_device()) if device == "cuda" else None


def choose_device(asked: str) -> str:
    """`cpu` or `cuda`.

    Raises:
        ConfigurationError: CUDA is asked for and not there.
    """
    if asked == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("models.*.train.device is cuda, but torch sees no CUDA device. Set it to auto or cpu.")
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return asked


def count_processes(devices: int | str, *, device: str) -> int:
    """How many processes train together: one a GPU, and on a CPU one unless more are asked for.

    Raises:
        ConfigurationError: the machine has fewer GPUs, or fewer processors.
    """
    if device == "cuda":
        present, kind = torch.cuda.device_count(), "CUDA device"
    else:
        present, kind = num_processors(), "processor"
    if devices == "auto":
        return present if device == "cuda" else 1
    if int(devices) > present:
        raise ConfigurationError(
            f"models.*.train.devices is {devices}, but this machine has {present} {kind}{'s' if present > 1 else ''}. Set it to "
            f"auto or to at most {present}."
        )
    return int(devices)


def resumed(began: Hardware, *, chosen: Hardware, has_chosen_windows: bool = False) -> tuple[Hardware, str | None]:
    """What a run goes on with that began on `began` where a new one would choose `chosen`, and a remark if bits will differ.

    `has_chosen_windows`: the settings say how large a forward pass is. A smaller one than before is taken, for a run that ended
    for want of memory.
    """
    if began.device != chosen.device:
        return chosen, f"The run began on {began.device} and goes on on {chosen.device}: its last bits will differ."
    if (began.num_processes, began.strategy) != (chosen.num_processes, chosen.strategy):
        together = replace(chosen, precision=began.precision, compiled=began.compiled and can_compile(began.device))
        return together, (
            f"The run began with {_together(began)} and goes on with {_together(chosen)}: its last bits will differ."
        )
    if began.compiled and not can_compile(began.device):
        return replace(
            began, compiled=False
        ), "The run began compiled and there is no compiler now: its last bits will differ."
    if has_chosen_windows and chosen.micro_windows < began.micro_windows:
        return replace(began, micro_windows=chosen.micro_windows), (
            f"The run began with forward passes of {began.micro_windows} windows and goes on with {chosen.micro_windows}: its "
            "last bits will differ."
        )
    return began, None


def _together(hardware: Hardware) -> str:
    number = hardware.num_processes
    return f"{number} processes ({hardware.strategy})" if number > 1 else "one process"


def even_share(total: int, largest: int) -> int:
    """The size of equal shares of at most `largest`; the last may be smaller: `even_share(41, 16)` is 14."""
    num_shares = -(-total // largest)
    return -(-total // num_shares)


def halved(hardware: Hardware, *, step: int, num_processes: int, error: RuntimeError) -> Hardware:
    """The same with forward passes half as large, for a step that ran out of memory.

    Raises:
        TrainingError: they are of one window already, or other processes would go on with whole ones.
    """
    if num_processes > 1:
        raise TrainingError(
            f"Step {step}: one of {num_processes} processes ran out of memory. Lower train.micro_batch_tokens; running again "
            "goes on from the last checkpoint."
        ) from error
    if hardware.micro_windows == 1:
        raise TrainingError(
            f"Step {step}: out of memory with a forward pass of one window. Lower context_tokens or the model's size; running "
            "again goes on from the last checkpoint."
        ) from error
    return replace(hardware, micro_windows=-(-hardware.micro_windows // 2))


def can_compile(device: str) -> bool:
    """Whether torch.compile finds what it needs: Triton comes with CUDA builds, a CPU needs a C++ compiler."""
    return device == "cuda" or any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++"))


def num_cores() -> int:
    """Physical cores this process may use: a second hardware thread of a core adds nothing to matrix products.

    OMP_NUM_THREADS, where set, is taken at its word.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    if not hasattr(os, "sched_getaffinity"):
        return num_processors()
    cores = set()
    for cpu in os.sched_getaffinity(0):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text(encoding="utf-8").strip())
        except OSError:
            cores.add(str(cpu))
    return max(1, min(len(cores), num_processors()))


def peak_flops(device: str) -> float | None:
    """The device's published bfloat16 peak, or None where it is not known."""
    if device != "cuda":
        return None
    name = torch.cuda.get_device_name()
    return next((peak for known, peak in PEAK_FLOPS.items() if known in name), None)


def _has_bfloat16(device: str) -> bool:
    """In hardware, on a CPU AMX or AVX512-BF16: where its products are emulated they are slower than those of float32."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags
