"""What a registry answers: champions that write, tables, comparisons; and registries that were moved, damaged or are not there."""

from __future__ import annotations

import argparse
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import tiny_chain
from registered import Project, decision_of

from assets.cli import main
from assets.cli.registry import dispatch
from pipeline.config import load_project
from pipeline.errors import RegistryError
from pipeline.registry import queries
from pipeline.registry.tracking import tracking_uri
from pipeline.serving.generate import load_champion


def test_a_changed_weight_in_the_registry_is_noticed_before_it_is_used(project: Project) -> None:
    project.register("fair")
    (weights,) = (project.storage / "mlflow" / "artifacts").rglob("model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    for use in (lambda: load_champion("gpt", project.uri), lambda: project.register("good")):
        with pytest.raises(RegistryError, match="the weights of version 1 are not those that were registered"):
            use()
    assert project.champion() == "1"


def test_files_that_are_gone_are_not_said_to_be_of_another_program(project: Project) -> None:
    project.register("fair")
    for file in (project.storage / "mlflow" / "artifacts").rglob("model.safetensors"):
        file.unlink()
    with pytest.raises(
        RegistryError, match=r"files of version 1 are gone from where .* Restore them, or give the alias"
    ):
        load_champion("gpt", project.uri)


@pytest.mark.parametrize("carry", [shutil.move, shutil.copytree])
def test_a_registry_in_another_folder_has_its_files_there(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, carry: Any
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    project.register("fair")
    written = load_champion("gpt", project.uri).generate(["the red fox"])
    there = tmp_path / "zweites Gerät" / "data"
    there.parent.mkdir()
    carry(project.storage, there)
    before = sorted(project.storage.rglob("*"))
    moved = Project(project.chain, there, tracking_uri(there))
    assert load_champion("gpt", moved.uri).generate(["the red fox"]) == written
    assert decision_of(moved.register("good"))["champion_before"]["version"] == project.chain.models["fair"].ref.version
    assert moved.champion() == "2"
    assert len(list((there / "mlflow" / "artifacts").rglob("model.safetensors"))) == 2
    assert queries.compare(moved.uri, "gpt/2", "gpt/1").num_documents == 30
    assert sorted(project.storage.rglob("*")) == before
    assert not list(there.parent.glob("*%*"))
    with closing(sqlite3.connect(there / "mlflow" / "mlflow.db")) as database:
        assert not [line for line in database.iterdump() if project.storage.as_uri() in line]


def test_a_server_nobody_runs_is_one_sentence(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(RegistryError, match=r"registered_model/gpt: nobody answers at http://127.0.0.1:9 \(connection"):
        project.register("fair")


def test_the_leaderboard_orders_versions_and_knows_their_aliases(project: Project) -> None:
    assert queries.leaderboard(project.uri) == []
    project.register("random")
    project.register("fair")
    project.register("good")
    rows = queries.leaderboard(project.uri)
    assert [(row.version, row.aliases) for row in rows] == [("3", ("champion",)), ("2", ()), ("1", ())]
    assert rows[0].metrics["bits_per_byte"] < rows[1].metrics["bits_per_byte"] < rows[2].metrics["bits_per_byte"]
    assert rows[0].lineage["validation_status"] == "approved"
    with pytest.raises(RegistryError, match="other is not in the registry; `textmill models` lists what is"):
        queries.leaderboard(project.uri, [rows[0].name, "other"])


def test_two_versions_are_compared_document_by_document(project: Project) -> None:
    project.register("fair")
    project.register("good")
    found = queries.compare(project.uri, "gpt@champion", "gpt/1")
    assert found.num_documents == 30
    assert found.difference is not None
    assert found.difference > 0
    assert found.confidence > 0.999
    back = queries.compare(project.uri, "gpt/1", "gpt")
    assert back.difference == pytest.approx(-found.difference)


def test_a_model_is_no_better_than_itself(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.register("fair")
    project.register("good")
    parsed = argparse.Namespace(command="compare", first="gpt", second="gpt/2")
    dispatch(load_project(Path(__file__).parents[2] / "dagster_project.yaml"), parsed)
    said = " ".join(capsys.readouterr().out.split())
    assert "They are equal on the 30 documents that both held out." in said
    assert "better" not in said
    parsed.second = "gpt/1"
    dispatch(load_project(Path(__file__).parents[2] / "dagster_project.yaml"), parsed)
    assert "gpt is better by" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("nothing@champion", "^nothing is not in the registry"),
        ("o'brien", "o'brien is not in the registry"),
        ("gpt/7", "gpt has no version 7; it has 1"),
        ("gpt@best", "no version of gpt has the alias best"),
        ("", "^'' names no version of a model. Write MODEL, MODEL@ALIAS or MODEL/VERSION.$"),
        ("gpt@", "^'gpt@' names no version"),
        ("gpt/", "^'gpt/' names no version"),
        ("@champion", "^'@champion' names no version"),
        ("gpt@champion/1", "^'gpt@champion/1' names no version"),
    ],
)
def test_an_unknown_reference_is_one_sentence(project: Project, reference: str, sentence: str) -> None:
    project.register("fair")
    with pytest.raises(RegistryError, match=sentence):
        queries.compare(project.uri, reference, "gpt")


def test_a_model_without_a_champion_writes_by_its_newest_version_and_says_so(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.register("random")
    capsys.readouterr()  # what MLflow says of it, where another test set its logging
    words = ["--config", str(Path(__file__).parents[2] / "dagster_project.yaml")]
    hint = "gpt has no champion, so its newest version, 1, writes; `textmill promote` chooses one.\n"
    ask = ["--max-tokens", "2", *words]
    assert main(["generate", "gpt", "the", *ask]) == 0
    assert capsys.readouterr().err.startswith(hint)
    assert main(["generate", "gpt/1", "the", *ask]) == 0
    assert "champion" not in capsys.readouterr().err
    assert main(["promote", "gpt", "1", *words]) == 0
    assert capsys.readouterr().out == "gpt: version 1 is the champion; it had none before.\n"
    assert main(["generate", "gpt", "the", *ask]) == 0
    assert "champion" not in capsys.readouterr().err
    assert main(["export", "gpt", "/proc/gpt", *words]) == 1
    said = "The folder /proc/gpt cannot be made: no such file or directory. Name another folder.\n"
    assert capsys.readouterr().err == said
    assert main(["promote", "", "1", *words]) == 1
    assert capsys.readouterr().err == "'' is not in the registry; `textmill models` lists what is.\n"


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--top-k", "-2", "--top-k is -2; it must be at least 1, or 0 for all."),
        ("--max-tokens", "0", "--max-tokens is 0; it must be at least 1."),
        ("--beams", "0", "--beams is 0; it must be at least 1."),
        ("--length-penalty", "-1", "--length-penalty is -1.0; it must be 0 or more."),
    ],
)
def test_a_setting_that_cannot_be_is_named_as_its_option(
    project: Project, capsys: pytest.CaptureFixture[str], option: str, value: str, sentence: str
) -> None:
    project.register("random")
    capsys.readouterr()  # what MLflow says of it, where another test set its logging
    words = ["--config", str(Path(__file__).parents[2] / "dagster_project.yaml")]
    assert main(["generate", "gpt/1", "the", option, value, *words]) == 1
    assert capsys.readouterr().err == f"generate: {sentence} Correct it.\n"


def test_the_champion_generates_and_a_setting_it_lacks_is_refused(project: Project) -> None:
    project.register("good")
    champion = load_champion("gpt", project.uri)
    settings = {"max_new_tokens": 10, "temperature": 0.0}
    (text,) = champion.generate(["the red fox"], settings)
    assert text == champion.generate(["the red fox"], settings)[0]
    assert text.split()[0] in {"sees", "opens", "follows", "hears"}
    with pytest.raises(ValueError, match="'beams' is no generation setting; there are max_new_tokens"):
        champion.generate(["x"], {"beams": 3})


def test_the_code_that_travels_with_a_model_is_what_it_imports() -> None:
    from pipeline.registry.code_bundle import ROOTS, needed_modules

    modules = needed_modules(ROOTS)
    assert {"pipeline", "pipeline.errors", "pipeline.models.transformer.network", "pipeline.tokenizer.model"} <= set(
        modules
    )
    assert not any(
        module.startswith(("pipeline.config", "pipeline.registry", "pipeline.training")) for module in modules
    )
    assert tiny_chain.CONTEXT_TOKENS == 32
