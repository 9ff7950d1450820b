"""Extraction: word F1 on annotated pages and pages a second, of our two ways and of trafilatura called as it comes.

    python benchmarks/extract.py [--corpora FOLDER]

The 28 pages with the text that people marked (a part of the article extraction benchmark). One process, everything is
imported before; runs alternate and medians are reported. Writes results/extract.json beside this.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import trafilatura

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from machine import processor  # noqa: E402

from pipeline.ingestion.extraction import Page, extract  # noqa: E402
from pipeline.ingestion.extraction_precise import extract_precisely  # noqa: E402

NUM_RUNS = 5
WAYS: dict[str, Callable[[Page], str]] = {
    "ours, fast": lambda page: extract(page).text,
    "ours, precise": lambda page: extract_precisely(page).text,
    "trafilatura": lambda page: trafilatura.extract(page.data, include_comments=False) or "",
}


def main() -> None:
    """Measures, prints and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = os.environ.get("TEXTMILL_CORPORA") or ROOT.parent / "shared" / "corpora"
    parser.add_argument("--corpora", type=Path, default=default)
    folder = parser.parse_args().corpora / "messy" / "html_aeb"
    truth = json.loads((folder / "ground-truth.json").read_text())
    pages = {name: Page(data=gzip.decompress((folder / f"{name}.html.gz").read_bytes())) for name in truth}
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    scores: dict[str, float] = {}
    for _ in range(NUM_RUNS):
        for name, way in WAYS.items():
            started = time.perf_counter()
            texts = {key: way(page) for key, page in pages.items()}
            seconds[name].append(time.perf_counter() - started)
            scores[name] = statistics.mean(word_f1(texts[key], truth[key]["articleBody"]) for key in pages)
    size = sum(len(page.data) for page in pages.values())
    slow = statistics.median(seconds["trafilatura"])
    rows = [
        {
            "name": name,
            "word_f1": scores[name],
            "pages_per_second": len(pages) / statistics.median(runs),
            "megabytes_per_second": size / 1e6 / statistics.median(runs),
            "times_trafilatura": slow / statistics.median(runs),
        }
        for name, runs in seconds.items()
    ]
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "machine": processor(),
        **{name: version(name) for name in ("resiliparse", "trafilatura")},
        "pages": len(pages),
        "ways": rows,
    }
    (Path(__file__).parent / "results" / "extract.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


def word_f1(found: str, wanted: str) -> float:
    """Twice the words in common over the words of both, as bags."""
    one, other = (Counter(re.findall(r"\w+", text)) for text in (found, wanted))
    return 2 * (one & other).total() / max(one.total() + other.total(), 1)


if __name__ == "__main__":
    main()
