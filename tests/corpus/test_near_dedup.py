"""Near-duplicates in the corpus: planted ones are found, splits hold whole clusters, caches change no byte."""

from __future__ import annotations

import random
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from corpus_building import build_from, clean_row, documents_of, rejects_of

from pipeline.artifacts import Artifact
from pipeline.config.data import SplitsConfig
from pipeline.corpus.layout import reject_files
from pipeline.corpus.near import candidates, verify
from pipeline.corpus.near import dedup as near_dedup
from pipeline.corpus.splits import split_of

NEAR = {"deduplicate": {"near": {"similarity": 0.8}}, "splits": {"validation": 0.2, "test": 0.2}}
VOCABULARY = [f"word{number}" for number in range(5000)]


def words_of(seed: int, count: int = 200) -> list[str]:
    return random.Random(seed).choices(VOCABULARY, k=count)  # noqa: S311


def edited(words: list[str], seed: int, num_edits: int) -> list[str]:
    """Each edit replaces one word, far from the others: 5 shingles of 196 differ."""
    picked = random.Random(seed).sample(range(5, len(words) - 5, 6), num_edits)  # noqa: S311
    return [f"new{seed}x{place}" if place in picked else word for place, word in enumerate(words)]


def shingles_of(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[start : start + 5]) for start in range(len(words) - 4)}


def by_shingles(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    return len(one & other) / len(one | other)


def planted(num_families: int = 60) -> list[str]:
    texts = []
    for family in range(num_families):
        original = words_of(family)
        texts.append(" ".join(original))
        texts += [" ".join(edited(original, 1000 * family + copy, 1 + copy)) for copy in range(family % 5)]
    return texts


def brute_force_clusters(texts: list[str], similarity: float) -> set[frozenset[str]]:
    parent = {text: text for text in texts}

    def root(text: str) -> str:
        while parent[text] != text:
            text = parent[text]
        return text

    shingles = {text: shingles_of(text) for text in texts}
    for one, other in combinations(texts, 2):
        if by_shingles(shingles[one], shingles[other]) >= similarity:
            parent[root(one)] = root(other)
    found = defaultdict(set)
    for text in texts:
        found[root(text)].add(text)
    return {frozenset(cluster) for cluster in found.values()}


def rows_of(texts: list[str]) -> list[dict[str, Any]]:
    return [clean_row(text, index) for index, text in enumerate(texts)]


def test_of_two_alike_the_smallest_id_is_kept_and_the_reject_says_why(tmp_path: Path) -> None:
    # one word of 100 replaced in the middle: 96 shingles each, 91 shared of 101
    original = words_of(1, 100)
    other = [*original[:50], "different", *original[51:]]
    rows = rows_of([" ".join(words_of(seed)) for seed in range(50, 90)])
    rows += [clean_row(" ".join(original), 100, id="4" * 32), clean_row(" ".join(other), 101, id="7" * 32)]
    rows += [clean_row(" ".join(other), 102, id="9" * 32)]
    artifact = build_from(tmp_path, {"notes": rows}, **NEAR)
    near, exact = sorted(rejects_of(artifact), key=lambda row: row["id"])
    where = f"{'4' * 32} (notes:a.txt:100), which is kept"
    assert (near["reason"], exact["reason"]) == ("near_duplicate", "duplicate")
    assert near["detail"] == f"similarity {91 / 101:.4f} with {'4' * 32}, in the cluster of {where}"
    assert exact["detail"] == f"the same text as {'7' * 32} (notes:a.txt:101), in the cluster of {where}"
    (keeper,) = [row for row in documents_of(artifact) if row["index"] == 100]
    assert (keeper["cluster_id"], keeper["cluster_size"]) == ("4" * 32, 3)
    assert keeper["split"] == split_of("4" * 32, SplitsConfig(**NEAR["splits"]))
    figures = artifact.report().figures
    assert (figures["num_duplicates"], figures["num_near_duplicates"], figures["num_near_duplicate_pairs"]) == (1, 1, 1)


def test_planted_duplicates_give_the_clusters_of_brute_force(tmp_path: Path) -> None:
    texts = planted()
    expected = brute_force_clusters(texts, 0.8)
    assert 60 <= len(expected) < len(texts)
    artifact = build_from(tmp_path, {"notes": rows_of(texts)}, **NEAR)
    assert sorted(row["cluster_size"] for row in documents_of(artifact)) == sorted(map(len, expected))
    cluster_of = {text: cluster for cluster in expected for text in cluster}
    assert len({cluster_of[row["text"]] for row in documents_of(artifact)}) == len(expected)


def test_recall_at_the_threshold_is_that_of_the_bands(tmp_path: Path) -> None:
    pairs = []
    for seed in range(300):  # 4 edits: 20 of 196 shingles on each side, Jaccard 176 / 216 = 0.815
        original = words_of(seed)
        pairs.append((" ".join(original), " ".join(edited(original, seed, 4))))
    assert {round(by_shingles(*map(shingles_of, pair)), 3) for pair in pairs} == {0.815}
    artifact = build_from(tmp_path, {"notes": rows_of([text for pair in pairs for text in pair])}, **NEAR)
    found = len([row for row in rejects_of(artifact) if row["reason"] == "near_duplicate"])
    assert found >= 0.96 * len(pairs)  # 1 - (1 - 0.815 ** 7) ** 18 = 0.991
    below = [" ".join(edited(words_of(seed), seed, 6)) for seed in range(300)]  # 166 / 226 = 0.735
    artifact = build_from(tmp_path / "below", {"notes": rows_of([pair[0] for pair in pairs] + below)}, **NEAR)
    assert rejects_of(artifact) == []  # verified: nothing below the similarity is taken


def test_chinese_is_compared_by_characters(tmp_path: Path) -> None:
    characters = [chr(0x4E00 + number) for number in range(3000)]
    rows = [clean_row("".join(random.Random(seed).sample(characters, 120)), seed, language="zh") for seed in range(40)]  # noqa: S311
    text = rows[0]["text"]
    rows.append(clean_row(text[:60] + "，" + text[60:119] + "龥", 99, language="zh"))
    artifact = build_from(tmp_path, {"notes": rows}, **NEAR)
    assert [row["reason"] for row in rejects_of(artifact)] == ["near_duplicate"]


def test_documents_shorter_than_a_shingle_are_kept(tmp_path: Path) -> None:
    texts = [f"only four words {number}" for number in range(60)]
    artifact = build_from(tmp_path, {"notes": rows_of([*texts, "only four words 1!"])}, **NEAR)
    assert len(documents_of(artifact)) == 61


@pytest.mark.slow
def test_order_files_and_workers_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = planted()
    hashes = []
    for number, (order, num_files, num_workers) in enumerate([(texts, 1, 1), (texts[::-1], 3, 1), (texts, 5, 2)]):
        if num_workers > 1:
            monkeypatch.setattr(near_dedup, "SMALL_WORK_BYTES", 0)
            monkeypatch.setattr(verify, "_SMALL_TEXTS", 0)
            monkeypatch.setattr(verify, "_SMALL_PAIRS", 0)
        rows = [clean_row(text) for text in order]
        artifact = build_from(
            tmp_path / str(number), {"notes": rows}, num_files=num_files, num_workers=num_workers, **NEAR
        )
        hashes.append(artifact.manifest.content_hash)
    assert len(set(hashes)) == 1


def test_added_documents_are_compared_with_the_old_bands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = planted()
    sources = {"old": rows_of(texts[::2]), "new": [row | {"source": "new"} for row in rows_of(texts[1::2])]}
    scratch = build_from(tmp_path / "scratch", sources, **NEAR)
    build_from(tmp_path / "grown", {"old": sources["old"]}, **NEAR)
    sketched, compared = [], []
    build, check = near_dedup.build_sketches, near_dedup.verify_pairs
    monkeypatch.setattr(near_dedup, "build_sketches", lambda task: sketched.append(task.clean) or build(task))
    monkeypatch.setattr(
        near_dedup, "verify_pairs", lambda a, b, *p, **k: compared.append(len(a)) or check(a, b, *p, **k)
    )
    grown = build_from(tmp_path / "grown", sources, **NEAR)
    assert grown.manifest.content_hash == scratch.manifest.content_hash
    assert [path.parts[-4] for path in sketched] == ["new"]
    assert 0 < compared[0] < scratch.report().figures["num_candidate_pairs"]
    again = build_from(tmp_path / "grown", sources, version="again", **NEAR)
    assert again.manifest.content_hash == scratch.manifest.content_hash
    assert (len(sketched), len(compared)) == (1, 1)


def test_a_damaged_cache_is_built_again(tmp_path: Path) -> None:
    sources = {"notes": rows_of(planted(20))}
    before = build_from(tmp_path, sources, **NEAR)
    tables = sorted((tmp_path / "corpus" / "english" / "parts").glob("*/documents.parquet"))
    assert len(tables) == 4  # sketches, pairs, the rules' verdicts, and the training documents of the one bin
    for table in tables:
        table.write_bytes(table.read_bytes()[:-9] + b"\0" * 9)
    after = build_from(tmp_path, sources, version="again", **NEAR)
    assert after.manifest.content_hash == before.manifest.content_hash


def test_a_large_bucket_is_linear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = words_of(7)
    texts = [" ".join(edited(original, seed, 1)) for seed in range(120)]  # all alike: 7,140 pairs
    monkeypatch.setattr(candidates, "MAX_BUCKET_FOR_ALL_PAIRS", 4)
    monkeypatch.setattr(near_dedup, "MAX_BUCKET_FOR_ALL_PAIRS", 4)
    rows = rows_of(texts) + rows_of([" ".join(words_of(seed)) for seed in range(100, 140)])
    artifact = build_from(tmp_path, {"notes": rows}, **NEAR)
    assert artifact.report().figures["num_candidate_pairs"] < 2 * 120 * 18
    (cluster,) = [row for row in documents_of(artifact) if row["cluster_size"] > 1]
    assert cluster["cluster_size"] == 120


def test_a_rejected_document_takes_no_part(tmp_path: Path) -> None:
    original = words_of(3)
    rows = rows_of([" ".join(words_of(seed)) for seed in range(50, 90)])
    rows += [
        clean_row(" ".join(original), 100, letter_fraction=0.1),
        clean_row(" ".join(edited(original, 1, 1)), 101),
    ]
    artifact = build_from(tmp_path, {"notes": rows}, **NEAR)
    assert [row["reason"] for row in rejects_of(artifact)] == ["basic.min_letter_fraction"]
    loose = {**NEAR, "quality": {"overrides": {"basic.min_letter_fraction": 0.05}}}
    loosened = build_from(tmp_path, {"notes": rows}, version="loosened", **loose)
    assert [row["reason"] for row in rejects_of(loosened)] == ["near_duplicate"]
    scratch = build_from(tmp_path / "scratch", {"notes": rows}, **loose)
    assert loosened.manifest.content_hash == scratch.manifest.content_hash


def test_the_two_halves_of_a_pair_are_compared_as_one(tmp_path: Path) -> None:
    text, german, french = (" ".join(words_of(seed, 60)) for seed in (1, 2, 3))
    rows = rows_of([" ".join(words_of(seed)) for seed in range(50, 90)])
    rows += [
        clean_row(text, 100 + number, target=target, id=str(number) * 32, text_hash=str(number) * 32)
        for number, target in enumerate([german, french, german + " more"])
    ]
    artifact: Artifact = build_from(tmp_path, {"notes": rows}, **NEAR)
    assert [row["index"] for row in rejects_of(artifact)] == [102]
    assert pq.read_table(reject_files(artifact)).num_rows == 1
