"""Loading speed: our TokenLoader, litdata and mosaicml-streaming on the same tokens out of the page cache, in one run.

    python benchmarks/load.py [--peers PYTHON] [--tokens N] [--rounds N] [--seconds S] [--context N] [--batch ROWS]

The peers want packages that Textmill does not; their environment is made by

    python -m venv FOLDER && FOLDER/bin/pip install litdata==0.2.76 mosaicml-streaming==0.13.0

and named by `--peers FOLDER/bin/python`; without it ours runs alone. All read shuffled rows of context + 1 tokens in batches,
as a training loop takes them; ours as its int64 batches. The peers run without worker processes and with one for each core,
and their best counts. Rounds alternate; a figure is the median of its rounds. Restoring a position is timed at the first
step and deep in the thousandth epoch: ours computes it. Writes results/load.json and load.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from machine import processor  # noqa: E402

from pipeline.shards.format import ShardWriter  # noqa: E402
from pipeline.shards.loader import TokenLoader  # noqa: E402

VOCABULARY = 32_000
SHARD_TOKENS = 1 << 24
PEERS = ("litdata", "streaming")
DEEP_EPOCH = 1000
FAR_WINDOWS = 10_000
"""From one restored position to the next: what the loader remembers of one is of no use for the other."""


def main() -> None:
    """Measures, prints and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peers", type=Path, help="python of an environment with litdata and mosaicml-streaming")
    parser.add_argument("--tokens", type=int, default=64_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of a contestant in a round")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=64, help="rows")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = compare(Path(folder), options)
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "load.json").write_text(json.dumps(found, indent=2) + "\n")
    (options.results / "load.md").write_text(render(found))
    print((options.results / "load.md").read_text())


def compare(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Writes the tokens in every format, and reads them by turns."""
    tokens = np.random.default_rng(0).integers(4, VOCABULARY, size=options.tokens, dtype=np.uint16)
    np.save(folder / "tokens.npy", tokens)
    write_shards(folder / "shards", tokens)
    loader = TokenLoader(folder / "shards", split="train", context_tokens=options.context, seed=0)
    versions = {"python": platform.python_version(), "numpy": version("numpy")}
    rounds: dict[str, list[float]] = {"ours": []}
    workers = sorted({0, os.cpu_count() or 1})
    if options.peers is not None:
        for peer in PEERS:
            run_peer(options, "prepare", peer, folder, workers=0)
            rounds |= {f"{peer}, {count} workers": [] for count in workers}
    for _ in range(options.rounds):
        rounds["ours"].append(read_ours(loader, options))
        for name in rounds:
            peer, _, count = name.partition(", ")
            if peer in PEERS:
                answer = run_peer(options, "read", peer, folder, workers=int(count.split()[0]))
                rounds[name].append(answer["tokens_per_second"])
                versions[peer] = answer["version"]
    rows = [
        {
            "name": name,
            "tokens_per_second": round(statistics.median(rates)),
            "rounds": [round(rate) for rate in rates],
        }
        for name, rates in rounds.items()
    ]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "versions": versions,
        "tokens": options.tokens,
        "context_tokens": options.context,
        "batch_rows": options.batch,
        "rows": rows,
        "ratios": ratios(rows),
        "restore_microseconds": restore_times(loader, options),
    }


def write_shards(folder: Path, tokens: np.ndarray) -> None:
    """Our own format."""
    folder.mkdir()
    names = []
    for number, start in enumerate(range(0, tokens.size, SHARD_TOKENS)):
        names.append(f"train-{number:05d}.tokens")
        writer = ShardWriter(folder / names[-1], vocab_size=VOCABULARY, tokenizer_hash="0" * 64)
        writer.add(tokens[start : start + SHARD_TOKENS])
        writer.close()
    index = {"vocab_size": VOCABULARY, "tokenizer_hash": "0" * 64, "bos_id": 2, "eos_id": 3, "pad_id": 0}
    (folder / "shards.json").write_text(json.dumps({**index, "files": {"train": names}}))


def read_ours(loader: TokenLoader, options: argparse.Namespace) -> float:
    """Tokens a second, one batch after the other."""
    loader.batch(0, options.batch)
    position, started = 0, time.perf_counter()
    while time.perf_counter() - started < options.seconds:
        loader.batch(position, options.batch)
        position += options.batch
    return position * (options.context + 1) / (time.perf_counter() - started)


def restore_times(loader: TokenLoader, options: argparse.Namespace) -> dict[str, float]:
    """Median microseconds until the batch at a position is there, the loader being open."""
    found = {}
    for name, position in (("first step", 0), (f"epoch {DEEP_EPOCH}", DEEP_EPOCH * loader.num_windows + 12_345)):
        times = []
        for repeat in range(30):
            started = time.perf_counter()
            loader.batch(position + repeat * FAR_WINDOWS, options.batch)
            times.append(time.perf_counter() - started)
        found[name] = round(1e6 * statistics.median(times), 1)
    return found


def run_peer(options: argparse.Namespace, what: str, peer: str, folder: Path, *, workers: int) -> dict[str, Any]:
    """One process of a peer; what it printed last."""
    words = [str(options.peers), str(Path(__file__).with_name("load_peers.py")), what, peer]
    words += [str(folder / "tokens.npy"), str(folder / peer), "--workers", str(workers)]
    words += ["--context", str(options.context), "--batch", str(options.batch), "--seconds", str(options.seconds)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{peer} failed:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if what == "read" else {}
    return answer


def ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Ours against the best of each peer."""
    rates = {row["name"]: row["tokens_per_second"] for row in rows}
    best = {peer: max((rate for name, rate in rates.items() if name.startswith(peer)), default=0) for peer in PEERS}
    return {f"ours / {peer}": round(rates["ours"] / rate, 1) for peer, rate in best.items() if rate}


def render(found: dict[str, Any]) -> str:
    """The table as Markdown."""
    lines = [
        f"# Loading speed, {found['date']}",
        "",
        f"{found['tokens'] / 1e6:.0f} M tokens (uint16) in the page cache, shuffled rows of {found['context_tokens']} + 1, "
        f"batches of {found['batch_rows']}, on {found['cores']} cores of {found['processor']}. "
        + ", ".join(f"{name} {number}" for name, number in found["versions"].items())
        + ". Medians of alternating rounds.",
        "",
        "| Contestant | M tokens/s | least | most |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {row['name']} | {row['tokens_per_second'] / 1e6:.1f} | {min(row['rounds']) / 1e6:.1f} | "
        f"{max(row['rounds']) / 1e6:.1f} |"
        for row in found["rows"]
    ]
    times = ", ".join(f"{name} {micros:,.0f} µs" for name, micros in found["restore_microseconds"].items())
    lines += ["", *(f"{name}: {ratio}" for name, ratio in found["ratios"].items()), f"A batch at a position: {times}"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
