"""Both sides of a pair are cleaned, measured and freed of personal data; a pair with an empty side is a reject."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from pipeline.cleaning.clean import clean_batch
from pipeline.cleaning.pairs import side_hash
from pipeline.config.columns import RULE_COLUMNS
from pipeline.records import RAW_SCHEMA, document_id

ENGLISH = "A brown dog runs over the green meadow behind the house."
GERMAN = "Ein brauner Hund läuft über die grüne Wiese hinter dem Haus."


def cleaned(
    text: str, target: str | None, kinds: tuple[str, ...] = ()
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    row = {
        "id": document_id(text, target),
        "source": "s",
        "path": "p",
        "index": 0,
        "text": text,
        "num_bytes": len(text.encode()),
        "target": target,
    }
    kept, rejects = clean_batch(pa.RecordBatch.from_pylist([row], RAW_SCHEMA), kinds)
    return kept.to_pylist(), rejects


def test_both_sides_are_made_plain_and_measured() -> None:
    ((row,), _) = cleaned(f"{ENGLISH} \r\n", f"{GERMAN}\x00\u2028")
    assert (row["text"], row["target"]) == (ENGLISH, GERMAN)
    assert (row["language"], row["target_language"]) == ("en", "de")
    assert row["target_language_confidence"] > 0.9
    assert row["target_characters"] == len(GERMAN) == 60
    assert row["length_ratio"] == pytest.approx(60 / 56)
    assert row["text_hash"] == document_id(ENGLISH, GERMAN)


def test_documents_without_a_target_have_none_of_it() -> None:
    ((row,), _) = cleaned(ENGLISH, None)
    columns = [name for name in RULE_COLUMNS if name.startswith("target")] + [
        "length_ratio",
        "source_hash",
        "target_hash",
    ]
    assert len(columns) == 7
    assert all(row[name] is None for name in columns)


def test_personal_data_goes_from_both_sides() -> None:
    ((row,), _) = cleaned("Write to ann@example.org.", "Schreib an bob@example.org oder eve@example.org.", ("email",))
    assert row["text"] == "Write to <EMAIL>."
    assert row["target"] == "Schreib an <EMAIL> oder <EMAIL>."
    assert row["redactions"] == [("email", 3)]


@pytest.mark.parametrize(
    ("text", "target", "reason", "detail"),
    [
        ("\u200e\x00 \x01", "x" * 40, "unreadable", "0.500 of its characters"),
        (" \n ", "Wort", "empty_after_cleaning", "Nothing but white space"),
        ("word", " \n\ufeff ", "empty_target", "Of its target: Nothing but white space"),
        ("word", "Wort\x00\x01\x02\x03", "unreadable_target", "Of its target: 0.500 of its characters are control"),
    ],
)
def test_a_pair_with_an_empty_or_unreadable_side_is_a_reject(text: str, target: str, reason: str, detail: str) -> None:
    kept, (reject,) = cleaned(text, target)
    assert kept == []
    assert reject["reason"] == reason
    assert reject["detail"].startswith(detail)


def test_a_side_is_the_same_whatever_its_case_and_punctuation() -> None:
    assert side_hash("A dog, running.") == side_hash("a DOG running") == side_hash("A  dog\nrunning!")
    assert side_hash("STRASSE") == side_hash("straße")
    assert side_hash("a dog runs") != side_hash("a dogruns")
    assert side_hash("你好。") == side_hash("你好")
    assert side_hash("मैं आता हूँ।") == side_hash("मैं  आता हूँ")
    assert side_hash("...") != side_hash("!")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("वह आता है।", "वह आती है।"),  # he comes, she comes: the vowel is a mark
        ("ป่า", "ป้า"),  # forest, aunt: the tone is a mark
        ("மீன்", "மான்"),  # fish, deer
        ("عَلِمَ", "عُلِمَ"),  # he knew, it was known
    ],
)
def test_marks_that_make_other_words_make_other_sides(one: str, other: str) -> None:
    assert side_hash(one) != side_hash(other)
    assert side_hash("so ❤️") == side_hash("so ❤")  # but how a symbol is shown is no word
