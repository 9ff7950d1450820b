"""Two versions of a corpus differ in what was changed by hand, and in nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from built_project import CONFIG, build_all, write_project

from assets.cli import main
from pipeline.accounts.diff import Difference, diff
from pipeline.artifacts import ArtifactStore
from pipeline.config import Project
from pipeline.errors import ArtifactMissing, InputError
from pipeline.records import document_id

pytestmark = pytest.mark.slow
LONG_ENOUGH = "tiny note"


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, ArtifactStore]:
    """Three versions: as it was; with a looser rule, other epochs and a note more; and with larger splits and no diary."""
    folder = tmp_path_factory.mktemp("project")
    build_all(write_project(folder))
    looser = CONFIG.replace("min_characters: 12", "min_characters: 3").replace("diary: 2.0", "diary: 1.0")
    project = write_project(folder, looser)
    file = folder / "notes" / "a.txt"
    file.write_text(file.read_text().replace("number 5,", "number five,") + "\n\nA note that was not there before.")
    build_all(project)
    larger = looser.replace("test: 0.1}", "test: 0.3}").replace("diary: 1.0", "").replace("notes: 1.0,", "notes: 1.0")
    text = file.read_text()
    project = write_project(folder, larger)
    file.write_text(text)
    return project, build_all(project)


def changes(found: Difference) -> dict[tuple[str, str, str], int]:
    return {(row["change"], row["source"], row["reason"]): row["documents"] for row in found.rows}


def versions(built: tuple[Project, ArtifactStore]) -> list[str]:
    return [artifact.ref.version for artifact in reversed(built[1].versions("corpus", "both"))]


def test_additions_and_removals_have_their_reasons(changed: tuple[Project, ArtifactStore]) -> None:
    first, second, _ = versions(changed)
    found = diff(*changed, "both", first, second)
    counted = changes(found)
    read = counted.pop(("read more or less often", "diary", "2 to 1 times"))
    assert counted == {
        ("added", "notes", "new in its source"): 2,
        ("added", "notes", "no longer rejected: basic.min_characters"): 1,
        ("removed", "notes", "gone from its source"): 1,
    }
    (row,) = [row for row in found.rows if row["reason"].startswith("no longer rejected")]
    assert (row["example"], row["bytes"]) == (document_id(LONG_ENOUGH), len(LONG_ENOUGH))
    (row,) = [row for row in found.rows if row["change"] == "removed"]
    assert row["example"] == document_id("This is the note of number 5, and a door was open in it.")
    assert read + found.num_unchanged + 1 == 120 + 61
    assert "quality.overrides {'basic.min_characters': 12.0} -> {'basic.min_characters': 3.0}" in found.causes
    assert "clean_documents/notes changed" in found.causes


def test_the_other_way_round_additions_are_removals(changed: tuple[Project, ArtifactStore]) -> None:
    first, second, _ = versions(changed)
    counted = changes(diff(*changed, "both", second, first))
    assert counted["removed", "notes", "rejected: basic.min_characters"] == 1
    assert counted["removed", "notes", "gone from its source"] == 2
    assert counted["added", "notes", "new in its source"] == 1


def test_without_names_the_version_in_use_is_compared_with_the_one_before(
    changed: tuple[Project, ArtifactStore],
) -> None:
    _, second, third = versions(changed)
    found = diff(*changed, "both", None, None)
    assert (found.old.version, found.new.version) == (second, third)
    counted = changes(found)
    assert counted["removed", "diary", "gone from its source"] == 61
    moved = {key: count for key, count in counted.items() if key[0] == "other split"}
    assert {reason for _, _, reason in moved} <= {"train to validation", "train to test", "validation to test"}
    assert sum(moved.values()) > 10  # 121 notes, of which about a fifth enters the test split
    assert "clean_documents/diary taken out" in found.causes


def test_text_that_lost_other_repeated_lines_was_not_cleaned_otherwise(tmp_path: Path) -> None:
    def build(config: str, footer: str) -> tuple[Project, ArtifactStore]:
        project = write_project(tmp_path, config)
        texts = [f"Dear diary, day {day} was like any other.\\n{footer}" for day in range(60)]
        (tmp_path / "diary.jsonl").write_text("\n".join(f'{{"text": "{text}"}}' for text in texts))
        return project, build_all(project)

    cutting = CONFIG.replace(
        "    splits:", "    deduplicate: {lines: {max_documents: 20, min_characters: 1}}\n    splits:"
    )
    build(CONFIG, "All rights reserved.")
    cut = build(cutting, "All rights reserved.")
    counted = changes(diff(*cut, "both", None, None))
    assert counted == {("other text", "diary", "other repeated lines taken out"): 60}
    spaced = build(cutting, "All rights reserved.\\nYours")
    counted = changes(diff(*spaced, "both", None, None))
    assert ("removed", "diary", "gone from its source") in counted  # another text is another document


def test_equal_versions_have_no_change(changed: tuple[Project, ArtifactStore]) -> None:
    first = versions(changed)[0]
    found = diff(*changed, "both", first[:10], first)
    assert (found.rows, found.causes, found.num_unchanged) == ([], [], 120 + 61)


@pytest.mark.parametrize(
    ("name", "old", "sentence"),
    [
        ("bth", None, "'bth' is no corpus. Did you mean both?"),
        ("both", "zzzz", "corpus/both has no version 'zzzz'. Known: "),
        ("both", "", "several versions of corpus/both begin with ''"),
    ],
)
def test_a_name_that_is_not_there_is_one_sentence(
    changed: tuple[Project, ArtifactStore], name: str, old: str | None, sentence: str
) -> None:
    with pytest.raises(InputError) as caught:
        diff(*changed, name, old, None)
    assert sentence in str(caught.value)


def test_one_version_has_nothing_to_be_compared_with(built: tuple[Project, ArtifactStore], tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing, match="has one version, .* and nothing to compare it with"):
        diff(*built, "both", None, None)
    with pytest.raises(ArtifactMissing, match="has not been built yet"):
        diff(built[0], ArtifactStore(tmp_path), "both", None, None)


def test_the_command_prints_it(changed: tuple[Project, ArtifactStore], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "both", "--config", str(changed[0].file)]) == 0
    printed = capsys.readouterr().out
    assert "gone from its source" in printed
    assert "documents are as they were." in printed
