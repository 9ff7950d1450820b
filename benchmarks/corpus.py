"""From raw files to a kept corpus as a user runs it: seconds, memory and what an addition costs, by size of the input.

    python benchmarks/corpus.py [--corpora FOLDER] [--megabytes N N N] [--grow N --by N]

`textmill run corpus/all` on JSON Lines of the installed packages' documentation and the novels' chapters, with every rule
set, near-deduplication and redaction of personal data. To reach a size the texts are repeated with every third word
replaced. Peak memory is of all processes together, sampled five times a second. `--grow` builds a corpus of N megabytes,
adds M more and builds again, three times, once the files of the run before are on the disk, as when something is added another
day; then everything is built from scratch elsewhere, and the corpora must have the same content hashes. Writes
results/corpus.json beside this.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(Path(__file__).parent))

from clean import novel_chapters, package_texts  # noqa: E402
from machine import processor  # noqa: E402

FILE_MEGABYTES = 4
SAMPLE_SECONDS = 0.2
PROJECT = """
name: bench
sources:
  all: {reader: json, path: "texts/*.jsonl", redact: true}
corpora:
  all:
    sources: {all: 1.0}
    quality: {rules: [basic, gopher, gopher_repetition, c4, fineweb]}
    deduplicate: {near: {}}
    splits: {validation: 0.01, test: 0.01}
"""


def main() -> None:
    """Measures, prints and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = os.environ.get("TEXTMILL_CORPORA") or ROOT.parent / "shared" / "corpora"
    parser.add_argument("--corpora", type=Path, default=default)
    parser.add_argument("--megabytes", type=float, nargs="*", default=[64, 128, 256])
    parser.add_argument("--grow", type=float, default=0)
    parser.add_argument("--by", type=float, default=5)
    options = parser.parse_args()
    texts = [*package_texts(), *novel_chapters(options.corpora)]
    random.Random(0).shuffle(texts)  # noqa: S311 - an order, no secret
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "processor": processor(),
        "cores": os.cpu_count(),
        **{name: version(name) for name in ("pyarrow", "duckdb")},
    }
    rows = []
    with tempfile.TemporaryDirectory() as made:
        files = write_texts(Path(made), edited(texts, 0), max([*options.megabytes, options.grow]))
        for megabytes in options.megabytes:
            with tempfile.TemporaryDirectory() as work:
                size = project_of(Path(work), files, megabytes)
                done = run(Path(work))
                rows.append(
                    {
                        "megabytes": size / 1e6,
                        "seconds": done["seconds"],
                        "megabytes_per_second": size / 1e6 / done["seconds"],
                        "peak_megabytes": done["peak_megabytes"],
                    }
                )
                print(json.dumps(rows[-1]), flush=True)
        found["sizes"] = rows
        if options.grow:
            more = edited(texts, 1)
            added = [write_texts(Path(made) / prefix, more, options.by, prefix) for prefix in ("b", "c", "d")]
            found["growth"] = measure_growth(files, added, options.grow)
    (Path(__file__).parent / "results" / "corpus.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


def edited(texts: list[str], first_round: int) -> Iterator[str]:
    """The texts as they are, then round after round with every third word replaced."""
    chance = random.Random(first_round)  # noqa: S311 - edits, not secrets
    vocabulary = sorted({word for text in texts[::50] for word in text.split()})
    if not first_round:
        yield from texts
    while True:
        for text in texts:
            pieces = text.split(" ")
            places = range(chance.randrange(3), len(pieces), 3)
            for place, word in zip(places, chance.choices(vocabulary, k=len(places)), strict=True):
                pieces[place] = word
            yield " ".join(pieces)


def write_texts(folder: Path, texts: Iterator[str], megabytes: float, prefix: str = "a") -> dict[Path, int]:
    """JSON Lines of FILE_MEGABYTES each or a little more; the bytes of text in each."""
    folder.mkdir(exist_ok=True)
    files: dict[Path, int] = {}
    while (left := megabytes * 1e6 - sum(files.values())) > 0:
        path = folder / f"{prefix}{len(files):05d}.jsonl"
        files[path] = 0
        with path.open("w") as file:
            while files[path] < min(FILE_MEGABYTES * 1e6, left):
                text = next(texts)
                files[path] += len(text.encode())
                file.write(json.dumps({"text": text}) + "\n")
    return files


def project_of(folder: Path, files: dict[Path, int], megabytes: float) -> int:
    """A project over as many of the files as that takes; returns the bytes of text."""
    (folder / "texts").mkdir(exist_ok=True)
    (folder / "project.yaml").write_text(PROJECT)
    size = 0
    for path, num_bytes in files.items():
        if size >= megabytes * 1e6:
            break
        shutil.copy(path, folder / "texts")
        size += num_bytes
    return size


def run(folder: Path) -> dict[str, Any]:
    """`textmill run corpus/all` in a process of its own."""
    textmill = str(Path(sys.executable).with_name("textmill"))
    words = [textmill, "run", "--config", str(folder / "project.yaml"), "corpus/all"]
    started = time.perf_counter()
    with (folder / "log").open("w") as log:
        process = psutil.Popen(words, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        peak = 0
        while process.poll() is None:
            peak = max(peak, memory(process))
            time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit((folder / "log").read_text()[-3000:])
    seconds = time.perf_counter() - started
    manifests = (folder / "data" / "corpus" / "all").glob("*/manifest.json")
    newest = json.loads(max(manifests, key=lambda path: path.stat().st_mtime).read_text())
    content = {entry["path"]: entry["sha256"] for entry in newest["files"]}
    return {"seconds": seconds, "peak_megabytes": peak / 1e6, "content": content}


def memory(process: psutil.Process) -> int:
    """Bytes that the process and its workers hold: pages that several share are counted once (Linux: proportional set size)."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            info = one.memory_full_info()
            total += getattr(info, "pss", info.uss)
        except psutil.Error:
            continue
    return total


def measure_growth(files: dict[Path, int], additions: list[dict[Path, int]], megabytes: float) -> dict[str, Any]:
    """First run, the run after each addition, and a run from scratch over all."""
    with tempfile.TemporaryDirectory() as work, tempfile.TemporaryDirectory() as fresh:
        size = project_of(Path(work), files, megabytes)
        runs = [run(Path(work))]
        project_of(Path(fresh), files, megabytes)
        for added in additions:
            for folder in (work, fresh):
                by = project_of(Path(folder), added, sum(added.values()) / 1e6)
            os.sync()
            runs.append(run(Path(work)))
            assert runs[-1]["content"] != runs[-2]["content"]
        scratch = run(Path(fresh))
    first, *grown = runs
    seconds = statistics.median(one["seconds"] for one in grown)
    return {
        "megabytes": size / 1e6,
        "added_megabytes": by / 1e6,
        "first_seconds": first["seconds"],
        "added_seconds": [one["seconds"] for one in grown],
        "added_fraction": seconds / first["seconds"],
        "same_as_from_scratch": grown[-1]["content"] == scratch["content"],
        "peak_megabytes": first["peak_megabytes"],
    }


if __name__ == "__main__":
    main()
