"""Statistics of pairs equal what is counted by hand, and a corpus without pairs has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from test_stats_build import row, statistics

from pipeline.artifacts import Artifact
from pipeline.cleaning.pairs import pair_columns


def pair(text: str, target: str, source: str, split: str, language: str, target_language: str) -> dict[str, Any]:
    columns = {name: values[0] for name, values in pair_columns([text], [target]).items()}
    return (
        {**row(f"{text}{target}", source, split, language), "text": text, "num_characters": len(text)}
        | columns
        | {
            "target": target,
            "target_language": target_language,
        }
    )


def table(artifact: Artifact, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(artifact.file(f"tables/{name}.parquet")).to_pylist()
    return rows


def test_both_sides_are_counted(tmp_path: Path) -> None:
    rows = [
        pair("aaaa", "bb", "one", "train", "en", "de"),
        pair("aaaa a", "bbb", "one", "train", "en", "de"),
        pair("cccc", "b-b!", "two", "train", "en", "fr"),
        pair("dddd", "B b", "two", "train", "en", "fr"),
        row("no pair", "two", "train", "en"),
    ]
    artifact = statistics(tmp_path, rows, [])
    first, second = table(artifact, "pairs")
    assert (first["source"], first["pairs"], first["text_characters"], first["target_characters"]) == ("one", 2, 10, 5)
    assert first["length_ratio_median"] == 0.5
    assert second["target_characters_ninety_fifth_percentile"] == pytest.approx(3.95)
    assert [
        (found["language"], found["target_language"], found["pairs"]) for found in table(artifact, "pair_languages")
    ] == [
        ("en", "de", 2),
        ("en", "fr", 2),
    ]
    assert table(artifact, "pair_targets") == [{"target": "B b", "pairs": 2}]
    ratios = {found["from_ratio"]: found["pairs"] for found in table(artifact, "pair_ratios")}
    assert ratios[0.5] == 2
    assert ratios[1.0] == 1
    assert sum(found["pairs"] for found in table(artifact, "pair_lengths")) == 4
    figures = artifact.report().figures
    assert (figures["num_pairs"], figures["num_language_pairs"]) == (4, 2)
    assert figures["target_characters_per_text_character"] == pytest.approx(12 / 18)
    assert artifact.file("plots/pairs.png").read_bytes().startswith(b"\x89PNG")


def test_without_pairs_the_tables_are_empty(tmp_path: Path) -> None:
    artifact = statistics(tmp_path, [row("no pair", "two", "train", "en")], [])
    assert table(artifact, "pairs") == table(artifact, "pair_targets") == []
    assert "num_pairs" not in artifact.report().figures
    assert "Pairs" not in artifact.report().plots
