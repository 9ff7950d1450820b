"""What a person sees of a source: how much it holds, what was rejected and why, what it looks like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pipeline.artifacts import Report
from pipeline.part_cache import CachedPart, reject_table
from pipeline.records import Ledger

SAMPLE_CHARACTERS = 600
NUM_SAMPLES = 3
TABLE_ROWS = 20
FILE_COUNTS = ("documents", "bytes", "rejected_documents", "rejected_bytes")


def by_size(file: Mapping[str, int | str]) -> tuple[int, str]:
    """Orders the entries of files, the largest first."""
    return -int(file["bytes"]) - int(file["rejected_bytes"]), str(file["path"])


def make_report(parts: Sequence[CachedPart], ledger: Ledger, *, num_files: int) -> Report:
    """The report of a source's parts, which hold what was in so many files."""
    kept, taken = ledger.kept, ledger.taken
    report = Report(
        figures={
            "num_files": num_files,
            "num_documents": kept.documents,
            "num_bytes": kept.num_bytes,
            "mean_document_bytes": round(kept.num_bytes / kept.documents, 1) if kept.documents else 0.0,
            "num_rejected_documents": taken.documents - kept.documents,
            "num_rejected_bytes": taken.num_bytes - kept.num_bytes,
        }
    )
    files: dict[str, Counter[str]] = {}
    for part in parts:
        for file in part.account["files"]:  # ranges of one file are several parts
            files.setdefault(file["path"], Counter()).update({key: file[key] for key in FILE_COUNTS})
    rows: list[dict[str, int | str]] = [{"path": path} | dict(count) for path, count in files.items()]
    report.tables["Files"] = sorted(rows, key=by_size)[:TABLE_ROWS]
    if num_files > TABLE_ROWS:
        report.notes.append(f"The table shows the largest {TABLE_ROWS} of {num_files} files.")
    report.tables["Rejects by reason"] = reject_table(ledger)
    facts: Counter[str] = Counter()
    for part in parts:
        facts.update(part.account["facts"])
    report.notes += [f"{count} files: {fact}." for fact, count in sorted(facts.items())]
    samples = [sample for part in parts for sample in part.account["samples"]]
    for number, sample in enumerate(samples[:: max(1, len(samples) // NUM_SAMPLES)][:NUM_SAMPLES], start=1):
        title = f"{number}. {sample['path']}" + (f": {sample['title']}" if sample["title"] else "")
        report.samples[title] = sample["text"]
    return report
