"""What a person sees of a source: how much it holds, what was rejected and why, what it looks like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipeline.artifacts import Report
from pipeline.part_cache import CachedPart, reject_table
from pipeline.records import Ledger

SAMPLE_CHARACTERS = 600
NUM_SAMPLES = 3
TABLE_ROWS = 20


def make_report(parts: Sequence[CachedPart], ledger: Ledger, *, paths: Sequence[str]) -> Report:
    """The report of a source's parts; `paths` are theirs, in the same order."""
    kept, taken = ledger.kept, ledger.taken
    report = Report(
        figures={
            "num_files": len(parts),
            "num_documents": kept.documents,
            "num_bytes": kept.num_bytes,
            "mean_document_bytes": round(kept.num_bytes / kept.documents, 1) if kept.documents else 0.0,
            "num_rejected_documents": taken.documents - kept.documents,
            "num_rejected_bytes": taken.num_bytes - kept.num_bytes,
        }
    )
    report.tables["Files"] = [
        {"path": path, "documents": part.ledger.kept.documents, "bytes": part.ledger.kept.num_bytes}
        | {"rejected_documents": part.ledger.taken.documents - part.ledger.kept.documents}
        for path, part in sorted(
            zip(paths, parts, strict=True), key=lambda pair: (-pair[1].ledger.taken.num_bytes, pair[0])
        )
    ][:TABLE_ROWS]
    if len(parts) > TABLE_ROWS:
        report.notes.append(f"The table shows the largest {TABLE_ROWS} of {len(parts)} files.")
    report.tables["Rejects by reason"] = reject_table(ledger)
    facts: Counter[str] = Counter()
    for part in parts:
        facts.update(part.account["facts"])
    report.notes += [f"{count} files: {fact}." for fact, count in sorted(facts.items())]
    samples = [part.account["sample"] for part in parts if part.account["sample"] is not None]
    for number, sample in enumerate(samples[:: max(1, len(samples) // NUM_SAMPLES)][:NUM_SAMPLES], start=1):
        title = f"{number}. {sample['path']}" + (f": {sample['title']}" if sample["title"] else "")
        report.samples[title] = sample["text"]
    return report
