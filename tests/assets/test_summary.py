"""What a run ends with can be pasted into the shell it was started from."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from assets.cli import main
from assets.cli.leaderboard import show_leaderboard
from assets.cli.printable import for_console
from assets.cli.summary import print_summary
from pipeline.artifacts import ArtifactStore, Report
from pipeline.config import Project, load_project
from pipeline.files import write_json
from pipeline.registry.queries import ModelRow


@pytest.fixture
def project(project: Project, tmp_path: Path) -> Project:
    """With an evaluation, in a folder whose name a shell would take apart."""
    folder = tmp_path / "my [new] project"
    folder.mkdir()
    shutil.copy(project.file, folder)
    found = load_project(folder / "dagster_project.yaml")
    store = ArtifactStore(found.storage_folder)
    with store.draft(
        stage="evaluation", name="gpt", version="v1", code_version="test", literals={}, inputs={}
    ) as draft:
        for file in ("metrics.json", "report.html"):
            write_json(draft.path(file), {})
        write_json(draft.path("samples.json"), [{"prompt": "To be", "continuation": " \x1b[2J\u202egone"}])
        counts = {"bits_per_byte": 1.0, "unigram_bits_per_byte": 2.0}
        store.set_current(draft.commit(counts=counts, report=Report()))
    return found


def places(project: Project) -> list[str]:
    """The lines under `Where to look`."""
    console = Console(width=40, file=io.StringIO(), force_terminal=False)
    print_summary(project, console, ())
    assert isinstance(console.file, io.StringIO)
    _, _, shown = console.file.getvalue().partition("Where to look\n")
    return [line.strip() for line in shown.splitlines()]


def test_what_a_model_writes_does_nothing_to_the_terminal(project: Project) -> None:
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    print_summary(project, console, ())
    assert isinstance(console.file, io.StringIO)
    assert "To be \ufffd[2J\ufffdgone" in console.file.getvalue()


def test_the_leaderboards_path_is_printed_as_it_is(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("leaderboard", ["a row"]), ("leaderboard_table", ""), ("write_leaderboard", project.file)):
        monkeypatch.setattr(f"assets.cli.leaderboard.{name}", lambda *words, value=value: value)
    assert show_leaderboard(project, ()) == 0
    assert f"{project.file}   the same" in capsys.readouterr().out


def test_a_model_of_any_name_in_the_registry_is_listed(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"version": "1", "aliases": (), "training_version": None, "created_at": 0, "run_id": None}
    row = ModelRow(name="theirs [/x]", metrics={}, lineage={}, **known)  # type: ignore[arg-type]
    monkeypatch.setattr("pipeline.registry.queries.leaderboard", lambda uri, names: [row])
    assert main(["models", "--config", str(project.file)]) == 0
    assert "theirs [/x]" in capsys.readouterr().out


@pytest.mark.parametrize(("is_terminal", "shown"), [(True, "a\ufffd[2Jb"), (False, "a\x1b[2Jb")])
def test_a_pipe_gets_the_text_as_it_is(is_terminal: bool, shown: str) -> None:
    assert for_console("a\x1b[2Jb", Console(file=io.StringIO(), force_terminal=is_terminal)) == shown


def test_paths_are_relative_to_the_current_folder(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    ui, _, generate, report, storage = places(project)
    assert ui.startswith("textmill ui   ")
    assert generate == 'textmill generate gpt "text"'
    assert report == "data/evaluation/gpt/v1/report.html"
    assert storage.startswith("data/   ")


def test_from_above_they_are_quoted(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder.parent)
    ui, _, generate, report, storage = places(project)
    assert ui.startswith("textmill ui --config 'my [new] project/dagster_project.yaml'   ")
    assert generate == "textmill generate --config 'my [new] project/dagster_project.yaml' gpt \"text\""
    assert report == "'my [new] project/data/evaluation/gpt/v1/report.html'"
    assert storage.startswith("'my [new] project/data'/   ")


def test_from_elsewhere_they_are_whole(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    _, _, generate, report, _ = places(project)
    assert generate == f"textmill generate --config '{project.file}' gpt \"text\""
    assert report == f"'{project.storage_folder}/evaluation/gpt/v1/report.html'"
