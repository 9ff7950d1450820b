"""What the commands say of what went wrong, of what is under way, and of servers elsewhere."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from assets.cli import plan, ui
from assets.failures import first_failure
from pipeline.artifacts import ArtifactStore, Report
from pipeline.config import Project, load_project

PROJECT = """
name: demo
sources: {notes: {reader: text, path: "notes/*.txt"}}
corpora: {english: {sources: {notes: 1.0}}}
tokenizers: {small: {corpus: english, vocab_size: 512}}
datasets: {tokens: {corpus: english, tokenizer: small}}
models: {gpt: {family: transformer, dataset: tokens, train: {keep_best_checkpoint: true}}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "dagster_project.yaml").write_text(PROJECT)
    return load_project(tmp_path / "dagster_project.yaml")


def test_an_unexpected_error_is_told_once_with_its_asset() -> None:
    @dg.asset(key=["trained_model", "ng"])
    def broken() -> None:
        raise ValueError("what nobody\nexpected")

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([broken], instance=instance, raise_on_error=False)
    assert first_failure(result.all_events) == "trained_model/ng: ValueError: what nobody expected"


def test_checkpoints_that_a_finished_training_keeps_wait_for_nothing(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ArtifactStore(project.storage_folder)
    (project.storage_folder / "checkpoints" / "gpt" / "v1" / "step-00000008").mkdir(parents=True)
    plan.status(project)
    assert "Training of gpt is under way or waits to be resumed at step-00000008." in capsys.readouterr().out
    words: dict[str, Any] = {"code_version": "1", "literals": {}, "inputs": {}}
    with store.draft(stage="trained_model", name="gpt", version="v1", **words) as draft:
        draft.commit(counts={}, report=Report())
    plan.status(project)
    assert "under way" not in capsys.readouterr().out
    (project.storage_folder / "checkpoints" / "gpt" / "v0" / "step-00000004").mkdir(parents=True)
    plan.status(project)
    assert "Training of gpt is under way or waits to be resumed at step-00000004." in capsys.readouterr().out


def test_the_address_of_a_server_elsewhere_is_shown_without_its_password(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*words: Any, **named: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@tracker:5000")
    project.storage_folder.mkdir()
    watch = SimpleNamespace(stdin=io.StringIO(), kill=lambda: None, wait=lambda: None)
    monkeypatch.setattr(ui, "prepare_instance", lambda project: project.storage_folder)
    monkeypatch.setattr(ui, "start_watch", lambda *, pass_fd: watch)
    monkeypatch.setattr(ui.signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(ui.subprocess, "Popen", stopped)
    assert ui.serve(project, port=0, mlflow_port=0) == 0
    assert "MLflow is served elsewhere: https://tracker:5000\n" in capsys.readouterr().out
