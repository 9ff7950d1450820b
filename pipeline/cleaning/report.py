"""What a person sees of a source's clean documents: size, languages, repairs, redactions, what was dropped and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipeline.artifacts import Report
from pipeline.cleaning.pii.kinds import PLACEHOLDERS
from pipeline.part_cache import CachedPart, reject_table
from pipeline.records import Ledger

TABLE_ROWS = 20
NUM_SAMPLES = 3


def make_report(parts: Sequence[CachedPart], ledger: Ledger) -> Report:
    """The report of a source's cleaned parts."""
    totals: Counter[str] = Counter()
    languages: dict[str, Counter[str]] = {}
    for part in parts:
        totals.update(part.account["totals"])
        for language, count in part.account["languages"].items():
            languages.setdefault(language, Counter()).update(count)
    redactions: Counter[str] = Counter()
    for part in parts:
        redactions.update(part.account["redactions"])
    kept, taken = ledger.kept, ledger.taken
    ranked = sorted(languages.items(), key=lambda item: (-item[1]["bytes"], item[0]))
    report = Report(
        figures={
            "num_documents": kept.documents,
            "num_bytes": totals["num_bytes"],
            "num_characters": totals["num_characters"],
            "num_words": totals["num_words"],
            "num_lines": totals["num_lines"],
            "mean_document_bytes": round(totals["num_bytes"] / kept.documents, 1) if kept.documents else 0.0,
            "num_removed_bytes": kept.num_bytes - totals["num_bytes"],
            "num_repaired_documents": totals["repaired"],
            "num_redacted_documents": totals["redacted"],
            "num_redactions": redactions.total(),
            "num_rejected_documents": taken.documents - kept.documents,
            "num_rejected_bytes": taken.num_bytes - kept.num_bytes,
            "main_language": ranked[0][0] if ranked else "und",
            "num_languages": len(ranked),
        }
    )
    report.tables["Languages"] = [
        {
            "language": language,
            "documents": count["documents"],
            "bytes": count["bytes"],
            "byte_fraction": round(count["bytes"] / totals["num_bytes"], 4),
        }
        for language, count in ranked[:TABLE_ROWS]
    ]
    if redactions:
        report.tables["Redactions"] = [
            {"kind": kind, "placeholder": PLACEHOLDERS[kind], "count": redactions[kind]} for kind in sorted(redactions)
        ]
    report.tables["Rejects by reason"] = reject_table(ledger)
    repairs = [part.account["repaired"] for part in parts if part.account["repaired"] is not None]
    for number, repair in enumerate(repairs[:NUM_SAMPLES], start=1):
        report.samples[f"Mojibake {number}: {repair['path']}"] = f"{repair['before']}\n{repair['after']}"
    return report
