"""Near-deduplication: throughput of ours, datasketch's and datatrove's on the same text, and our cost of adding 1 %.

    python benchmarks/deduplicate.py [--corpora FOLDER] [--peers-python PYTHON] [--megabytes N] [--grow-megabytes N]

The text is the novels' in pieces of 3,000 characters; to reach the size asked for, further rounds replace every third
word by one of the novels'. A fifth of the documents has one or two copies planted with a few words replaced. PYTHON
(or TEXTMILL_PEERS_PYTHON) is an interpreter with datasketch and datatrove. Runs alternate; medians are reported. Each
run is a process of its own that is timed after its imports; with one worker it is bound to one core. Writes
results/deduplicate.json and deduplicate.md beside this.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
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

import pandas  # noqa: E402, F401 - DuckDB imports it when it is handed a table, and runs are timed after imports
import pyarrow as pa  # noqa: E402
from machine import processor  # noqa: E402

from pipeline.artifacts import Artifact, ArtifactStore, Report  # noqa: E402
from pipeline.config import CorpusConfig, EngineConfig  # noqa: E402
from pipeline.config.data import NearConfig  # noqa: E402
from pipeline.corpus.build import build_corpus  # noqa: E402
from pipeline.corpus.database import database  # noqa: E402
from pipeline.corpus.dedup import CLUSTERED  # noqa: E402
from pipeline.corpus.near.dedup import EMPTY_NEAR, find_near_duplicates, sketch_documents  # noqa: E402
from pipeline.corpus.rules import judging  # noqa: E402
from pipeline.files import write_parquet  # noqa: E402
from pipeline.progress import SilentProgress  # noqa: E402
from pipeline.records import CLEAN_SCHEMA, document_id  # noqa: E402

PIECE_CHARACTERS = 3000
NUM_FILES = 8
NUM_RUNS = 3
WORDS: dict[str, Any] = {"code_version": "1", "literals": {}, "inputs": {}}
SIMILARITY = 0.8
LEAST_PLANTED = 0.93
"""Jaccard of planted copies at least: 14 bands of 8 rows miss one in 40,000 of them, so clusters are comparable."""


def main() -> None:
    """Measures, prints and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = os.environ.get("TEXTMILL_CORPORA") or ROOT.parent / "shared" / "corpora"
    parser.add_argument("--corpora", type=Path, default=default)
    parser.add_argument("--peers-python", default=os.environ.get("TEXTMILL_PEERS_PYTHON"))
    parser.add_argument("--megabytes", type=float, default=60)
    parser.add_argument("--grow-megabytes", type=float, default=200)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(CHILDREN[options.child[0]](*options.child[1:])))
        return
    with tempfile.TemporaryDirectory() as work:
        speed = measure_speed(options, Path(work) / "speed")
        growth = measure_growth(options, Path(work) / "growth") if options.grow_megabytes else {}
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "machine": processor(),
        "cores": os.cpu_count(),
        "duckdb": version("duckdb"),
        "numpy": version("numpy"),
    }
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    found = {**about, "speed": speed, "growth": growth}
    (folder / "deduplicate.json").write_text(json.dumps(found, indent=2) + "\n")
    (folder / "deduplicate.md").write_text(render(about, speed, growth))
    print((folder / "deduplicate.md").read_text())


def novel_pieces(corpora: Path) -> list[str]:
    """The novels between their Gutenberg marks, current editions alone, in pieces that end with a word."""
    pieces = []
    for path in sorted((corpora / "books").glob("*.txt")):
        if "old-edition" in path.name:
            continue
        text = path.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n")
        for mark, side in (("*** START", 1), ("***START", 1), ("*** END", 0), ("***END", 0), ("End of Project", 0)):
            if mark in text:
                text = text.split(mark, 1)[side]
        start = 0
        while start < len(text):
            end = text.find(" ", start + PIECE_CHARACTERS)
            end = len(text) if end < 0 else end
            pieces.append(text[start:end])
            start = end
    return [piece for piece in pieces if len(piece) > PIECE_CHARACTERS // 2]


def make_documents(corpora: Path, megabytes: float) -> tuple[list[str], set[frozenset[str]]]:
    """Texts in a shuffled order, and the planted clusters as sets of ids."""
    chance = random.Random(0)  # noqa: S311 - edits, not secrets
    pieces = novel_pieces(corpora)
    vocabulary = sorted({word for piece in pieces[::20] for word in piece.split()})
    texts: list[str] = []
    planted = set()
    size = number = 0
    while size < megabytes * 1e6:
        text = pieces[number % len(pieces)]
        if number >= len(pieces):
            words = text.split(" ")
            words[number // len(pieces) % 3 :: 3] = chance.choices(
                vocabulary, k=len(words[number // len(pieces) % 3 :: 3])
            )
            text = " ".join(words)
        family = [text]
        if number % 5 == 0:
            family += [edit(text, chance, vocabulary) for _ in range(1 + number % 2)]
            planted.add(frozenset(map(document_id, family)))
        texts += family
        size += sum(len(member.encode()) for member in family)
        number += 1
    chance.shuffle(texts)
    return texts, planted


def edit(text: str, chance: random.Random, vocabulary: list[str]) -> str:
    """Replaces one or two words: of about 500 shingles at most 10 change on each side, two such copies keep 0.93."""
    words = text.split(" ")
    for place in chance.sample(range(len(words)), 1 + chance.randrange(2)):
        words[place] = chance.choice(vocabulary)
    return " ".join(words)


def clean_rows(texts: list[str], source: str) -> list[dict[str, Any]]:
    """Rows of clean documents; signals that near-deduplication does not read are plausible constants."""
    fixed = {
        "source": source,
        "path": source,
        "language": "en",
        "language_confidence": 1.0,
        "letter_fraction": 0.8,
        "duplicate_line_fraction": 0.0,
        "repaired": False,
    }
    return [
        fixed
        | {
            "id": document_id(text),
            "text_hash": document_id(text),
            "index": index,
            "text": text,
            "num_bytes": len(text.encode()),
            "raw_bytes": len(text.encode()),
            "num_characters": len(text),
            "num_words": len(text.split()),
            "num_lines": text.count("\n") + 1,
        }
        for index, text in enumerate(texts)
    ]


def write_clean(store: ArtifactStore, name: str, texts: list[str], num_files: int) -> Artifact:
    """Clean documents as the stage before writes them."""
    with store.draft(stage="clean_documents", name=name, version="v", **WORDS) as draft:
        for number in range(num_files):
            table = pa.Table.from_pylist(clean_rows(texts[number::num_files], name), CLEAN_SCHEMA)
            write_parquet(draft.path(f"documents/{number}.parquet"), table)
        return draft.commit(counts={}, report=Report())


def cpu_seconds() -> float:
    """Of this process and of the workers that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def run_ours(storage: str, run: str, num_workers: str) -> dict[str, Any]:
    """Sketches, candidates, true Jaccard and clusters from nothing; exact duplicates on the way."""
    store = ArtifactStore(Path(storage))
    clean = store.find("clean_documents", "novels", "v")
    assert clean is not None
    files = {clean.folder / entry.path: entry.sha256 for entry in clean.manifest.files if "documents/" in entry.path}
    started, before = time.perf_counter(), cpu_seconds()
    with store.draft(stage="corpus", name=f"run{run}", version="v", **WORDS) as draft:
        config, engine = NearConfig(similarity=SIMILARITY), EngineConfig(workers=int(num_workers))
        sketches = sketch_documents(draft, config=config, clean=files, engine=engine, progress=SilentProgress())
        with database(draft, files=[*files, *sketches.files]) as connection:
            connection.execute(judging([])[0], {"files": [str(path) for path in files]})
            connection.execute(CLUSTERED)
            connection.execute(EMPTY_NEAR)
            find_near_duplicates(connection, draft, config=config, sketches=sketches, engine=engine)
            rows = connection.execute(
                "SELECT list(clustered.id ORDER BY clustered.id) FROM near JOIN clustered USING (text_hash) "
                "GROUP BY near.cluster_id"
            ).fetchall()
    seconds = time.perf_counter() - started
    spent = cpu_seconds() - before
    return {
        "seconds": seconds,
        "cpu_seconds": spent,
        "clusters": [cluster for (cluster,) in rows],
        "version": "this commit",
    }


def run_corpus(storage: str, name: str, sources: str) -> dict[str, Any]:
    """The whole corpus stage over some sources."""
    store = ArtifactStore(Path(storage))
    inputs = {source: store.find("clean_documents", source, "v") for source in sources.split(",")}
    found = {source: artifact for source, artifact in inputs.items() if artifact is not None}
    config = CorpusConfig(sources=dict.fromkeys(found, 1.0), deduplicate={"near": {"similarity": SIMILARITY}})
    phases: list[tuple[str, float]] = []
    started = time.perf_counter()
    with store.draft(stage="corpus", name=name, version=sources.replace(",", "-"), **WORDS) as draft:
        artifact = build_corpus(
            draft, config=config, sources=found, engine=EngineConfig(workers=2), progress=Phases(phases, started)
        )
    seconds = time.perf_counter() - started
    usage = [resource.getrusage(who).ru_maxrss / 1e6 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    deciding = next(moment for name, moment in phases if name == "decided")
    return {
        "seconds": seconds,
        "near_seconds": deciding,
        "content_hash": artifact.manifest.content_hash,
        "peak_gigabytes_main": usage[0],
        "peak_gigabytes_worker": usage[1],
    }


class Phases(SilentProgress):
    """Notes when everything was decided and writing begins: the stage's first step of two."""

    def __init__(self, phases: list[tuple[str, float]], started: float) -> None:
        self._phases, self._started, self._in_steps = phases, started, False

    def start(self, *, total: int) -> None:
        self._in_steps = total == 2

    def advance(self, amount: int) -> None:
        if self._in_steps and not self._phases:
            self._phases.append(("decided", time.perf_counter() - self._started))


CHILDREN = {"ours": run_ours, "corpus": run_corpus}


def child(*words: str, num_workers: int = 2) -> dict[str, Any]:
    """Runs a process and reads the JSON on its last line."""
    bind = (lambda: os.sched_setaffinity(0, {0})) if num_workers == 1 else None
    done = subprocess.run(
        words, capture_output=True, text=True, preexec_fn=bind, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def measure_speed(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Alternating runs of ours and each peer, with one worker and with two."""
    texts, planted = make_documents(options.corpora, options.megabytes)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    store = ArtifactStore(work / "storage")
    write_clean(store, "novels", texts, NUM_FILES)
    lines = work / "lines"
    lines.mkdir()
    for number in range(NUM_FILES):
        with (lines / f"{number}.jsonl").open("w", encoding="utf-8") as file:
            for text in texts[number::NUM_FILES]:
                file.write(json.dumps({"id": document_id(text), "text": text}) + "\n")
    contests = [("ours", 1), ("datasketch", 1), ("ours", 2), ("datatrove", 2)]
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {contest: [] for contest in contests}
    peers = str(Path(__file__).with_name("deduplicate_peers.py"))
    for run in range(NUM_RUNS):
        for name, workers in contests:
            if name == "ours":
                words = [sys.executable, __file__, "--child", "ours", str(store.root), f"{run}w{workers}", str(workers)]
            elif options.peers_python:
                words = [options.peers_python, peers, name, str(lines), str(workers)]
            else:
                continue
            runs[name, workers].append(child(*words, num_workers=workers))
    rows = []
    for (name, workers), results in runs.items():
        if results:
            clusters = {frozenset(cluster) for cluster in results[0]["clusters"]}
            seconds = [result["seconds"] for result in results]
            spent = [result["cpu_seconds"] for result in results]
            rows.append(
                {
                    "name": name,
                    "version": results[0]["version"],
                    "workers": workers,
                    "seconds": [round(value, 2) for value in seconds],
                    "mb_per_second": round(megabytes / statistics.median(seconds), 2),
                    "mb_per_cpu_second": round(megabytes / statistics.median(spent), 2) if all(spent) else "unknown",
                    "clusters": len(clusters),
                    "planted_found": len(planted & clusters),
                }
            )
    return {"megabytes": round(megabytes, 1), "documents": len(texts), "planted": len(planted), "rows": rows}


def measure_growth(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """A first run, the same with 1 % more, and a run of everything from scratch."""
    texts, _ = make_documents(options.corpora, options.grow_megabytes)
    store = ArtifactStore(work / "storage")
    added = len(texts) // 100
    write_clean(store, "old", texts[added:], 4 * NUM_FILES)
    write_clean(store, "new", texts[:added], 1)

    def corpus(name: str, sources: str) -> dict[str, Any]:
        return child(sys.executable, __file__, "--child", "corpus", str(store.root), name, sources)

    first, grown, scratch = corpus("grown", "old"), corpus("grown", "new,old"), corpus("scratch", "new,old")
    return {
        "megabytes": round(sum(len(text.encode()) for text in texts) / 1e6, 1),
        "documents": len(texts),
        "added": added,
        "first": first,
        "grown": grown,
        "scratch": scratch,
        "same_content": grown["content_hash"] == scratch["content_hash"],
    }


def render(about: dict[str, Any], speed: dict[str, Any], growth: dict[str, Any]) -> str:
    """The tables as Markdown."""
    lines = [
        f"# Near-deduplication, {about['date']}, Python {about['python']}, {about['machine']}, {about['cores']} cores",
        "",
        f"{speed['megabytes']} MB, {speed['documents']} documents, {speed['planted']} planted clusters (Jaccard at least "
        f"{LEAST_PLANTED}); medians of {NUM_RUNS} alternating runs. Ours verifies every candidate's true Jaccard and "
        "deduplicates exactly on the way; the peers do neither.",
        "",
        "| | Version | Processes | Seconds | MB/s | MB a CPU second | Clusters | Planted found |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in speed["rows"]:
        keys = (
            "name",
            "version",
            "workers",
            "seconds",
            "mb_per_second",
            "mb_per_cpu_second",
            "clusters",
            "planted_found",
        )
        lines.append("| " + " | ".join(str(row[key]) for key in keys) + " |")
    if growth:
        lines += [
            "",
            f"The corpus stage over {growth['megabytes']} MB, {growth['documents']} documents, of which "
            f"{growth['added']} are added later; content from scratch "
            + ("equal." if growth["same_content"] else "DIFFERENT."),
            "",
            "| Run | Deciding, s | Deciding and writing, s | Peak GB, main | Peak GB, a worker |",
            "|---|---|---|---|---|",
        ]
        for name in ("first", "grown", "scratch"):
            run = growth[name]
            keys = ("near_seconds", "seconds", "peak_gigabytes_main", "peak_gigabytes_worker")
            lines.append(f"| {name} | " + " | ".join(f"{run[key]:.2f}" for key in keys) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
