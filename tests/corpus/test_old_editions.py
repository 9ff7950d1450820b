"""Old Gutenberg editions are near-duplicates of the current ones, chapter by chapter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from corpus_building import build_from, clean_row, documents_of, rejects_of

NOVELS = {
    "pride-and-prejudice": (r"^Chapter \d+\s*$", 61),
    "moby-dick-or-the-whale": (r"^CHAPTER \d+", 135),
}
"""File -> heading of a chapter, and how many chapters the novel has."""


def chapters(file: Path, heading: str, num_chapters: int) -> list[str]:
    """Without the table of contents, whose entries look like headings, and without the licence."""
    text = file.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n")
    text = re.split(r"^(?:\*\*\* ?END OF|End of (?:The )?Project Gutenberg)", text, flags=re.MULTILINE)[0]
    pieces = re.split(heading, text, flags=re.MULTILINE)[1:]
    return pieces[-num_chapters:]


def words_of(text: str) -> list[str]:
    return re.sub(r"[\W_]+", " ", text.lower()).split()


def similarity(one: str, other: str) -> float:
    sets = [
        {tuple(words[start : start + 5]) for start in range(len(words) - 4)} for words in map(words_of, (one, other))
    ]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@pytest.mark.slow
@pytest.mark.parametrize("novel", sorted(NOVELS))
def test_every_chapter_of_the_old_edition_meets_its_own_in_the_current_one(
    tmp_path: Path, corpora: Path, novel: str
) -> None:
    heading, num_chapters = NOVELS[novel]
    names = {"current": f"{novel}.txt", "old": f"{novel}-old-edition.txt"}
    editions = {name: chapters(corpora / "books" / file, heading, num_chapters) for name, file in names.items()}
    assert [len(found) for found in editions.values()] == [num_chapters, num_chapters]
    expected = [similarity(*pair) for pair in zip(*editions.values(), strict=True)]
    alike = {index for index, value in enumerate(expected) if value >= 0.8}
    sources = {
        name: [clean_row(text, index, source=name) for index, text in enumerate(found)]
        for name, found in editions.items()
    }
    settings = {"deduplicate": {"near": {"similarity": 0.8}}, "splits": {"validation": 0.2, "test": 0.2}}
    artifact = build_from(tmp_path, sources, **settings)
    kept = {row["id"]: row["index"] for row in documents_of(artifact)}
    rejects = rejects_of(artifact)
    assert {row["reason"] for row in rejects} <= {"near_duplicate", "duplicate"}
    met = {}
    for row in rejects:
        keeper = re.search(r"(\w{32}) \(\w+:[^)]*\), which is kept", row["detail"])
        assert keeper is not None
        met[row["index"]] = kept[keeper[1]]
    assert met == {index: index for index in alike}
    assert len(alike) >= 0.95 * num_chapters
