"""Whether a corpus kept as much as its settings expect: outside that range, something upstream is wrong."""

from __future__ import annotations

from pipeline.artifacts import Artifact
from pipeline.config.data import ExpectConfig
from pipeline.records import Ledger


def judge_kept(corpus: Artifact, expect: ExpectConfig) -> tuple[bool, str]:
    """Whether it is as expected, and the figures in a sentence."""
    ledger = Ledger.from_json(corpus.manifest.counts["ledger"])
    kept = ledger.kept.documents
    fraction = kept / max(ledger.taken.documents, 1)
    is_expected = kept >= expect.min_documents and expect.min_kept_fraction <= fraction <= expect.max_kept_fraction
    wanted = f"{expect.min_kept_fraction:g} to {expect.max_kept_fraction:g} and at least {expect.min_documents}"
    return is_expected, f"{kept} documents kept, a fraction of {fraction:.3f}; expected {wanted} (corpora.expect)."
