"""Training speed: our step as the trainer takes it, transformers' Qwen3 of the same shape, and nanoGPT's loop, in one run.

    python benchmarks/train.py [--rounds N] [--steps N] [--depth N] [--width N] [--context N] [--vocabulary N] [--batch TOKENS]

Ours is built from the trainer's own parts: its network, optimizer (Muon and AdamW), guard, step, and what it chooses of
precision, compilation, threads and size of a forward pass. The others (train_peers.py) run eager in float32, under bfloat16
autocast, and so and compiled, each with the batch in one piece and in ours, on as many threads; their best counts. Rounds
alternate between all contestants; a figure is the median of its rounds. All run in the trainer's environment, which keeps
freed memory. Writes results/train.json and train.md beside this.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from machine import instructions, processor  # noqa: E402
from torch import Tensor  # noqa: E402
from train_peers import CONTESTANTS, MODES, OurLoop  # noqa: E402

from pipeline.config import TransformerConfig  # noqa: E402
from pipeline.environment import keep_memory, wait_considerately  # noqa: E402
from pipeline.models.transformer.shape import TransformerShape  # noqa: E402
from pipeline.training.derive import derive  # noqa: E402
from pipeline.training.hardware import Hardware, choose_hardware  # noqa: E402

Step = Callable[[], Any]


def main() -> None:
    """Measures, prints and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="of a contestant in a round")
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=4096, help="tokens of a step")
    parser.add_argument("--only", nargs="*", help="contestants whose name begins so")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    config = TransformerConfig(
        family="transformer",
        dataset="random",
        depth=options.depth,
        width=options.width,
        context_tokens=options.context,
    )
    run = derive(config, vocab_size=options.vocabulary)
    shape = run.shape
    generator = torch.Generator().manual_seed(0)
    num_windows = options.batch // options.context
    windows = torch.randint(shape.vocab_size, (num_windows, shape.context_tokens + 1), generator=generator)
    hardware = choose_hardware(
        device="cpu",
        precision="auto",
        compile="auto",
        total_flops=20.0 * shape.num_parameters * shape.flops_per_token,
        batch_windows=num_windows,
        micro_windows=None,
        context_tokens=shape.context_tokens,
    )
    torch.set_num_threads(hardware.num_threads)
    ours = OurLoop(run, hardware, windows, weight_decay=config.train.weight_decay)
    hardware = ours.hardware
    steps = {"ours": partial(ours.step, windows), **peer_steps(shape, hardware, windows)}
    if options.only:
        steps = {name: step for name, step in steps.items() if name.startswith(tuple(options.only))}
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "instructions": instructions(),
        "cores": os.cpu_count(),
        "threads": hardware.num_threads,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers")},
        },
        "parameters": shape.num_parameters,
        "shape": {
            "layers": shape.num_layers,
            "width": shape.width,
            "context_tokens": shape.context_tokens,
            "vocabulary": shape.vocab_size,
        },
        "tokens_per_step": windows.shape[0] * shape.context_tokens,
        "flops_per_token": shape.flops_per_token,
        "ours": {
            "precision": hardware.precision,
            "compiled": hardware.compiled,
            "forward_windows": hardware.micro_windows,
        },
        "rows": measure(steps, tokens=windows.shape[0] * shape.context_tokens, options=options),
    }
    found["ratios"] = ratios(found["rows"])
    options.results.mkdir(exist_ok=True)
    (options.results / "train.json").write_text(json.dumps(found, indent=2) + "\n")
    (options.results / "train.md").write_text(render(found))
    print((options.results / "train.md").read_text())


def peer_steps(shape: TransformerShape, hardware: Hardware, windows: Tensor) -> dict[str, Step]:
    """Every peer in every mode, with the batch in one piece and in pieces like ours."""
    steps: dict[str, Step] = {}
    for name, make in CONTESTANTS.items():
        for mode in MODES:
            for micro_windows in dict.fromkeys((len(windows), hardware.micro_windows)):
                loop = make(shape, mode=mode)
                step = partial(loop.step, windows, micro_windows=micro_windows)
                steps[f"{name}, {mode}, forward of {micro_windows}"] = step
    return steps


def measure(steps: dict[str, Step], *, tokens: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row a contestant: tokens a second of each round, and their median; the first step, which compiles, apart."""
    first = {}
    for name, step in steps.items():
        started = time.perf_counter()
        step()
        first[name] = time.perf_counter() - started
        print(f"{name}: first step {first[name]:.1f} s", flush=True)
    rounds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name, step in steps.items():
            started = time.perf_counter()
            for _ in range(options.steps):
                step()
            rounds[name].append(options.steps * tokens / (time.perf_counter() - started))
    return [
        {
            "name": name,
            "tokens_per_second": round(statistics.median(found)),
            "rounds": [round(rate) for rate in found],
            "first_step_seconds": round(first[name], 1),
        }
        for name, found in rounds.items()
    ]


def ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Ours against the best mode of each peer."""
    rates = {row["name"]: row["tokens_per_second"] for row in rows}
    best = {
        peer: max((rate for name, rate in rates.items() if name.startswith(peer)), default=0) for peer in CONTESTANTS
    }
    return {f"ours / {peer}": round(rates["ours"] / rate, 2) for peer, rate in best.items() if rate and "ours" in rates}


def render(found: dict[str, Any]) -> str:
    """The table as Markdown."""
    shape = found["shape"]
    lines = [
        f"# Training speed, {found['date']}",
        "",
        f"{found['parameters'] / 1e6:.1f} M parameters ({shape['layers']} layers, width {shape['width']}, context "
        f"{shape['context_tokens']}, vocabulary {shape['vocabulary']:,}), {found['tokens_per_step']:,} tokens a step, on "
        f"{found['threads']} threads of {found['processor']} ({', '.join(found['instructions'])}).",
        ", ".join(f"{name} {number}" for name, number in found["versions"].items())
        + f". Ours: {found['ours']['precision']}{', compiled' if found['ours']['compiled'] else ''}, forward of "
        f"{found['ours']['forward_windows']} windows, Muon and AdamW; the others: fused AdamW. Medians of alternating rounds.",
        "",
        "| Contestant | tokens/s | least | most | first step s |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['name']} | {row['tokens_per_second']:,} | {min(row['rounds']):,} | {max(row['rounds']):,} "
        f"| {row['first_step_seconds']} |"
        for row in found["rows"]
    ]
    lines += ["", *(f"{name}: {ratio}" for name, ratio in found["ratios"].items())]
    return "\n".join(lines) + "\n"


def take_the_trainers_environment() -> None:
    """Starts this script again with what the trainer's processes are started with, unless that is set already."""
    environment = dict(os.environ)
    wait_considerately(environment)
    if environment != os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    take_the_trainers_environment()
    keep_memory()
    main()
