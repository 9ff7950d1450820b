"""What clean documents say of pairs: the language of the target, how long it is beside the text, and a hash of each side.

In: cleaned texts and targets. Out: columns of CLEAN_SCHEMA, null for documents without a target. The hashes are those of the
sides' words, so that a sentence is the same one whatever its case and punctuation: splits keep apart what shares one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import regex

from pipeline.cleaning.language import identify_languages

_WORD = regex.compile(r"[\p{L}\p{N}_][\p{L}\p{N}\p{M}_]*")
"""A letter's marks belong to it: they are the vowels of Hindi and the tones of Thai, which `\\w` of `re` leaves out."""


def side_hash(text: str) -> str:
    """32 hexadecimal digits over the words of a side; "A dog." and "a dog" share them.

    A side without words is hashed as it is.
    """
    words = " ".join(_WORD.findall(text.casefold())) or text
    return hashlib.blake2b(words.encode(), digest_size=16).hexdigest()


def pair_columns(texts: Sequence[str], targets: Sequence[str | None]) -> dict[str, list[Any]]:
    """The columns of pairs by name, each with one value a document."""
    columns: dict[str, list[Any]] = {
        name: [None] * len(texts)
        for name in (
            "target_language",
            "target_language_confidence",
            "target_characters",
            "length_ratio",
            "source_hash",
            "target_hash",
        )
    }
    pairs = [(row, text, target) for row, (text, target) in enumerate(zip(texts, targets, strict=True)) if target]
    languages = identify_languages([target for _, _, target in pairs])
    for (row, text, target), (language, confidence) in zip(pairs, languages, strict=True):
        columns["target_language"][row] = language
        columns["target_language_confidence"][row] = confidence
        columns["target_characters"][row] = len(target)
        columns["length_ratio"][row] = len(target) / len(text)
        columns["source_hash"][row], columns["target_hash"][row] = side_hash(text), side_hash(target)
    return columns
