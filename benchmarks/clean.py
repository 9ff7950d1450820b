"""Cleaning: throughput of our quality rules and of datatrove's filters on the same text, decisions, and our end to end.

    python benchmarks/clean.py [--corpora FOLDER] [--peer-python PYTHON] [--megabytes N]

The text is the documentation of every package that is installed beside this interpreter and the chapters of the novels,
cleaned, in a shuffled order. Rules: Gopher's quality and repetition filters, C4 and FineWeb with the published
thresholds. PYTHON (or TEXTMILL_PEERS_PYTHON) is an interpreter with datatrove, spacy, nltk and pyarrow. Both run on two
processes, from Parquet files to the ids that are kept; runs alternate, each in a process of its own that is timed after
its imports, and medians are reported. Writes results/clean.json and clean.md beside this.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from clean_ours import RULE_SETS, judge, write_signals  # noqa: E402
from machine import processor  # noqa: E402

from pipeline.records import document_id  # noqa: E402

NUM_FILES = 16
NUM_RUNS = 2
NUM_WORKERS = 2
OURS = Path(__file__).with_name("clean_ours.py")
PEER = Path(__file__).with_name("clean_peer.py")
EXPLANATIONS = {
    "c4": "C4 counts sentences: datatrove by a trained splitter after taking out `[1]`, ours by closing punctuation.",
    "gopher": "Symbols: datatrove knows punctuation by a list of its own, ours by Unicode's categories P and S.",
    "gopher_repetition": "Thresholds are compared in single precision here, in double there.",
}


def main() -> None:
    """Measures, prints and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = os.environ.get("TEXTMILL_CORPORA") or ROOT.parent / "shared" / "corpora"
    parser.add_argument("--corpora", type=Path, default=default)
    parser.add_argument("--peer-python", default=os.environ.get("TEXTMILL_PEERS_PYTHON"))
    parser.add_argument("--megabytes", type=float, default=80, help="at most; all there is, if less")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "texts"
        size = write_documents(folder, options.corpora, options.megabytes)
        speed = measure_speed(folder, size, options.peer_python)
        agreement = compare(folder, options.peer_python) if options.peer_python else {}
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "machine": processor(),
        "cores": os.cpu_count(),
        **{name: version(name) for name in ("pyarrow", "numpy", "duckdb")},
    }
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    found = {**about, "megabytes": size / 1e6, "speed": speed, "agreement": agreement}
    (results / "clean.json").write_text(json.dumps(found, indent=2) + "\n")
    (results / "clean.md").write_text(render(found))
    print((results / "clean.md").read_text())


def write_documents(folder: Path, corpora: Path, megabytes: float) -> int:
    """Parquet files of `id` and `text`; returns their bytes of text."""
    texts = sorted({*package_texts(), *novel_chapters(corpora)})
    random.Random(0).shuffle(texts)  # noqa: S311 - an order, no secret
    sizes = np.cumsum([len(text.encode()) for text in texts])
    texts = texts[: int(np.searchsorted(sizes, megabytes * 1e6)) + 1]
    folder.mkdir()
    for number in range(NUM_FILES):
        part = texts[number::NUM_FILES]
        pq.write_table(pa.table({"id": list(map(document_id, part)), "text": part}), folder / f"{number}.parquet")
    return sum(len(text.encode()) for text in texts)


def package_texts() -> list[str]:
    """The documentation of the installed packages."""
    from pipeline.cleaning.text import clean_text
    from pipeline.ingestion.items import Document
    from pipeline.ingestion.python_docs import read_python_docs

    texts = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for package in sorted(path.parent for path in Path(pa.__file__).parents[1].glob("*/__init__.py")):
            found = read_python_docs(package, Counter())
            texts += [clean_text(item.text).text for item in found if isinstance(item, Document)]
    return [text for text in texts if text]


def novel_chapters(corpora: Path) -> list[str]:
    """The novels, cut at their headings."""
    from pipeline.cleaning.text import clean_text

    chapters = []
    for path in sorted((corpora / "books").glob("*.txt")):
        pieces = re.split(r"\n(?=(?:CHAPTER|Chapter) )", path.read_text(encoding="utf-8", errors="replace"))
        chapters += [clean_text(piece).text for piece in pieces]
    return [chapter for chapter in chapters if chapter]


def measure_speed(folder: Path, size: int, peer_python: str | None) -> list[dict[str, Any]]:
    """One row a contestant: seconds of each run, megabytes a second by the median."""
    contests = {"ours": [sys.executable, str(OURS), str(folder), str(NUM_WORKERS)]}
    if peer_python:
        for mode in ("whitespace", "default"):
            contests[f"datatrove {mode}"] = [peer_python, str(PEER), mode, str(folder), str(NUM_WORKERS)]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in contests}
    # ours takes seconds where the peer takes minutes, so it runs before each of the peer's
    order = [name for peer in [*contests][1:] or ["ours"] for name in dict.fromkeys(("ours", peer))]
    for name in order * NUM_RUNS:
        runs[name].append(answer_of(contests[name]))
        print(f"{name}: {runs[name][-1]['seconds']:.1f} s", flush=True)
    rows = []
    for name, found in runs.items():
        seconds = [run["seconds"] for run in found]
        rows.append(
            {
                "name": name,
                "seconds": seconds,
                "megabytes_per_second": size / 1e6 / statistics.median(seconds),
                "kept": found[0]["kept"],
            }
        )
    return rows


def answer_of(words: list[str]) -> dict[str, Any]:
    """The last line that a process prints."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{words[1]} failed:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def compare(folder: Path, peer_python: str) -> dict[str, Any]:
    """How many documents both keep or both reject, by rule set and over all, and the kinds of disagreement."""
    theirs = answer_of([peer_python, str(PEER), "decisions", str(folder), "1"])
    with tempfile.TemporaryDirectory() as work:
        made = [Path(work) / path.name for path in sorted(folder.glob("*.parquet"))]
        for part in zip(sorted(folder.glob("*.parquet")), made, strict=True):
            write_signals(part)
        ours = {rule_set: judge(made, (rule_set,)) for rule_set in RULE_SETS}
    total = sum(map(len, ours["c4"].values()))
    rows = []
    all_ours: set[str] = set()
    all_theirs: set[str] = set()
    for rule_set in RULE_SETS:
        mine = {name: rule for rule, names in ours[rule_set].items() if rule for name in names}
        peer: dict[str, str] = theirs["rejected"][rule_set]
        apart = Counter(
            (peer.get(name, "kept"), mine.get(name, "kept").rpartition(".")[2])
            for name in set(mine).symmetric_difference(peer)
        )
        rows.append(
            {
                "rule_set": rule_set,
                "rejected_by_ours": len(mine),
                "rejected_by_datatrove": len(peer),
                "agreement": 1 - sum(apart.values()) / total,
                "disagreements": [
                    {"datatrove": peer_says, "ours": we_say, "documents": count}
                    for (peer_says, we_say), count in apart.most_common()
                ],
            }
        )
        all_ours |= set(mine)
        all_theirs |= set(peer)
    overall = 1 - len(all_ours.symmetric_difference(all_theirs)) / total
    return {"datatrove": theirs["version"], "documents": total, "overall": overall, "rule_sets": rows}


def render(found: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "# Cleaning",
        "",
        f"{found['megabytes']:.1f} MB of text, {NUM_WORKERS} processes, {found['cores']} cores, {found['machine']}, Python "
        f"{found['python']}, {found['date']}.",
        "",
        "| | seconds | MB/s | ours is faster by | documents kept |",
        "|---|---|---|---|---|",
    ]
    ours = found["speed"][0]["megabytes_per_second"]
    for row in found["speed"]:
        seconds = statistics.median(row["seconds"])
        ratio = ours / row["megabytes_per_second"]
        lines.append(
            f"| {row['name']} | {seconds:.1f} | {row['megabytes_per_second']:.2f} | {ratio:.1f} | {row['kept']:,} |"
        )
    agreement = found["agreement"]
    if agreement:
        lines += [
            "",
            f"Of {agreement['documents']:,} documents, words split at white space by both, {agreement['overall']:.2%} are "
            f"kept by both or rejected by both (datatrove {agreement['datatrove']}). Each rule set sees the whole text.",
            "",
            "| rule set | rejected by ours | by datatrove | agreement | what differs: datatrove / ours |",
            "|---|---|---|---|---|",
        ]
        for row in agreement["rule_sets"]:
            kinds = "; ".join(
                f"{kind['datatrove']} / {kind['ours']} {kind['documents']}" for kind in row["disagreements"]
            )
            lines.append(
                f"| {row['rule_set']} | {row['rejected_by_ours']:,} | {row['rejected_by_datatrove']:,} | "
                f"{row['agreement']:.2%} | {kinds} |"
            )
        lines += [
            "",
            *[
                f"- {EXPLANATIONS[row['rule_set']]}"
                for row in agreement["rule_sets"]
                if row["disagreements"] and row["rule_set"] in EXPLANATIONS
            ],
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
