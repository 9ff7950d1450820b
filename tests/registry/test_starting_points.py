"""Registered models as starting points: what MLflow itself says a reference means, and what a model has read before."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from registered import Project, decision_of
from tiny_chain import commit, make_evaluation, make_registered

from pipeline.artifacts import Artifact, ArtifactStore
from pipeline.config import TransformerConfig
from pipeline.config.starting import Reference
from pipeline.errors import RegistryError
from pipeline.files import sha256_file, write_parquet
from pipeline.registry import starting
from pipeline.registry.registering import STARTED_TAG
from pipeline.registry.rivals import hashes, read_hashes
from pipeline.registry.starting import champion_start, find_start, model_start, resolve_start
from pipeline.training.launch import SEEN_DOCUMENTS

CHAMPION = Reference("gpt", None, "champion")
CONFIG = {"family": "transformer", "dataset": "tokens"}


def unreachable(*words: Any, **named: Any) -> Any:
    raise AssertionError("a database file is asked without MLflow")


def test_a_reference_means_what_mlflow_says_it_means(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.register("fair")
    project.register("good")  # takes the alias
    client = project.client()
    expected = {}
    for reference in (CHAMPION, Reference("gpt", "1", None)):
        version = reference.version or str(client.get_model_version_by_alias("gpt", "champion").version)
        expected[reference] = (version, client.get_model_version("gpt", version).tags["textmill.content_hash"])
    assert expected[CHAMPION][0] == "2"
    with monkeypatch.context() as patched:
        patched.setattr(starting, "connection", unreachable)
        for reference, (version, content_hash) in expected.items():
            found = resolve_start(project.uri, reference)
            assert (found.version, found.content_hash) == (version, content_hash)
        with pytest.raises(RegistryError, match="gpt does not have; it has the versions 1, 2"):
            resolve_start(project.uri, Reference("gpt", "7", None))
    monkeypatch.setattr(starting, "database_file", lambda uri: None)  # as with a server
    for reference, (version, content_hash) in expected.items():
        found = resolve_start(project.uri, reference)
        assert (found.version, found.content_hash) == (version, content_hash)
    with pytest.raises(RegistryError, match="gpt does not have; it has the versions 1, 2"):
        resolve_start(project.uri, Reference("gpt", None, "best"))


def test_training_goes_on_from_the_champion_it_began_with(project: Project, tmp_path: Path) -> None:
    assert champion_start(project.uri, "gpt", tmp_path / "start") is None
    project.register("fair")
    first = champion_start(project.uri, "gpt", tmp_path / "start")
    assert first is not None and first.origin == "version 1 of gpt in the registry"
    fair, good = project.chain.models["fair"], project.chain.models["good"]
    weights = "model/model.safetensors"
    assert sha256_file(first.folder / "model.safetensors") == sha256_file(fair.file(weights))
    assert first.content_hash == fair.ref.content_hash
    project.register("good")
    again = champion_start(project.uri, "gpt", tmp_path / "start")  # an interrupted run is taken up
    assert again is not None and again.content_hash == first.content_hash
    new = champion_start(project.uri, "gpt", tmp_path / "another")
    assert new is not None and new.content_hash == good.ref.content_hash
    texts = pq.read_table(project.chain.corpus.file("documents/train.parquet"))["text_hash"].to_pylist()
    assert new.training_documents is not None
    assert np.array_equal(read_hashes(new.training_documents), np.unique(hashes(texts)))


def test_a_start_is_the_champion_else_what_init_from_names_else_nothing(project: Project, tmp_path: Path) -> None:
    def find(folder: str, planned: str = "", **settings: Any) -> str | None:
        found = find_start(
            TransformerConfig(**CONFIG, **settings),
            name="gpt",
            uri=project.uri,
            literals={"init_from": {"content_hash": planned}},
            inputs={"start": project.chain.models["fair"], "start_corpus": project.chain.corpus},
            project_folder=tmp_path,
            folder=tmp_path / folder,
        )
        return None if found is None else found.content_hash

    fair, good = (project.chain.models[name].ref.content_hash for name in ("fair", "good"))
    assert find("1") is None
    assert find("2", start="champion") is None
    assert find("3", start="champion", init_from="base") == fair
    project.register("good")
    assert find("4", start="champion", init_from="base") == good
    assert find("5", good, init_from="models:/gpt/1") == good
    with pytest.raises(RegistryError, match="moved to version 1 of gpt in the registry while the run was planned"):
        find("6", fair, init_from="models:/gpt/1")


def with_history(model: Artifact, store: ArtifactStore, seen: list[str]) -> Artifact:
    """The trained model as if it had begun with one that had read these texts."""

    def build(draft: Any) -> Artifact:
        for entry in model.manifest.files:
            shutil.copyfile(model.file(entry.path), draft.path(entry.path))
        write_parquet(draft.path(SEEN_DOCUMENTS), pa.table({"text_hash": np.unique(hashes(seen))}))
        return draft.commit(counts={**model.manifest.counts, "started_from": "x"}, report=model.report())

    inputs = {"shards": project_shards(model, store), "tokenizer": store.require("tokenizer", "pieces")}
    return commit(store, stage="trained_model", name="gpt", literals={"seen": seen}, inputs=inputs, build=build)


def project_shards(model: Artifact, store: ArtifactStore) -> Artifact:
    found = store.find("token_shards", "tokens", model.manifest.inputs["shards"].version)
    assert found is not None
    return found


def test_what_a_start_has_read_is_not_held_out_from_the_model(project: Project, tmp_path: Path) -> None:
    corpus, store = project.chain.corpus, project.chain.store
    test = pq.read_table(corpus.file("documents/test.parquet"))["text_hash"].to_pylist()
    model = with_history(project.chain.models["good"], store, test[:7])
    evaluation = make_evaluation(store, model, corpus, project.chain.shards)
    registered = make_registered(ArtifactStore(project.storage), evaluation, model, corpus, project.chain.shards)
    assert decision_of(registered)["baseline"]["num_documents"] == len(test) - 7
    (version,) = project.client().search_model_versions("name='gpt'")
    assert version.tags[STARTED_TAG] == "x"
    start = champion_start(project.uri, "gpt", tmp_path / "start")
    assert start is not None and start.training_documents is not None
    train = pq.read_table(corpus.file("documents/train.parquet"))["text_hash"].to_pylist()
    expected = np.unique(hashes([*train, *test[:7]]))
    assert np.array_equal(read_hashes(start.training_documents), expected)
    begun = model_start(model, corpus, tmp_path / "other")
    assert begun.training_documents is not None
    assert np.array_equal(read_hashes(begun.training_documents), expected)
