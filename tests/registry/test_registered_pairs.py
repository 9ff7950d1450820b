"""A model of pairs from evaluation to the registry: measured by its targets, judged against rivals, asked as it was trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pair_chain import CONTEXT_TOKENS, ZAHLEN, make_pair_model, number_pairs, pair_chain_of
from tiny_chain import make_evaluation, make_registered

from assets.cli import main
from pipeline.accounts.leaderboard import leaderboard, write_leaderboard
from pipeline.artifacts import Artifact, ArtifactStore
from pipeline.config import load_project
from pipeline.config.training import EvaluateConfig
from pipeline.evaluation.pair_model import PairModel, TextModel, load_writer
from pipeline.evaluation.targets import score_targets
from pipeline.registry.queries import compare
from pipeline.registry.task_comparison import compare_tasks
from pipeline.serving.generate import load_champion
from pipeline.shards.pair_batches import PromptLoader

pytestmark = pytest.mark.slow

PROJECT = """
name: numbers
sources: {s: {reader: text, path: "*.txt"}}
corpora: {numbers: {sources: {s: 1.0}}}
tokenizers: {pieces: {corpus: numbers}}
datasets: {numbers: {corpus: numbers, tokenizer: pieces, task: translation}}
models:
  translator: {family: transformer, dataset: numbers}
"""


@dataclass
class Chain:
    store: ArtifactStore
    corpus: Artifact
    shards: Artifact
    models: dict[str, Artifact]
    evaluations: dict[str, Artifact]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    folder = tmp_path_factory.mktemp("pairs")
    store, corpus, tokenizer, shards = pair_chain_of(folder / "data")
    (folder / "questions.jsonl").write_text(json.dumps({"query": "one", "choices": ["eins", "zwei"], "gold": 0}))
    config = EvaluateConfig.model_validate(
        {
            "metrics": ["chrf", "bits_per_byte", "ter"],
            "benchmarks": {"digits": {"path": str(folder / "questions.jsonl"), "kind": "choices"}},
        }
    )
    models = {
        name: make_pair_model(store, shards, tokenizer, num_steps=steps) for name, steps in (("bad", 10), ("good", 120))
    }
    evaluations = {name: make_evaluation(store, model, corpus, shards, config) for name, model in models.items()}
    return Chain(store, corpus, shards, models, evaluations)


def rows_of(evaluation: Artifact) -> dict[tuple[str, str], dict[str, Any]]:
    rows = json.loads(evaluation.file("metrics.json").read_text())["task"]["metrics"]
    return {(row["metric"], row["by"]): row for row in rows}


def test_a_translator_is_better_than_every_baseline_by_more_than_the_intervals(chain: Chain) -> None:
    rows = rows_of(chain.evaluations["good"])
    model = rows["chrf", "model"]
    assert model["low"] > max(rows["chrf", baseline]["high"] for baseline in ("copy", "lead", "majority"))
    assert rows["bits_per_byte", "model"]["high"] < rows["bits_per_byte", "unigram"]["low"]
    assert rows["ter", "model"]["value"] < rows["ter", "copy"]["value"] == 100
    counts = chain.evaluations["good"].manifest.counts
    assert counts["chrf"] == model["value"]
    assert counts["chrf/copy"] == rows["chrf", "copy"]["value"]
    assert counts["num_bytes"] == sum(len(target.encode()) for _, target in number_pairs(700, 740))


def test_outputs_and_benchmarks_stand_beside_the_bits_and_on_the_page(chain: Chain) -> None:
    evaluation = chain.evaluations["good"]
    outputs = pq.read_table(evaluation.file("outputs.parquet")).to_pylist()
    assert {row["text"]: row["targets"] for row in outputs} == {
        text: [target] for text, target in number_pairs(700, 740)
    }
    assert pq.read_table(evaluation.file("benchmarks.parquet")).num_rows == 1
    page = evaluation.file("report.html").read_text()
    for expected in ("<h2>Translation</h2>", "chrF++", "nrefs:1", "majority", "digits", outputs[0]["targets"][0]):
        assert expected in page
    assert evaluation.report().notes == ["Trained for 120 steps alone."]  # what its training said is said here, too
    tables = evaluation.report().tables
    assert {row["by"] for row in tables["Task"]} == {"model", "without_text", "copy", "lead", "majority", "unigram"}
    bits = {row["by"]: row["value"] for row in tables["Task"] if row["metric"] == "bits_per_byte"}
    assert bits["model"] < bits["without_text"] - 0.5  # a number in words cannot be guessed


def test_a_model_of_pairs_is_asked_with_the_tokens_it_learnt_and_does_worse_with_others(chain: Chain) -> None:
    model = chain.models["good"]
    writer = load_writer(model.file("model/textmill.json").parent, chain.shards.file("pairs.json"))
    assert isinstance(writer, PairModel)
    rows = number_pairs(700, 740)
    found = score_targets(writer, [(text, f" {target}") for text, target in rows])
    learnt = writer.score([text for text, _ in rows], [target for _, target in rows])
    assert found.bits == pytest.approx(learnt.bits, rel=1e-6)
    loader = PromptLoader(chain.shards.folder, split="test", batch_tokens=4096, seed=0, context_tokens=CONTEXT_TOKENS)
    rows_read = [ids for step in range(loader.num_batches(0)) for ids in loader.batch(step).token_ids.tolist()]
    read = {tuple(token for token in ids if token != writer.tokenizer.pad_id) for ids in rows_read}
    assert read == {(*prompt, *target) for prompt, target in (writer.cut(text, target) for text, target in rows)}
    # the same characters cut as one text: a token across the template's border, which it never saw
    as_one = TextModel(model=writer.model, tokenizer=writer.tokenizer)
    together = score_targets(as_one, [(f"{text}\n\n", target) for text, target in rows])
    assert together.bits.sum() > learnt.bits.sum()


@pytest.fixture
def registered(chain: Chain, tmp_path: Path, tracking: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    store = ArtifactStore(tmp_path / "data")
    for name in ("bad", "good"):
        make_registered(store, chain.evaluations[name], chain.models[name], chain.corpus, chain.shards)
    return tracking


def test_the_better_translator_takes_the_alias_and_answers_from_the_registry(
    registered: str, chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    champion = load_champion("translator", registered)
    assert champion.registered.version == "2"
    described = MlflowClient(registered).get_model_version("translator", "2").description
    chrf = rows_of(chain.evaluations["good"])["chrf", "model"]["value"]
    assert f" parameters, chrF++ {chrf:.2f}, " in described and "bits per byte on" in described
    texts = [text for text, _ in number_pairs(700, 710)]
    written = champion.generate(texts, {"temperature": 0.0, "max_new_tokens": 30})
    assert {word for text in written for word in text.split()} & set(ZAHLEN)

    import mlflow.pyfunc
    import pandas as pd

    model = mlflow.pyfunc.load_model("models:/translator@champion")
    assert (
        model.predict(pd.DataFrame({"prompt": texts[:2]}), params={"temperature": 0.0, "max_new_tokens": 30})
        == (written[:2])
    )
    searched = champion.generate(texts)
    assert searched == champion.generate(texts, {"num_beams": 5, "length_penalty": 1.0, "max_new_tokens": 32})
    assert model.predict(pd.DataFrame({"prompt": texts})) == searched
    drawn = {"temperature": 1.5, "seed": 3}
    assert model.predict(pd.DataFrame({"prompt": texts}), params=drawn) == champion.generate(texts, drawn) != searched

    file = tmp_path / "project.yaml"
    file.write_text(PROJECT)
    assert main(["generate", "--config", str(file), "translator", texts[3]]) == 0
    shown = capsys.readouterr()
    assert shown.out.split("\n") == [texts[3], searched[3], ""]
    assert shown.err == "translation: 5 beams, length penalty 1, at most 32 tokens\n"
    assert main(["generate", "--config", str(file), "translator", texts[3], "--temperature", "0"]) == 0
    assert capsys.readouterr().err == "translation: the likeliest token each time, at most 32 tokens\n"
    assert main(["generate", "--config", str(file), "translator", "one", "--max-tokens", "64"]) == 1
    assert "has room for 64, its prompt included" in capsys.readouterr().err

    bits = compare(registered, "translator/2", "translator/1")
    assert bits.difference is not None and bits.difference > 0.5
    found = {row.label: row for row in compare_tasks(registered, "translator/2", "translator/1")}
    assert list(found) == ["chrF++", "TER", "digits, accuracy"]
    assert found["chrF++"].num_texts == 40
    assert found["chrF++"].low > 0
    assert found["chrF++"].confidence > 0.99
    assert found["TER"].difference < 0 and found["TER"].confidence > 0.9  # fewer edits are better
    turned = {row.label: row for row in compare_tasks(registered, "translator/1", "translator/2")}
    assert turned["chrF++"].difference == pytest.approx(-found["chrF++"].difference)


def test_the_leaderboard_goes_by_the_metric_that_was_asked_for(chain: Chain, tmp_path: Path) -> None:
    file = tmp_path / "project.yaml"
    file.write_text(PROJECT + f"storage: {chain.store.root}\n")
    project = load_project(file)
    (row,) = leaderboard(project, chain.store)
    assert (row.model, row.family, row.task, row.metric) == ("translator", "transformer", "translation", "chrf")
    assert row.quality == chain.evaluations["good"].manifest.counts["chrf"]
    assert row.quality_low is not None and row.quality_low < row.quality
    assert row.training_tokens == 120 * 512
    assert row.scoring_tokens_per_second is not None and row.scoring_tokens_per_second > 0
    written = pq.read_table(write_leaderboard(project, chain.store)).to_pylist()
    assert written[0]["quality"] == row.quality
