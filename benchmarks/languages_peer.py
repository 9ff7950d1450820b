"""Datatrove's filters with FineWeb-2's settings, each document by those of its language: `DOCUMENTS TABLE`.

DOCUMENTS is a Parquet file with `id`, `text` and `language`, TABLE is pipeline/config/fineweb2.tsv. Filters and their
settings are those of FineWeb-2's pipeline; words are those of the splitter that datatrove has for the language. Prints as
JSON the ids that are rejected, each with the first reason.
"""

from __future__ import annotations

import csv
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter


def main() -> None:
    """Judges and prints."""
    with Path(sys.argv[2]).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    rejected: dict[str, str] = {}
    for row in rows:
        documents = pq.read_table(sys.argv[1], filters=[("language", "=", row["language"])])
        filters = filters_of(row)
        for document in documents.select(["id", "text"]).to_pylist():
            reason = first_reason(filters, document["text"])
            if reason is not None:
                rejected[document["id"]] = reason
    versions = {name: importlib.metadata.version(name) for name in ("datatrove", "spacy")}
    print(json.dumps({**versions, "rejected": rejected}))


def filters_of(row: dict[str, str]) -> list[Any]:
    """In the order in which FineWeb-2 runs them."""
    language = row["published_as"]
    return [
        GopherRepetitionFilter(
            language=language,
            dup_para_frac=0,
            dup_line_char_frac=0,
            dup_para_char_frac=0,
            dup_line_frac=float(row["max_line_repeat_fraction"]),
            top_n_grams=tuple((n, float(row[f"max_top_{n}_gram_fraction"])) for n in range(2, 5)),
            dup_n_grams=tuple((n, float(row[f"max_duplicate_{n}_gram_fraction"])) for n in range(5, 11)),
        ),
        FineWebQualityFilter(
            language=language,
            short_line_thr=999,
            char_duplicates_ratio=0.1,
            line_punct_thr=float(row["min_terminal_line_fraction"]),
            new_line_ratio=float(row["max_newlines_per_word"]),
        ),
        GopherQualityFilter(
            language=language,
            min_avg_word_length=float(row["min_mean_word_length"]),
            max_avg_word_length=float(row["max_mean_word_length"]),
            max_non_alpha_words_ratio=float(row["min_alphabetic_word_fraction"]),
            stop_words=row["stop_words"].split(" "),
            min_stop_words=2,
        ),
    ]


def first_reason(filters: list[Any], text: str) -> str | None:
    """Why a text is rejected, or None."""
    for one in filters:
        try:
            answer = one.filter(Document(text=text, id=""))
        except ZeroDivisionError:
            return "division by zero"
        if answer is not True:
            return str(answer[1])
    return None


if __name__ == "__main__":
    main()
