"""`textmill prune` says what it would delete, and deletes when told to."""

from __future__ import annotations

import pytest
from stand_ins import build

from assets.cli import main
from pipeline.config import Project


@pytest.fixture
def nights(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Three versions of the raw documents, and no registry yet."""
    for number in range(3):
        (project.folder / "notes" / "a.txt").write_text(f"note {number}")
        build(project, "raw_documents")
    (project.storage_folder / "mlflow" / "mlflow.db").unlink()
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return project


def versions(project: Project) -> int:
    return len(list((project.storage_folder / "raw_documents" / "notes").glob("*/manifest.json")))


def test_it_says_what_would_go_and_deletes_when_told_to(nights: Project, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prune", "--config", str(nights.file)]
    assert main(words) == 0  # by default the version before the one in use stays
    said = capsys.readouterr().out
    assert [line.split() for line in said.splitlines() if line.startswith("raw")] == [
        ["raw_documents/notes", "1", "2", "0", "0.0", "MB"]
    ]
    assert "Nothing was deleted: `textmill prune --delete` does it." in " ".join(said.split())
    assert versions(nights) == 3
    assert main([*words, "--keep", "0", "--delete"]) == 0
    assert "Deleted: 2 versions and 0 other folders" in capsys.readouterr().out
    assert versions(nights) == 1
    assert main([*words, "--keep", "0", "--delete"]) == 0
    assert capsys.readouterr().out.startswith("Nothing to delete: ")


def test_the_projects_own_number_is_the_default(nights: Project, capsys: pytest.CaptureFixture[str]) -> None:
    nights.file.write_text(nights.file.read_text() + "keep_versions: 2\n")
    assert main(["prune", "--config", str(nights.file)]) == 0
    assert capsys.readouterr().out.startswith("Nothing to delete: ")


def test_a_number_that_cannot_be_is_one_sentence(nights: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", "--config", str(nights.file), "--keep", "-1"]) == 1
    assert capsys.readouterr().err == "--keep is -1. Give the number of old versions that stay, 0 or more.\n"


def test_without_an_answer_of_the_registry_nothing_goes(
    nights: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert main(["prune", "--config", str(nights.file), "--keep", "0", "--delete"]) == 1
    assert "cannot be asked which versions hold an alias" in capsys.readouterr().err
    assert versions(nights) == 3
