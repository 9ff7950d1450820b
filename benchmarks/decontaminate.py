"""Decontamination: throughput, memory and recall on planted 13-grams, over the novels repeated to a given size.

    python benchmarks/decontaminate.py [--corpora FOLDER] [--megabytes 200]

Every tenth document gets 13 words in a row of the evaluation text, with other case and punctuation; every tenth, five on,
gets 12 words and must not be found. What stands between white space and holds no letter and no digit ("* * *") is no word.
Writes results/decontaminate.json beside this.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from machine import processor  # noqa: E402

from pipeline.config.mixing import DecontaminateConfig  # noqa: E402
from pipeline.corpus.decontaminate import EvaluationText, find_contaminated  # noqa: E402
from pipeline.corpus.ngrams import hash_words  # noqa: E402

EVALUATION = "pride-and-prejudice.txt"
DOCUMENT_CHARACTERS = 4000
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("path", pa.string()),
        ("index", pa.int64()),
        ("text", pa.large_string()),
        ("target", pa.large_string()),
    ]
)


def main() -> None:
    """Measures, prints and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = os.environ.get("TEXTMILL_CORPORA") or ROOT / "shared" / "corpora"
    parser.add_argument("--corpora", type=Path, default=default)
    parser.add_argument("--megabytes", type=int, default=200)
    options = parser.parse_args()
    books = options.corpora / "books"
    exam = (books / EVALUATION).read_text(encoding="utf-8", errors="replace")
    exam_text = exam[20_000:-30_000]  # without the licence, which every book has
    exam_words = [piece for piece in exam_text.split() if any(map(str.isalnum, piece))]
    names = [path for path in sorted(books.glob("*.txt")) if "pride" not in path.name]
    novels = "".join(path.read_text(encoding="utf-8", errors="replace")[20_000:-30_000] for path in names)
    config = DecontaminateConfig(against=("exam",))
    with tempfile.TemporaryDirectory() as folder:
        evaluation_file, file = Path(folder) / "exam.parquet", Path(folder) / "documents.parquet"
        pq.write_table(pa.Table.from_pylist([row(0, exam_text)], SCHEMA), evaluation_file)
        planted, near_misses, num_bytes = write_documents(file, novels, exam_words, options.megabytes * 1_000_000)
        hash_words(["tables are made at the first call"])
        before = peak_megabytes()
        started = time.perf_counter(), time.process_time()
        evaluation = EvaluationText({"the exam": [evaluation_file]}, config)
        found = find_contaminated(evaluation, [str(file)], {}, config)
        wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    rows = set(found["file_row_number"].to_pylist())
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "machine": processor(),
        "megabytes": round(num_bytes / 1e6, 1),
        "evaluation_words": len(exam_words),
        "mb_per_second": round(num_bytes / 1e6 / wall, 1),
        "mb_per_cpu_second": round(num_bytes / 1e6 / cpu, 1),
        "planted": len(planted),
        "recall": len(planted & rows) / len(planted),
        "planted_with_12_words": len(near_misses),
        "others_found": len(rows - planted),
        "peak_megabytes_before": before,
        "peak_megabytes": peak_megabytes(),
    }
    print(json.dumps(result, indent=2))
    (Path(__file__).parent / "results" / "decontaminate.json").write_text(json.dumps(result, indent=2) + "\n")


def row(number: int, text: str) -> dict[str, object]:
    return {"id": f"{number:032x}", "source": "s", "path": "p", "index": number, "text": text, "target": None}


def write_documents(file: Path, novels: str, exam_words: list[str], size: int) -> tuple[set[int], set[int], int]:
    """The rows that hold 13 words of the evaluation text, those that hold 12, and the bytes of all."""
    draw = random.Random(0)  # noqa: S311 - a fixed choice, not a secret
    planted: set[int] = set()
    near_misses: set[int] = set()
    num_bytes = 0

    def documents() -> Iterator[dict[str, object]]:
        nonlocal num_bytes
        number = 0
        while num_bytes < size:
            start = number * DOCUMENT_CHARACTERS % (len(novels) - DOCUMENT_CHARACTERS)
            text = novels[start : start + DOCUMENT_CHARACTERS]
            if number % 5 == 0:
                length, rows = (13, planted) if number % 10 == 0 else (12, near_misses)
                run = ", ".join(draw_run(draw, exam_words, length)).upper()
                text = f"{text[:2000]} xyzzy {run}! xyzzy {text[2000:]}"
                rows.add(number)
            num_bytes += len(text.encode())
            yield row(number, text)
            number += 1

    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        batch: list[dict[str, object]] = []
        for document in documents():
            batch.append(document)
            if len(batch) == 1024:
                writer.write_table(pa.Table.from_pylist(batch, SCHEMA))
                batch = []
        writer.write_table(pa.Table.from_pylist(batch, SCHEMA))
    return planted, near_misses, num_bytes


def draw_run(draw: random.Random, words: list[str], length: int) -> list[str]:
    """So many words in a row of the evaluation text, none of them several ("sister-in-law")."""
    while True:
        first = draw.randrange(len(words) - length)
        run = words[first : first + length]
        if all(re.fullmatch(r"[\W_]*[^\W_]+(?:['’][^\W_]+)?[\W_]*", word) for word in run):
            return run


def peak_megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000


if __name__ == "__main__":
    main()
