"""What a person sees of a corpus: figures, tables and remarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipeline.artifacts import Report
from pipeline.config.quality import languages_of
from pipeline.corpus.dedup import DUPLICATE, NEAR_DUPLICATE
from pipeline.corpus.fixed_splits import LEAKAGE
from pipeline.corpus.lines import LineCutter
from pipeline.corpus.near.dedup import NearCounts
from pipeline.corpus.pairs import PairCounts
from pipeline.corpus.rules import Unjudged
from pipeline.records import SPLITS, Ledger

MANY_JOINED = 0.05
"""Of the pairs in one set: from here on a remark."""


def make_report(
    ledger: Ledger,
    splits: Mapping[str, Mapping[str, int]],
    by_source: list[dict[str, Any]],
    num_clusters: int,
    near: NearCounts,
    cutter: LineCutter | None,
    mixture: Mapping[str, Any],
    unjudged: list[Unjudged],
    pairs: PairCounts,
) -> Report:
    """Figures, tables and notes for the asset's page."""
    figures: dict[str, int | float | str] = {
        "num_documents_in": ledger.taken.documents,
        "num_documents": ledger.kept.documents,
        "num_bytes": ledger.kept.num_bytes,
        "kept_fraction": ledger.kept.documents / ledger.taken.documents,
        "num_duplicates": ledger.rejected[DUPLICATE].documents if DUPLICATE in ledger.rejected else 0,
        "num_near_duplicates": ledger.rejected[NEAR_DUPLICATE].documents if NEAR_DUPLICATE in ledger.rejected else 0,
        "num_candidate_pairs": near.num_candidate_pairs,
        "num_near_duplicate_pairs": near.num_near_pairs,
        "num_duplicate_clusters": num_clusters,
        "num_repeated_lines": len(cutter.num_documents) if cutter else 0,
        "num_repeated_line_bytes": cutter.removed_bytes if cutter else 0,
    }
    if pairs.num_pairs:
        figures |= {
            "num_pairs": pairs.num_pairs,
            "num_joined_sets": pairs.num_components,
            "largest_joined_set": pairs.largest_component,
            "num_leaks": ledger.rejected[LEAKAGE].documents if LEAKAGE in ledger.rejected else 0,
        }
    rejects = [
        {"reason": reason, "documents": count.documents, "bytes": count.num_bytes}
        for reason, count in sorted(ledger.rejected.items(), key=lambda entry: (-entry[1].documents, entry[0]))
    ]
    return Report(
        figures=figures,
        tables={
            "Splits": [{"split": split, **splits[split]} for split in SPLITS],
            "Sources": by_source,
            "Rejects by reason": rejects,
            **({"Repeated across documents": cutter.table()} if cutter else {}),
            "Not judged, being in another language": [asdict(row) for row in unjudged],
            "Mixture": mixture["sources"],
            "Quality buckets": mixture["buckets"],
        },
        notes=[*mixture["notes"], *_notes(unjudged), *_notes_of_pairs(pairs)],
    )


def _notes_of_pairs(pairs: PairCounts) -> list[str]:
    if pairs.largest_component <= max(MANY_JOINED * pairs.num_pairs, 2):
        return []
    return [
        f"{pairs.largest_component:,} of {pairs.num_pairs:,} pairs hang together by what they share, and are in one split. If "
        "short answers join them, set pairs.joined_by to text."
    ]


def _notes(unjudged: list[Unjudged]) -> list[str]:
    """One sentence for each rule set that left documents unjudged."""
    counts: dict[str, int] = {}
    for row in unjudged:
        counts[row.rule_set] = counts.get(row.rule_set, 0) + row.documents
    return [
        f"{rule_set} is written for {', '.join(languages_of(rule_set))} and did not judge {documents:,} documents in "
        "other languages."
        for rule_set, documents in counts.items()
    ]
