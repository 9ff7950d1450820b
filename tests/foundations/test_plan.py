"""The plan names every asset, what would run, and why; versions change with content and settings alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.artifacts import Artifact, ArtifactStore, Draft, Report
from pipeline.config import Project, load_project
from pipeline.errors import ArtifactMissing, ConfigurationError, InputError
from pipeline.plan import Key, build_nodes, find_or_build, make_plan, select
from pipeline.progress import SilentProgress
from pipeline.records import Count, Ledger

PROJECT = """
name: demo
sources:
  notes: {reader: text, path: "notes/*.txt"}
  diary: {reader: text, path: "diary.txt"}
corpora:
  english: {sources: {notes: 1.0}}
  both: {sources: {notes: 1.0, diary: 2.0}}
tokenizers:
  small: {corpus: english, vocab_size: 512}
  fresh: {corpus: english, vocab_size: 512, refit: always}
datasets:
  tokens: {corpus: english, tokenizer: small}
models:
  gpt: {family: transformer, dataset: tokens, promote: {must_beat: base}}
  base: {family: transformer, dataset: tokens, depth: 1}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("first note")
    (tmp_path / "diary.txt").write_text("a day")
    (tmp_path / "dagster_project.yaml").write_text(PROJECT)
    return tmp_path


def project_of(folder: Path) -> tuple[Project, ArtifactStore]:
    project = load_project(folder / "dagster_project.yaml")
    return project, ArtifactStore(project.storage_folder)


def build(project: Project, store: ArtifactStore, key: Key, content: str = "x") -> tuple[Artifact, bool]:
    def write(draft: Draft, inputs: Mapping[str, Artifact]) -> Artifact:
        draft.path("content.txt").write_text(content)
        ledger = Ledger(taken=Count(documents=10), kept=Count(documents=4), rejected={"short": Count(documents=6)})
        return draft.commit(counts={"ledger": ledger.to_json()}, report=Report())

    return find_or_build(build_nodes(project)[key], store, write, SilentProgress())


RAW, CLEAN, CORPUS = Key("raw_documents", "notes"), Key("clean_documents", "notes"), Key("corpus", "english")
SMALL, FRESH = Key("tokenizer", "small"), Key("tokenizer", "fresh")


def statuses(project: Project, store: ArtifactStore, *names: str) -> dict[str, str]:
    return {str(step.key): step.status for step in make_plan(project, store, names)}


def reason(project: Project, store: ArtifactStore, key: Key) -> str:
    return next(step.reason for step in make_plan(project, store) if step.key == key)


def test_every_name_is_an_asset_after_what_it_reads(folder: Path) -> None:
    nodes = build_nodes(project_of(folder)[0])
    order = [str(key) for key in nodes]
    for node in nodes.values():
        assert all(order.index(str(upstream)) < order.index(str(node.key)) for upstream in node.inputs.values())
    assert order.index("registered_model/base") < order.index("registered_model/gpt")
    assert len(order) == 2 + 2 + 2 + 2 + 2 + 1 + 2 * 3


def test_a_name_selects_its_assets_and_all_they_read(folder: Path) -> None:
    nodes = build_nodes(project_of(folder)[0])
    assert [str(key) for key in select(nodes, ("small",))] == [
        "raw_documents/notes",
        "clean_documents/notes",
        "corpus/english",
        "tokenizer/small",
    ]
    assert [str(key) for key in select(nodes, ("clean_documents/diary",))] == [
        "raw_documents/diary",
        "clean_documents/diary",
    ]
    with pytest.raises(ConfigurationError, match="'nonsense' is no asset of this project"):
        select(nodes, ("nonsense",))


def test_what_was_built_is_up_to_date_and_what_follows_would_run(folder: Path) -> None:
    project, store = project_of(folder)
    assert set(statuses(project, store).values()) == {"would run"}
    assert build(project, store, RAW)[1] is False
    assert build(project, store, RAW)[1] is True
    plan = statuses(project, store, "clean_documents/notes")
    assert plan == {"raw_documents/notes": "up to date", "clean_documents/notes": "would run"}
    assert reason(project, store, CLEAN) == "never built"


def test_a_new_file_reruns_its_source_and_what_follows_depends_on_the_content(folder: Path) -> None:
    project, store = project_of(folder)
    for key in (RAW, CLEAN, CORPUS):
        build(project, store, key)
    (folder / "notes" / "b.txt").write_text("second note")
    assert reason(project, store, RAW) == "1 new or changed files, 0 gone or replaced"
    assert reason(project, store, CORPUS) == "after clean_documents/notes"
    assert statuses(project, store, "english")["corpus/english"] == "depends"
    build(project, store, RAW)  # the same content as before: nothing follows from it
    assert statuses(project, store, "english")["corpus/english"] == "up to date"


def test_moving_the_project_changes_no_version(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    project, store = project_of(folder)
    version = build(project, store, RAW)[0].ref.version
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "moved"
    folder.rename(elsewhere)
    project, store = project_of(elsewhere)
    assert statuses(project, store, "raw_documents/notes") == {"raw_documents/notes": "up to date"}
    assert build(project, store, RAW)[0].ref.version == version


def test_a_changed_setting_is_named_with_both_values(folder: Path) -> None:
    project, store = project_of(folder)
    for key in (RAW, CLEAN, CORPUS, SMALL):
        build(project, store, key)
    file = folder / "dagster_project.yaml"
    file.write_text(file.read_text().replace("vocab_size: 512}", "vocab_size: 600}", 1))
    assert reason(*project_of(folder), SMALL) == "vocab_size 512 -> 600"
    file.write_text(file.read_text().replace("{notes: 1.0}", "{notes: 1.0}, splits: {test: 0.2}", 1))
    assert reason(*project_of(folder), CORPUS) == "splits.test 0.01 -> 0.2"


def test_what_is_expected_of_a_corpus_that_is_there_is_seen_at_once(folder: Path) -> None:
    """It is no part of the version, so nothing is built for it; a run is what fails."""
    project, store = project_of(folder)
    for key in (RAW, CLEAN, CORPUS, SMALL):
        build(project, store, key)
    file = folder / "dagster_project.yaml"
    before = file.read_text()
    for expect, status in {"min_kept_fraction: 0.4": "up to date", "min_kept_fraction: 0.41": "would run"}.items():
        file.write_text(before.replace("{notes: 1.0}", f"{{notes: 1.0}}, expect: {{{expect}}}", 1))
        assert statuses(*project_of(folder), "english")["corpus/english"] == status
    assert reason(*project_of(folder), CORPUS) == (
        "its check would fail: 4 documents kept, a fraction of 0.400; expected 0.41 to 1 and at least 1 (corpora.expect)."
    )
    steps = {str(step.key): step.reason for step in make_plan(*project_of(folder), ("tokens",))}
    assert steps["token_shards/tokens"] == "after corpus/english"


def test_a_tokenizer_that_is_there_already_is_known_by_its_content(folder: Path) -> None:
    project_file = folder / "dagster_project.yaml"
    project_file.write_text(
        PROJECT.replace("small: {corpus: english, vocab_size: 512}", "small: {corpus: english, file: a.model}")
    )
    with pytest.raises(InputError, match=r"tokenizers\.small\.file is 'a\.model', which cannot be read \(No such file"):
        make_plan(*project_of(folder))
    (folder / "a.model").write_text("one")
    project, store = project_of(folder)
    for key in (RAW, CLEAN, CORPUS, SMALL):
        build(project, store, key)
    (folder / "a.model").rename(folder / "b.model")
    project_file.write_text(project_file.read_text().replace("a.model", "b.model"))
    assert statuses(*project_of(folder), "small")["tokenizer/small"] == "up to date"
    (folder / "b.model").write_text("two")
    assert statuses(*project_of(folder), "small")["tokenizer/small"] == "would run"


def test_a_tokenizer_stays_as_its_corpus_grows_unless_told_otherwise(folder: Path) -> None:
    project, store = project_of(folder)
    for key in (RAW, CLEAN, CORPUS, SMALL, FRESH):
        build(project, store, key)
    (folder / "notes" / "b.txt").write_text("second note")
    for key in (RAW, CLEAN, CORPUS):
        build(project, store, key, content="more")
    assert reason(project, store, SMALL).startswith("version ")
    assert reason(project, store, FRESH) == "corpus/english changed"


CHAIN = [RAW, CLEAN, CORPUS, SMALL, Key("token_shards", "tokens"), Key("trained_model", "base")]
EVALUATION, REGISTERED = Key("evaluation", "base"), Key("registered_model", "base")


def read_by(artifact: Artifact) -> dict[str, str]:
    return {role: ref.version for role, ref in artifact.manifest.inputs.items()}


def test_a_model_is_measured_on_the_corpus_it_was_trained_on_whatever_is_in_use_by_now(folder: Path) -> None:
    project, store = project_of(folder)
    *_, corpus, _, shards, model = (build(project, store, key)[0] for key in CHAIN)
    (folder / "notes" / "b.txt").write_text("second note")
    *_, corpus_now, _, shards_now = (build(project, store, key, content="y")[0] for key in CHAIN[:-1])
    assert (corpus.ref, shards.ref) != (corpus_now.ref, shards_now.ref)
    evaluation, _ = build(project, store, EVALUATION)
    assert read_by(evaluation) == {
        "model": model.ref.version, "corpus": corpus.ref.version, "shards": shards.ref.version
    }  # fmt: skip
    model_now, _ = build(project, store, CHAIN[-1], content="other weights")
    registered, _ = build(project, store, REGISTERED)  # alone: of the model that was measured
    assert read_by(registered) == {**read_by(evaluation), "evaluation": evaluation.ref.version}
    assert model_now.ref != model.ref
    again, reused = build(project, store, EVALUATION, content="z")
    assert not reused
    assert read_by(again) == {
        "model": model_now.ref.version, "corpus": corpus_now.ref.version, "shards": shards_now.ref.version
    }  # fmt: skip
    assert statuses(project, store)["evaluation/base"] == "up to date"


def test_what_is_registered_on_one_server_is_not_on_another(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, store = project_of(folder)
    for key in (*CHAIN, EVALUATION, REGISTERED):
        build(project, store, key)
    assert reason(project, store, REGISTERED) == "the registry's database is gone"
    database = project.storage_folder / "mlflow" / "mlflow.db"
    database.parent.mkdir()
    database.touch()
    assert statuses(project, store)["registered_model/base"] == "up to date"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@tracker:5000/mlflow/")
    assert statuses(project, store)["registered_model/base"] == "would run"
    assert reason(project, store, REGISTERED) == "server None -> https://tracker:5000/mlflow/"
    elsewhere, reused = build(project, store, REGISTERED)
    assert not reused and "secret" not in str(elsewhere.manifest.to_json())
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert build(project, store, REGISTERED)[1] is True


def test_what_no_longer_holds_outside_is_built_again(folder: Path) -> None:
    project, store = project_of(folder)
    first, _ = build(project, store, RAW, content="x")
    node = build_nodes(project)[RAW]

    def write(draft: Draft, inputs: Mapping[str, Artifact]) -> Artifact:
        draft.path("content.txt").write_text("y")
        return draft.commit(counts={}, report=Report())

    again, reused = find_or_build(node, store, write, SilentProgress(), still_holds=lambda artifact: False)
    assert not reused
    assert again.ref.version == first.ref.version
    assert again.file("content.txt").read_text() == "y"
    kept, reused = find_or_build(node, store, write, SilentProgress(), still_holds=lambda artifact: True)
    assert reused and kept.ref == again.ref


def test_other_test_documents_are_read_where_the_training_documents_are_the_same(folder: Path) -> None:
    project, store = project_of(folder)
    for key in CHAIN:
        build(project, store, key)
    (folder / "notes" / "b.txt").write_text("second note")
    for key in CHAIN[:3]:
        corpus, _ = build(project, store, key, content="y")
    for key in CHAIN[3:5]:
        shards, _ = build(project, store, key)  # of another corpus, with equal content
    evaluation, _ = build(project, store, EVALUATION)
    assert read_by(evaluation)["corpus"] == corpus.ref.version
    assert read_by(evaluation)["shards"] == shards.ref.version


def test_a_model_whose_corpus_is_gone_is_not_measured_on_another(folder: Path) -> None:
    project, store = project_of(folder)
    *_, shards, _ = (build(project, store, key)[0] for key in CHAIN)
    (folder / "notes" / "b.txt").write_text("second note")
    for key in CHAIN[:-1]:
        build(project, store, key, content="y")
    shutil.rmtree(shards.folder)
    with pytest.raises(
        ArtifactMissing, match="trained_model/base was built from another token_shards/tokens than .* gone"
    ):
        build(project, store, EVALUATION)
    assert statuses(project, store)["evaluation/base"] != "up to date"


def test_a_damaged_version_is_rebuilt_in_the_same_run(folder: Path) -> None:
    project, store = project_of(folder)
    artifact, _ = build(project, store, RAW)
    (artifact.folder / "content.txt").write_text("y")
    rebuilt, reused = build(project, store, RAW)
    assert not reused
    assert rebuilt.ref == artifact.ref
    store.verify(rebuilt)


def test_planning_imports_nothing_heavy(folder: Path) -> None:
    code = (
        "import sys; from pipeline.config import load_project; from pipeline.artifacts import ArtifactStore;"
        "from pipeline.plan import make_plan; p = load_project(sys.argv[1]); make_plan(p, ArtifactStore(p.storage_folder));"
        "print([m for m in ('torch', 'dagster', 'mlflow', 'duckdb', 'matplotlib') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(folder / "dagster_project.yaml")]
    assert subprocess.check_output(command, text=True).strip() == "[]"


def test_redaction_changes_cleaning_alone(folder: Path) -> None:
    def literals(setting: str) -> tuple[object, object]:
        text = PROJECT.replace('{reader: text, path: "notes/*.txt"}', f'{{reader: text, path: "notes/*.txt"{setting}}}')
        (folder / "dagster_project.yaml").write_text(text)
        nodes = build_nodes(project_of(folder)[0])
        return nodes[RAW].literals(), nodes[CLEAN].literals()

    raw, clean = literals("")
    assert clean == {} and literals(", redact: false") == (raw, {})
    assert literals(", redact: [phone, email, phone]") == (raw, {"redact": ["email", "phone"]})
    kinds = ["card", "chinese_id", "chinese_mobile", "email", "iban", "ip", "phone"]
    assert literals(", redact: true") == (raw, {"redact": kinds})
