"""Retraining without anybody at the keyboard: by a new file, by the clock; and what happens when it is stopped from the page."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import mlflow
import psutil
import pytest
from test_interrupted_training import trainers
from tiny_project import PROJECT, free_port, running_ui, textmill, wait_until

from pipeline.artifacts import ArtifactStore

pytestmark = pytest.mark.slow

READER = "{reader: python_docs, packages: [jinja2, click]}"


@pytest.fixture(scope="module")
def notes_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny project over a folder of text files, built once; tests copy it."""
    folder = tmp_path_factory.mktemp("notes")
    (folder / "notes").mkdir()
    for package in ("jinja2", "click", "yaml"):
        root = Path(__import__(package).__file__).parent
        for file in sorted(root.glob("*.py"))[:12]:
            (folder / "notes" / f"{package}-{file.stem}.txt").write_text(file.read_text())
    project = PROJECT.replace(
        READER, '{reader: text, path: "notes/*.txt", min_document_characters: 1, heading: "^def .*"}'
    )
    (folder / "dagster_project.yaml").write_text(
        project.replace("docs: {sources", "docs: {quality: {overrides: {basic.min_characters: 40}}, sources")
    )
    done = textmill(folder, "run")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def notes(notes_project: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "notes-project"
    shutil.copytree(notes_project, copy)
    return copy


def versions(folder: Path, name: str = "gpt") -> list[str]:
    """The registry's versions of a model, oldest first, by MLflow's own client."""
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'data' / 'mlflow' / 'mlflow.db'}")
    return sorted((str(found.version) for found in client.search_model_versions(f"name='{name}'")), key=int)


def built_parts(folder: Path, stage: str) -> dict[str, int]:
    """Name of each part of the stage -> when it was made."""
    parts = (folder / "data" / stage / "docs" / "parts").iterdir()
    return {part.name: (part / "part.json").stat().st_mtime_ns for part in parts}


def decision(folder: Path, name: str = "gpt") -> dict[str, Any]:
    registered = ArtifactStore(folder / "data").current("registered_model", name)
    assert registered is not None
    found: dict[str, Any] = json.loads(registered.file("decision.json").read_text())
    return found


@pytest.mark.parametrize(
    "trigger",
    [
        "watch: {models: [gpt], interval_seconds: 5}",
        'schedules: {every_minute: {cron: "* * * * *", models: [gpt]}}',
    ],
)
def test_a_new_file_becomes_a_new_version_with_a_decision_on_record(notes: Path, trigger: str) -> None:
    project = notes / "dagster_project.yaml"
    project.write_text(project.read_text() + trigger + "\n")
    assert versions(notes) == ["1"]
    before = {stage: built_parts(notes, stage) for stage in ("raw_documents", "clean_documents")}
    with running_ui(notes):
        text = "\n".join(
            f"def function_{number}(value):\n    return the value {number} of the new file" for number in range(200)
        )
        (notes / "notes" / "new.txt").write_text(text)
        wait_until(lambda: versions(notes) == ["1", "2"], seconds=240)
        wait_until(lambda: decision(notes)["champion"] is not None, seconds=60)
    for stage, old in before.items():
        new = built_parts(notes, stage)
        assert old.items() < new.items(), "what was there is not made again"
        assert len(new) == len(old) + 1, "only the new file, and the small ones beside it, are read and cleaned"
    comparison = decision(notes)["champion"]
    assert comparison["challenger_bits_per_byte"] != comparison["rival_bits_per_byte"]
    assert 0 <= comparison["confidence"] <= 1


def test_metrics_of_a_training_without_its_tracker_arrive_when_it_is_back(notes: Path) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    for stage in ("trained_model", "evaluation", "registered_model", "checkpoints", "spool"):
        shutil.rmtree(notes / "data" / stage, ignore_errors=True)
    away = textmill(notes, "run", "trained_model/gpt", variables={"MLFLOW_TRACKING_URI": address})
    assert away.returncode == 0, away.stdout + away.stderr
    server = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{notes / 'tracker.db'}", "--artifacts-destination", str(notes / "kept")),
    ]
    with subprocess.Popen(
        server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as tracker:
        try:
            wait_until(lambda: answers(address), seconds=90)
            back = textmill(notes, "run", variables={"MLFLOW_TRACKING_URI": address})
            assert back.returncode == 0, back.stdout + back.stderr
            client = mlflow.MlflowClient(address)
            run = client.get_run(client.get_model_version_by_alias("gpt", "champion").run_id)
            losses = client.get_metric_history(run.info.run_id, "train/loss")
            assert len(losses) > 5
            assert losses[-1].value < losses[0].value
        finally:
            for process in [*psutil.Process(tracker.pid).children(recursive=True), tracker]:
                process.send_signal(signal.SIGKILL)


def answers(address: str) -> bool:
    try:
        with urlopen(address, timeout=5):  # noqa: S310 - a loopback address
            return True
    except OSError:
        return False


@pytest.fixture
def served(notes: Path) -> Iterator[tuple[Path, str]]:
    project = notes / "dagster_project.yaml"
    project.write_text(project.read_text().replace("tokens: 100_000", "tokens: 5_000_000"))
    with running_ui(notes) as (dagster, _):
        yield notes, dagster


def ask(dagster: str, query: str, **variables: Any) -> Any:
    """The page's own interface."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = Request(f"{dagster}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310 - a loopback address
    with urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.load(answer)["data"]


def test_a_termination_from_the_page_leaves_no_process(served: tuple[Path, str]) -> None:
    folder, dagster = served
    repository = ask(dagster, "{repositoriesOrError {... on RepositoryConnection {nodes {name location {name}}}}}")
    node = repository["repositoriesOrError"]["nodes"][0]
    selector = {
        "repositoryName": node["name"],
        "repositoryLocationName": node["location"]["name"],
        "pipelineName": "gpt_job",
    }
    launched = ask(
        dagster,
        "mutation ($p: ExecutionParams!) {launchRun(executionParams: $p) {__typename ... on LaunchRunSuccess {run {runId}}}}",
        p={"selector": selector, "runConfigData": {}, "mode": "default"},
    )
    run_id = launched["launchRun"]["run"]["runId"]
    checkpoints = folder / "data" / "checkpoints"
    wait_until(lambda: trainers(folder) and any(checkpoints.rglob("step*")), seconds=180)
    ask(dagster, "mutation ($id: String!) {terminateRun(runId: $id) {__typename}}", id=run_id)

    def status() -> str:
        found = ask(dagster, "query ($id: ID!) {runOrError(runId: $id) {... on Run {status}}}", id=run_id)
        return str(found["runOrError"]["status"])

    wait_until(lambda: status() in ("CANCELED", "FAILURE"), seconds=120)
    wait_until(lambda: not trainers(folder), seconds=60)
    assert status() == "CANCELED"
    ids = [process for process in psutil.process_iter() if run_id in " ".join(process.cmdline() or [])]
    assert not ids, "the run's own process is gone too"
