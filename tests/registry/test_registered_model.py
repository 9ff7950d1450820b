"""Real models through the real registry: who becomes champion, what is on record, and what a crash leaves behind."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from registered import STEPS, Chain, Project, decision_of
from tiny_chain import default_texts, make_corpus, make_evaluation, make_model, make_registered, make_shards

from pipeline.artifacts import ArtifactStore
from pipeline.config.training import EvaluateConfig, PromoteConfig
from pipeline.errors import RegistryError
from pipeline.registry import aliases, build, queries
from pipeline.registry.champions import champions
from pipeline.registry.connection import connection
from pipeline.registry.tracking import find_run


def test_the_first_model_that_beats_the_unigram_baseline_is_champion(project: Project) -> None:
    registered = project.register("fair")
    decision = decision_of(registered)
    assert decision["promoted"] is True
    assert decision["champion_before"] is None
    figures = project.chain.evaluations["fair"].manifest.counts
    assert decision["baseline"]["rival"] == "unigram"
    assert decision["baseline"]["challenger_bits_per_byte"] == pytest.approx(figures["bits_per_byte"])
    assert decision["baseline"]["rival_bits_per_byte"] == pytest.approx(figures["unigram_bits_per_byte"])
    assert project.champion() == "1"
    (move,) = aliases.history(project.client(), "gpt")
    assert (move.action, move.from_version, move.to_version, move.done) == ("gate", None, "1", True)
    assert move.reason == decision["reason"]


def test_a_model_below_the_baseline_is_registered_and_not_promoted(project: Project) -> None:
    decision = decision_of(project.register("random"))
    assert decision["promoted"] is False
    assert "worse than unigram" in decision["reason"]
    assert project.champion() is None
    (version,) = project.client().search_model_versions("name='gpt'")
    assert version.tags["validation_status"] == "rejected"


def test_a_better_challenger_takes_the_alias_with_both_scores_on_record(project: Project) -> None:
    project.register("fair")
    decision = decision_of(project.register("good"))
    assert decision["promoted"] is True
    assert project.champion() == "2"
    fair, good = (project.chain.evaluations[name].manifest.counts["bits_per_byte"] for name in ("fair", "good"))
    assert decision["champion"]["challenger_bits_per_byte"] == pytest.approx(good)
    assert decision["champion"]["rival_bits_per_byte"] == pytest.approx(
        fair, rel=1e-6
    )  # scored again, from the registry
    assert decision["champion"]["num_documents"] == 30
    assert decision["champion_before"]["version"] == project.chain.models["fair"].ref.version


def test_a_worse_challenger_leaves_the_alias(project: Project) -> None:
    project.register("good")
    decision = decision_of(project.register("fair"))
    assert decision["promoted"] is False
    assert project.champion() == "1"
    assert len(project.client().search_model_versions("name='gpt'")) == 2


def test_registering_twice_makes_one_version_and_the_same_decision(project: Project, tmp_path: Path) -> None:
    first = project.register("fair")
    again = project.register("fair", storage=tmp_path / "elsewhere")
    assert again.ref == first.ref
    assert again.folder != first.folder
    assert len(project.client().search_model_versions("name='gpt'")) == 1
    assert len(aliases.history(project.client(), "gpt")) == 1


def test_other_gate_settings_meet_the_champion_that_is_the_model_itself(project: Project) -> None:
    project.register("fair")
    decision = decision_of(project.register("fair", config=PromoteConfig(confidence=0.9, num_resamples=600)))
    assert (decision["promoted"], decision["holds_alias"]) == (False, True)
    assert "holds the alias champion already" in decision["reason"]
    assert len(project.client().search_model_versions("name='gpt'")) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "step", ["set_model_version_tag", "set_registered_model_tag", "set_registered_model_alias", "log_dict"]
)
def test_a_kill_around_the_move_of_the_alias_is_completed_by_the_next_run(
    project: Project, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    from mlflow import MlflowClient

    project.register("fair")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, step, killed)
        with pytest.raises(KeyboardInterrupt):
            project.register("good")
    decision = decision_of(project.register("good"))
    assert decision["promoted"] is True
    assert decision["champion_before"]["version"] == project.chain.models["fair"].ref.version  # not itself
    assert project.champion() == "2"
    assert [move.to_version for move in aliases.history(project.client(), "gpt") if move.done] == ["1", "2"]
    assert len(project.client().search_model_versions("name='gpt'")) == 2


def test_what_was_decided_once_is_not_decided_again_after_a_rollback(project: Project, tmp_path: Path) -> None:
    project.register("fair")
    first = project.register("good")
    assert aliases.rollback("gpt", uri=project.uri).to_version == "1"
    assert project.champion() == "1"
    again = project.register("good", storage=tmp_path / "elsewhere")
    assert again.ref == first.ref
    assert project.champion() == "1"


def test_what_a_person_took_the_alias_from_does_not_get_it_back_by_another_decision(project: Project) -> None:
    project.register("fair")
    project.register("good")
    aliases.rollback("gpt", uri=project.uri, reason="it swears")
    decision = decision_of(project.register("good", config=PromoteConfig(num_resamples=600)))
    assert decision["promoted"] is False
    assert decision["champion"]["difference"] > 0  # the bits would have it
    assert "taken from version 2 by hand (it swears)" in decision["reason"]
    assert "`textmill promote gpt 2` gives it back" in decision["reason"]
    assert project.champion() == "1"
    aliases.promote("gpt", "2", uri=project.uri)
    aliases.promote("gpt", "1", uri=project.uri)
    assert decision_of(project.register("good", config=PromoteConfig(num_resamples=601)))["promoted"] is False
    aliases.promote("gpt", "2", uri=project.uri)
    assert decision_of(project.register("good", config=PromoteConfig(num_resamples=602)))["holds_alias"] is True


def test_rollback_and_promotion_by_hand_are_on_record(project: Project) -> None:
    project.register("fair")
    with pytest.raises(RegistryError, match="nobody held the alias champion before version 1"):
        aliases.rollback("gpt", uri=project.uri)
    project.register("good")
    assert champions(project.uri) == {"gpt": "2"}
    aliases.rollback("gpt", uri=project.uri, reason="the new one swears")
    assert champions(project.uri) == {"gpt": "1"}
    aliases.promote("gpt", "2", uri=project.uri)
    assert champions(project.uri) == {"gpt": "2"}
    assert champions(f"sqlite:///{project.storage / 'nothing.db'}") is None
    assert champions("http://127.0.0.1:9") is None
    trail = queries.alias_history(project.uri, "gpt")
    assert [(move.action, move.from_version, move.to_version) for move in trail] == [
        ("gate", None, "1"),
        ("gate", "1", "2"),
        ("rollback", "2", "1"),
        ("promote", "1", "2"),
    ]
    assert trail[2].reason == "the new one swears"
    with pytest.raises(RegistryError, match="version 2 is the champion already"):
        aliases.promote("gpt", "2", uri=project.uri)
    with pytest.raises(RegistryError, match="gpt has no version 9; it has 1, 2"):
        aliases.promote("gpt", "9", uri=project.uri)
    with pytest.raises(RegistryError, match="nothing is not in the registry"):
        aliases.rollback("nothing", uri=project.uri)


def test_a_clock_that_is_set_back_does_not_change_the_order_of_moves(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.register("fair")
    project.register("good")
    now = time.time()
    monkeypatch.setattr("pipeline.registry.aliases.time", SimpleNamespace(time=lambda: now + 3e8))  # ten years ahead
    aliases.promote("gpt", "1", uri=project.uri)
    monkeypatch.undo()
    aliases.promote("gpt", "2", uri=project.uri)
    trail = queries.alias_history(project.uri, "gpt")
    assert [(move.from_version, move.to_version) for move in trail[-2:]] == [("2", "1"), ("1", "2")]
    assert aliases.taken_away(trail, "1") == trail[-1]


@pytest.mark.slow
def test_an_alias_that_moved_meanwhile_is_decided_about_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.register("random")
    project.register("fair")
    decide = build._decide
    calls = []

    def decide_while_another_moves(*words: Any, **more: Any) -> Any:
        found = decide(*words, **more)
        if not calls:
            aliases.promote("gpt", "1", uri=project.uri)
        calls.append(1)
        return found

    monkeypatch.setattr(build, "_decide", decide_while_another_moves)
    decision = decision_of(project.register("good"))
    assert len(calls) == 2
    assert decision["champion_before"]["version"] == project.chain.models["random"].ref.version
    assert project.champion() == "3"


def test_comparing_before_setting_refuses_a_stale_view(project: Project) -> None:
    project.register("fair")
    with connection(project.uri, doing="test") as client, pytest.raises(RegistryError, match="from version 7 to 1"):
        aliases.move(client, "gpt", "1", action="gate", reason="", expected_holder="7")


@pytest.mark.slow
def test_documents_the_champion_was_trained_on_are_left_out(project: Project) -> None:
    chain = project.chain
    texts = default_texts()
    overlap = {
        "train": texts["train"] + texts["test"][:20],
        "validation": texts["validation"],
        "test": texts["test"][20:],
    }
    corpus = make_corpus(chain.store, overlap, name="overlapping")
    shards = make_shards(chain.store, corpus, chain.tokenizer)
    model = make_model(chain.store, shards, chain.tokenizer, num_steps=40)
    evaluation = make_evaluation(chain.store, model, corpus, shards)
    make_registered(ArtifactStore(project.storage), evaluation, model, corpus, shards)
    decision = decision_of(project.register("good"))
    assert decision["champion"]["num_documents"] == 10
    assert decision["baseline"]["num_documents"] == 30


@pytest.mark.slow
def test_a_model_that_was_trained_on_all_test_documents_cannot_be_compared(project: Project) -> None:
    chain = project.chain
    texts = default_texts()
    corpus = make_corpus(chain.store, {**texts, "train": texts["test"], "test": texts["train"][:9]}, name="swapped")
    shards = make_shards(chain.store, corpus, chain.tokenizer)
    model = make_model(chain.store, shards, chain.tokenizer, num_steps=40)
    evaluation = make_evaluation(chain.store, model, corpus, shards)
    make_registered(ArtifactStore(project.storage), evaluation, model, corpus, shards)
    decision = decision_of(project.register("good"))
    assert decision["promoted"] is False
    assert "Only 0 test documents were held out by both" in decision["reason"]
    assert project.champion() == "1"


@pytest.mark.slow
def test_another_model_can_be_what_must_be_beaten(project: Project) -> None:
    chain = project.chain
    rival = make_model(chain.store, chain.shards, chain.tokenizer, num_steps=120, name="rival")
    evaluation = make_evaluation(chain.store, rival, chain.corpus, chain.shards)
    store = ArtifactStore(project.storage)
    baseline = make_registered(store, evaluation, rival, chain.corpus, chain.shards)
    config = PromoteConfig(num_resamples=500, must_beat="rival")
    decision = decision_of(project.register("fair", config=config, baseline=baseline))
    assert decision["promoted"] is False
    assert decision["baseline"]["rival"] == f"rival@{rival.ref.version}"
    assert "worse than rival@" in decision["reason"]


@pytest.mark.slow
def test_a_rival_without_a_champion_is_replaced_by_the_unigram_baseline(project: Project) -> None:
    chain = project.chain
    rival = make_model(chain.store, chain.shards, chain.tokenizer, num_steps=0, name="rival")
    evaluation = make_evaluation(chain.store, rival, chain.corpus, chain.shards)
    baseline = make_registered(ArtifactStore(project.storage), evaluation, rival, chain.corpus, chain.shards)
    config = PromoteConfig(num_resamples=500, must_beat="rival")
    decision = decision_of(project.register("fair", config=config, baseline=baseline))
    assert decision["promoted"] is True
    assert decision["notes"] == ["rival has no champion to beat, so the unigram baseline stands in for it."]


def test_lineage_metrics_and_report_are_in_mlflow(project: Project) -> None:
    registered = project.register("fair")
    chain, client = project.chain, project.client()
    version = client.get_model_version_by_alias("gpt", "champion")
    for role in ("corpus", "tokenizer", "token_shards", "evaluation", "git_revision"):
        assert version.tags[f"textmill.{role}"]
    assert chain.corpus.ref.content_hash in version.tags["textmill.corpus"]
    assert version.tags["dagster_run_id"] == "run-1"
    assert version.tags["textmill.version"] == chain.models["fair"].ref.version
    registration = json.loads(registered.file("registration.json").read_text())
    model = client.get_logged_model(registration["model_id"])
    metrics = {metric.key: metric for metric in model.metrics}
    assert metrics["bits_per_byte"].value == pytest.approx(chain.evaluations["fair"].manifest.counts["bits_per_byte"])
    assert metrics["bits_per_byte"].step == STEPS["fair"]
    run = find_run(client, "gpt", chain.models["fair"].ref.version)
    assert run.info.run_id == registration["run_id"] == version.run_id
    assert run.info.status == "FINISHED"
    inputs = {entry.dataset.name: entry.dataset.digest for entry in run.inputs.dataset_inputs}
    assert metrics["bits_per_byte"].dataset_digest == inputs["made_up test"]
    files = {entry.path for entry in client.list_artifacts(run.info.run_id, "evaluation")}
    assert {"evaluation/report.html", "evaluation/documents.parquet", "evaluation/plots"} <= files
    assert "<h1>gpt</h1>" in Path(client.download_artifacts(run.info.run_id, "evaluation/report.html")).read_text()


def test_a_model_registered_by_hand_is_no_champion_to_compare_with(project: Project) -> None:
    project.register("fair")
    client = project.client()
    source = client.get_model_version("gpt", "1").source
    client.create_model_version("gpt", source)
    aliases.promote("gpt", "2", uri=project.uri)
    with pytest.raises(RegistryError, match="version 2 was not registered by textmill"):
        project.register("good")


def test_a_new_evaluation_of_the_same_model_updates_its_version(project: Project) -> None:
    project.register("fair")
    chain, client = project.chain, project.client()
    before = client.get_model_version("gpt", "1")
    config = EvaluateConfig(max_documents=9, num_samples=1, sample_tokens=4)
    evaluation = make_evaluation(
        ArtifactStore(project.storage), chain.models["fair"], chain.corpus, chain.shards, config
    )
    store = ArtifactStore(project.storage)
    make_registered(store, evaluation, chain.models["fair"], chain.corpus, chain.shards)
    (after,) = client.search_model_versions("name='gpt'")
    assert evaluation.ref.version in after.tags["textmill.evaluation"]
    assert (before.tags["textmill.evaluation"], before.description) != (
        after.tags["textmill.evaluation"],
        after.description,
    )
    (row,) = queries.leaderboard(project.uri)
    assert row.metrics["num_documents"] == 9
    assert row.metrics["bits_per_byte/left"] > 0


def test_the_registry_is_asked_whether_it_still_has_what_was_registered(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, store = project.chain, ArtifactStore(project.storage)
    whole = project.register("fair")
    assert build.is_registered(whole, project.uri)
    config = EvaluateConfig(max_documents=9, num_samples=1, sample_tokens=4)
    evaluation = make_evaluation(store, chain.models["fair"], chain.corpus, chain.shards, config)
    part = make_registered(store, evaluation, chain.models["fair"], chain.corpus, chain.shards)
    assert build.is_registered(part, project.uri)
    assert not build.is_registered(whole, project.uri)  # another evaluation is attached by now
    store.set_aside(whole)
    again = project.register("fair")
    assert build.is_registered(again, project.uri)
    (row,) = queries.leaderboard(project.uri)
    assert row.metrics["num_documents"] == 30  # the older evaluation, which counts again
    assert build.is_registered(again, "http://127.0.0.1:9")  # nobody answers, so nothing can be mended
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", elsewhere)
    assert not build.is_registered(again, elsewhere)


def test_an_evaluation_is_the_same_twice_and_ready_to_read(chain: Chain, tmp_path: Path) -> None:
    again = make_evaluation(ArtifactStore(tmp_path), chain.models["good"], chain.corpus, chain.shards)
    assert again.ref == chain.evaluations["good"].ref
    page = again.file("report.html").read_text()
    assert chain.corpus.ref.content_hash in page
    assert str(tmp_path) not in page
    assert len(json.loads(again.file("samples.json").read_text())) == 2


def test_only_the_smallest_ids_are_scored_when_asked(chain: Chain, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    config = EvaluateConfig(max_documents=7, prompts=("the old",), num_samples=1, sample_tokens=4)
    found = make_evaluation(ArtifactStore(tmp_path), chain.models["good"], chain.corpus, chain.shards, config)
    ids = pq.read_table(found.file("documents.parquet"))["id"].to_pylist()
    every = pq.read_table(chain.evaluations["good"].file("documents.parquet"))["id"].to_pylist()
    assert ids == sorted(every)[:7]
    assert found.report().notes == ["Measured on 7 of 30 test documents, those with the smallest hashes."]
    assert json.loads(found.file("samples.json").read_text())[0]["prompt"] == "the old"


def test_weights_that_are_no_numbers_stop_the_evaluation(chain: Chain, tmp_path: Path, monkeypatch: Any) -> None:
    from pipeline.errors import StageError
    from pipeline.models.transformer.network import Transformer

    def broken(self: Transformer, hidden: Any) -> Any:
        return hidden.new_full((*hidden.shape[:-1], self.shape.vocab_size), float("nan"))

    monkeypatch.setattr(Transformer, "logits", broken)
    with pytest.raises(StageError, match="gives 30 of 30 test documents no finite probability"):
        make_evaluation(ArtifactStore(tmp_path), chain.models["good"], chain.corpus, chain.shards)
    assert not list(tmp_path.rglob("manifest.json"))
