"""Personal data: throughput of the redaction and of presidio's pattern recognisers on the same text, in one run.

    python benchmarks/redact.py [--corpora FOLDER] [--presidio-python PYTHON]

PYTHON is an interpreter with presidio-analyzer. Its recognisers of e-mail, IP, IBAN, cards and telephone numbers run
alone, without the language model that its engine loads for names. Writes results/redact.json and redact.md beside this.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from machine import processor  # noqa: E402

from pipeline.cleaning.pii.kinds import ALL_KINDS  # noqa: E402
from pipeline.cleaning.pii.redact import find_spans, redact  # noqa: E402

TEXTS = {"novel": "books/middlemarch.txt", "encyclopedia": "wikitext2/valid.txt"}
DENSE = "messy/pii_presidio_600.jsonl"
DOCUMENT_CHARACTERS = 5000
PEER_DOCUMENTS = 60
PEER = """
import json, sys, time, importlib.metadata
from presidio_analyzer import predefined_recognizers as known
found = [known.EmailRecognizer(), known.IpRecognizer(), known.IbanRecognizer(), known.CreditCardRecognizer(),
         known.PhoneRecognizer()]
documents = json.load(sys.stdin)
for recognizer in found:
    recognizer.analyze("warm up", recognizer.supported_entities, None)
started = time.process_time()
count = sum(len(recognizer.analyze(text, recognizer.supported_entities, None) or []) for text in documents
            for recognizer in found)
print(json.dumps([time.process_time() - started, count, importlib.metadata.version("presidio-analyzer")]))
"""


def main() -> None:
    """Measures, prints and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = os.environ.get("TEXTMILL_CORPORA") or ROOT / "shared" / "corpora"
    parser.add_argument("--corpora", type=Path, default=default)
    parser.add_argument("--presidio-python")
    options = parser.parse_args()
    rows = []
    for name, documents in read_documents(options.corpora).items():
        row: dict[str, object] = {"text": name, "megabytes": round(megabytes(documents), 2)}
        started = time.process_time()
        row["spans"] = sum(len(find_spans(text, ALL_KINDS)) for text in documents)
        row["find_mb_per_second"] = round(megabytes(documents) / (time.process_time() - started), 1)
        started = time.process_time()
        for text in documents:
            redact(text, ALL_KINDS)
        row["redact_mb_per_second"] = round(megabytes(documents) / (time.process_time() - started), 1)
        if options.presidio_python:
            row |= measure_peer(options.presidio_python, documents[:PEER_DOCUMENTS])
        rows.append(row)
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    about = {"date": time.strftime("%Y-%m-%d"), "python": platform.python_version(), "machine": processor()}
    (folder / "redact.json").write_text(json.dumps({**about, "rows": rows}, indent=2) + "\n")
    (folder / "redact.md").write_text(render(about, rows))
    print((folder / "redact.md").read_text())


def read_documents(corpora: Path) -> dict[str, list[str]]:
    """Name -> documents: prose with little to find, and sentences full of it."""
    found = {}
    for name, path in TEXTS.items():
        text = (corpora / path).read_text(encoding="utf-8", errors="replace")
        found[name] = [text[index : index + DOCUMENT_CHARACTERS] for index in range(0, len(text), DOCUMENT_CHARACTERS)]
    lines = (corpora / DENSE).read_text(encoding="utf-8").splitlines()
    found["personal data"] = [json.loads(line)["text"] for line in lines]
    return found


def megabytes(documents: list[str]) -> float:
    """Of UTF-8."""
    return sum(len(text.encode("utf-8", "surrogatepass")) for text in documents) / 1e6


def measure_peer(python: str, documents: list[str]) -> dict[str, object]:
    """Presidio's throughput on the first documents, single-threaded like ours (CPU seconds on both sides)."""
    done = subprocess.run([python, "-c", PEER], input=json.dumps(documents), capture_output=True, text=True, check=True)
    seconds, count, version = json.loads(done.stdout)
    return {
        "presidio_version": version,
        "presidio_spans": count,
        "presidio_megabytes": round(megabytes(documents), 3),
        "presidio_mb_per_second": round(megabytes(documents) / seconds, 3),
    }


def render(about: dict[str, str], rows: list[dict[str, object]]) -> str:
    """The table as Markdown."""
    lines = [
        f"# Redaction, {about['date']}, Python {about['python']}, one process",
        "",
        "MB of UTF-8 per CPU second, all seven kinds. Presidio: its five pattern recognisers for e-mail, IP, IBAN, card",
        f"and telephone, on the first {PEER_DOCUMENTS} documents of each text.",
        "",
        "| Text | MB | Spans | Find MB/s | Redact MB/s | Presidio MB/s |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        keys = ("text", "megabytes", "spans", "find_mb_per_second", "redact_mb_per_second", "presidio_mb_per_second")
        lines.append("| " + " | ".join(str(row.get(key, "not run")) for key in keys) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
