"""What a model begins with decides its version by content, and what cannot be begun with is refused when the file is read."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from test_plan import PROJECT, build, project_of, reason, statuses

from pipeline.config import load_project
from pipeline.config.starting import Reference
from pipeline.errors import ConfigurationError, InputError, RegistryError
from pipeline.plan import Key, build_nodes, make_plan
from pipeline.registry.starting import resolve_start

BASE, GPT = Key("trained_model", "base"), Key("trained_model", "gpt")
UPSTREAM = [
    *(Key(stage, "notes") for stage in ("raw_documents", "clean_documents")),
    *(Key(*names.split("/")) for names in ("corpus/english", "tokenizer/small", "token_shards/tokens")),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("first note")
    (tmp_path / "diary.txt").write_text("a day")
    return tmp_path


def write(folder: Path, gpt: str = "", *, base: str = "") -> Path:
    """The project of test_plan.py with more said about its two models."""
    before = "dataset: tokens, promote: {must_beat: base}}", "dataset: tokens, depth: 1}"
    text = PROJECT.replace(before[0], f"{before[0][:-1]}, {gpt}}}" if gpt else before[0])
    text = text.replace(before[1], f"{before[1][:-1]}, {base}}}" if base else before[1])
    (folder / "dagster_project.yaml").write_text(text)
    return folder


def test_a_model_that_begins_with_another_follows_its_content(folder: Path) -> None:
    project, store = project_of(write(folder, "init_from: base"))
    order = [str(key) for key in build_nodes(project)]
    assert order.index("trained_model/base") < order.index("trained_model/gpt")
    for key in (*UPSTREAM, BASE):
        build(project, store, key)
    first, _ = build(project, store, GPT)
    assert build(project, store, GPT)[1] is True
    project, store = project_of(write(folder, "init_from: base", base="owners: [team:x]"))
    assert statuses(project, store)["trained_model/gpt"] == "up to date"
    project, store = project_of(write(folder, "init_from: base", base="train: {seed: 3}"))
    assert statuses(project, store)["trained_model/gpt"] == "depends"
    build(project, store, BASE, content="other weights")
    assert reason(project, store, GPT) == "trained_model/base changed"
    again, _ = build(project, store, GPT)
    assert again.ref.version != first.ref.version
    assert again.manifest.inputs["start"].name == "base"


def test_models_begin_with_each_other_in_any_order_of_the_file(folder: Path) -> None:
    project, _ = project_of(write(folder, base="init_from: gpt"))  # and gpt must beat base
    order = [str(key) for key in build_nodes(project)]
    assert order.index("trained_model/gpt") < order.index("trained_model/base")
    assert order.index("registered_model/base") < order.index("registered_model/gpt")


def test_a_folders_content_counts_and_its_place_does_not(folder: Path) -> None:
    weights = folder / "llama"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    (weights / "model.safetensors").write_bytes(b"1")
    project, store = project_of(write(folder, "init_from: ./llama"))
    for key in UPSTREAM:
        build(project, store, key)
    build(project, store, GPT)
    shutil.move(weights, folder / "elsewhere")
    project, store = project_of(write(folder, "init_from: elsewhere/"))
    assert statuses(project, store)["trained_model/gpt"] == "up to date"
    (folder / "elsewhere" / "model.safetensors").write_bytes(b"2")
    assert reason(project, store, GPT).startswith("init_from.content_hash ")
    (folder / "elsewhere" / "config.json").unlink()
    with pytest.raises(InputError, match=r"models\.gpt\.init_from: .* holds no config\.json"):
        make_plan(project, store)


def counted(folder: Path, base: str) -> Path:
    """The project of test_plan.py, whose model `base` is an n-gram model with this said about it."""
    before = "base: {family: transformer, dataset: tokens, depth: 1}"
    assert before in PROJECT
    text = PROJECT.replace(before, f"base: {{family: ngram, dataset: tokens, {base}}}")
    (folder / "dagster_project.yaml").write_text(text)
    return folder


def test_an_arpa_files_content_counts_and_its_place_does_not(folder: Path) -> None:
    (folder / "a.arpa").write_text("one")
    project, store = project_of(counted(folder, "init_from: a.arpa"))
    for key in UPSTREAM:
        build(project, store, key)
    build(project, store, BASE)
    (folder / "a.arpa").rename(folder / "b.arpa")
    project, store = project_of(counted(folder, "init_from: b.arpa"))
    assert statuses(project, store)["trained_model/base"] == "up to date"
    (folder / "b.arpa").write_text("two")
    assert reason(project, store, BASE).startswith("init_from.content_hash ")
    (folder / "b.arpa").unlink()
    (folder / "notes" / "a.txt").write_text("another note")  # and all that leads to the model would run before it
    sentence = r"models\.base\.init_from: .*b\.arpa cannot be read \(No such file or directory\). Name an ARPA file"
    with pytest.raises(InputError, match=sentence):
        make_plan(project, store)


@pytest.mark.parametrize(
    ("base", "sentence"),
    [
        ("init_from: a.arpa, prune: [0, 1]", "sets prune, which drops counted n-grams, but init_from reads them"),
        ('"init_from": "models:/base@champion"', "an n-gram model is read from an ARPA file. Export that one"),
        ("init_from: a.arpa, freeze: [head]", "freeze"),
    ],
)
def test_an_n_gram_model_begins_with_an_arpa_file_or_with_nothing(folder: Path, base: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        load_project(counted(folder, base) / "dagster_project.yaml")


def registry(folder: Path) -> sqlite3.Connection:
    """The tables of an MLflow database that a reference is looked up in, with gpt's versions 1 and 2."""
    file = folder / "data" / "mlflow" / "mlflow.db"
    file.parent.mkdir(parents=True)
    connected = sqlite3.connect(file)
    connected.executescript("""
        create table registered_model_aliases (name text, alias text, version integer);
        create table model_versions (name text, version integer, current_stage text);
        create table model_version_tags (name text, version integer, key text, value text);
        insert into model_versions values ('other', 1, 'None'), ('other', 2, 'None');
        insert into model_version_tags values ('other', 1, 'textmill.content_hash', 'aaa');
        insert into model_version_tags values ('other', 2, 'textmill.content_hash', 'bbb');
        insert into registered_model_aliases values ('other', 'champion', 1);
    """)
    connected.commit()
    return connected


def test_a_registry_reference_counts_by_the_content_of_the_version_it_means(folder: Path) -> None:
    connected = registry(folder)
    project, store = project_of(write(folder, '"init_from": "models:/other@champion"'))
    for key in UPSTREAM:
        build(project, store, key)
    assert build(project, store, GPT)[0].manifest.literals["init_from"] == {"content_hash": "aaa"}
    project, store = project_of(write(folder, "init_from: models:/other/1"))
    assert statuses(project, store)["trained_model/gpt"] == "up to date"
    project, store = project_of(write(folder, '"init_from": "models:/other@champion"'))
    connected.execute("update registered_model_aliases set version = 2")
    connected.commit()
    assert reason(project, store, GPT) == "init_from.content_hash aaa -> bbb"


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("models:/other@best", "which other does not have; it has the versions 1, 2"),
        ("models:/other/3", "which other does not have; it has the versions 1, 2"),
        ("models:/nobody@champion", "nobody is not in the registry. Train it first"),
    ],
)
def test_a_version_that_is_not_there_is_refused_in_one_sentence(folder: Path, reference: str, sentence: str) -> None:
    with pytest.raises(RegistryError, match="nobody is not in the registry"):
        project, store = project_of(write(folder, '"init_from": "models:/nobody@champion"'))
        for key in UPSTREAM:
            build(project, store, key)
        make_plan(project, store)
    registry(folder)
    with pytest.raises(RegistryError, match=f"init_from names {reference}.*{sentence}"):
        make_plan(*project_of(write(folder, f'"init_from": "{reference}"')))


@pytest.mark.parametrize("name", ["a#b", "a%25b", "a?b"])
def test_a_version_is_found_whatever_the_storage_folder_is_called(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    registry(folder / name)
    uri = f"sqlite:///{folder / name / 'data' / 'mlflow' / 'mlflow.db'}"
    assert resolve_start(uri, Reference("other", None, "champion")).content_hash == "aaa"


def test_a_registry_version_of_the_files_own_model_is_waited_for(folder: Path) -> None:
    project, store = project_of(write(folder, '"init_from": "models:/base@champion"'))
    assert reason(project, store, GPT).startswith("after token_shards/tokens")
    assert "registered_model/base" in reason(project, store, GPT)


def test_a_model_of_another_family_is_no_beginning(folder: Path) -> None:
    file = write(folder, "init_from: base") / "dagster_project.yaml"
    file.write_text(file.read_text().replace("base: {family: transformer", "base: {family: lstm"))
    with pytest.raises(
        ConfigurationError, match="names 'base', of the family lstm, where gpt is of transformer. Name a"
    ):
        load_project(file)


@pytest.mark.parametrize(
    ("gpt", "base", "sentence"),
    [
        ("init_from: bse", "", "models.gpt.init_from names 'bse', which is no model of this file"),
        ("init_from: base", "init_from: gpt", r"wait for each other in a circle, .* \((gpt > base|base > gpt)\)"),
        ("init_from: gpt", "", r"wait for each other in a circle, .* \(gpt\)"),
        ("", '"init_from": "models:/gpt@champion"', "wait for each other in a circle"),  # gpt must beat base
        ('"init_from": "models:/gpt@champion"', "", "names its own champion, .* Write start: champion"),
        ('"init_from": "models:/base"', "", "write models:/NAME@ALIAS or models:/NAME/VERSION"),
        ("freeze: [head]", "", "sets freeze without init_from"),
        ("lora: {}", "", "sets lora without init_from"),
        ("init_from: base, lora: {}, freeze: [head]", "", "Remove freeze"),
        ("init_from: base, freeze: [layers.a-b]", "", "freeze names 'layers.a-b'"),
    ],
)
def test_starts_that_cannot_be_are_refused_when_the_file_is_read(
    folder: Path, gpt: str, base: str, sentence: str
) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        load_project(write(folder, gpt, base=base) / "dagster_project.yaml")


def test_the_kinds_of_starts_are_told_apart(folder: Path) -> None:
    project, _ = project_of(write(folder, "init_from: base, freeze: [embedding, layers.0-2, layers.*.mlp]"))
    assert json.dumps(project.models["gpt"].literals()["freeze"]) == '["embedding", "layers.0-2", "layers.*.mlp"]'
    config = project.models["gpt"]
    assert (config.start_model, config.registry_reference, config.start_folder) == ("base", None, None)
    config = project_of(write(folder, "init_from: models/qwen"))[0].models["gpt"]
    assert (config.start_model, config.registry_reference, config.start_folder) == (None, None, "models/qwen")
    config = project_of(write(folder, '"init_from": "models:/base/12"'))[0].models["gpt"]
    assert (config.start_model, str(config.registry_reference), config.start_folder) == (None, "base/12", None)
