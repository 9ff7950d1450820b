"""Raw documents of one batch become clean ones with their signals: a pure function, the unit of parallel work.

In: a batch of RAW_SCHEMA. Out: a batch of CLEAN_SCHEMA and the rejects. Only what cannot be read is dropped here; what
is poor in quality keeps its signals as columns, so that a threshold changes without this being done again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

import pyarrow as pa

from pipeline.cleaning.language import identify_languages
from pipeline.cleaning.pairs import pair_columns
from pipeline.cleaning.pii.redact import redact
from pipeline.cleaning.signals import measure
from pipeline.cleaning.text import CleanText, clean_text, clean_title
from pipeline.part_cache import reject_row
from pipeline.records import CLEAN_SCHEMA, document_id

STAGE = "clean_documents"
MAX_UNREADABLE_FRACTION = 0.1
"""Of characters: control and replacement characters above this mean binary data or a lost encoding."""
_REDACTED_CHARACTERS = 2000
"""Of a rejected text, looked at before an excerpt is cut from it, so that no number is cut in two and missed."""


def clean_batch(batch: pa.RecordBatch, kinds: Collection[str] = ()) -> tuple[pa.RecordBatch, list[dict[str, Any]]]:
    """The cleaned documents, in order, and a row of REJECT_SCHEMA for each that was dropped.

    Personal data of the given kinds (pii/kinds.py) is replaced in both.
    """
    kept: list[dict[str, Any]] = []
    rejects: list[dict[str, Any]] = []
    for raw in batch.to_pylist():
        cleaned = clean_text(raw["text"])
        target = clean_text(raw["target"]) if raw["target"] is not None else None
        problem = _problem(raw["text"], cleaned)
        if problem is None and target is not None:
            problem = _target_problem(raw["target"], target)
        if problem is None:
            kept.append(_clean_row(raw, cleaned, target, kinds))
            continue
        reason, detail, value, threshold = problem
        rejects.append(
            reject_row(
                stage=STAGE,
                source=raw["source"],
                path=raw["path"],
                index=raw["index"],
                id=raw["id"],
                reason=reason,
                detail=detail,
                num_bytes=raw["num_bytes"],
                excerpt=_excerpt(raw["text"], kinds),
                value=value,
                threshold=threshold,
            )
        )
    texts = [row["text"] for row in kept]
    identified = identify_languages(texts)
    languages = [language for language, _ in identified]
    signals: dict[str, Any] = {
        "language": languages,
        "language_confidence": [confidence for _, confidence in identified],
        **measure(texts, languages),
        **pair_columns(texts, [row["target"] for row in kept]),
    }
    columns = [
        pa.array(signals[field.name] if field.name in signals else [row[field.name] for row in kept], field.type)
        for field in CLEAN_SCHEMA
    ]
    return pa.RecordBatch.from_arrays(columns, schema=CLEAN_SCHEMA), rejects


def _excerpt(raw: str, kinds: Collection[str]) -> str:
    """The beginning of a rejected text. Where personal data is replaced it is cleaned first: between NUL characters, as UTF-16
    has them where it was read as something else, nothing would be found."""
    beginning = raw[:_REDACTED_CHARACTERS]
    return redact(clean_text(beginning).text, kinds)[0] if kinds else beginning


def _problem(raw: str, cleaned: CleanText) -> tuple[str, str, float | None, float | None] | None:
    """Reason, detail, value and threshold of a reject, or None."""
    fraction = cleaned.num_unreadable / max(len(raw), 1)
    if fraction > MAX_UNREADABLE_FRACTION:
        detail = (
            f"{fraction:.3f} of its characters are control or replacement characters; at most "
            f"{MAX_UNREADABLE_FRACTION} may be."
        )
        return "unreadable", detail, fraction, MAX_UNREADABLE_FRACTION
    if not cleaned.text.strip():
        return "empty_after_cleaning", "Nothing but white space and invisible characters is left.", None, None
    return None


def _target_problem(raw: str, cleaned: CleanText) -> tuple[str, str, float | None, float | None] | None:
    """The same of a pair's other half."""
    problem = _problem(raw, cleaned)
    if problem is None:
        return None
    reason, detail, value, threshold = problem
    reason = {"unreadable": "unreadable_target", "empty_after_cleaning": "empty_target"}[reason]
    return reason, f"Of its target: {detail}", value, threshold


def _clean_row(
    raw: dict[str, Any], cleaned: CleanText, cleaned_target: CleanText | None, kinds: Collection[str]
) -> dict[str, Any]:
    text, redactions = redact(cleaned.text, kinds)
    title = clean_title(raw["title"])
    if title is not None:
        title, in_title = redact(title, kinds)
        redactions = Counter(redactions) + Counter(in_title)
    target = None
    if cleaned_target is not None:
        target, in_target = redact(cleaned_target.text, kinds)
        redactions = Counter(redactions) + Counter(in_target)
    return {
        **raw,
        "title": title,
        "text": text,
        "target": target,
        "num_bytes": len(text.encode()),
        "raw_bytes": raw["num_bytes"],
        "text_hash": document_id(text, target),
        "repaired": cleaned.repaired or (cleaned_target is not None and cleaned_target.repaired),
        "redactions": sorted(redactions.items()) or None,
    }
