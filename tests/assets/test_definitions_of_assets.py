"""The project file becomes the asset graph it describes; checks fail when they should; metadata cannot be broken out of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from dagster._core.definitions.utils import DISALLOWED_NAMES

from assets import building
from pipeline.artifacts import Artifact, ArtifactStore, Report
from pipeline.config import Project, load_project
from pipeline.errors import ConfigurationError, RegistryError, StorageError, TrainingDiverged, TrainingError
from pipeline.files import write_parquet
from pipeline.plan import build_nodes
from pipeline.training import CODE_VERSION


def test_every_name_of_the_file_is_an_asset_in_its_group(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    groups = {key.to_user_string(): graph.get(key).group_name for key in graph.get_all_asset_keys()}
    assert groups == {
        "raw_documents/notes": "ingestion",
        "clean_documents/notes": "cleaning",
        "corpus/english": "corpus",
        "corpus_stats/english": "corpus",
        "tokenizer/small": "tokenizer",
        "tokenizer/words": "tokenizer",
        "token_shards/tokens": "shards",
        "trained_model/gpt": "training",
        "evaluation/gpt": "evaluation",
        "registered_model/gpt": "registry",
    }


def test_the_graph_is_the_chain(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    parents = {
        key.to_user_string(): {p.to_user_string() for p in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    assert parents["trained_model/gpt"] == {"token_shards/tokens", "tokenizer/small"}
    assert parents["registered_model/gpt"] == {
        "evaluation/gpt",
        "trained_model/gpt",
        "corpus/english",
        "token_shards/tokens",
    }
    assert parents["raw_documents/notes"] == set()


def test_assets_carry_owners_kinds_versions_pool_and_blocking_checks(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    model = graph.get(dg.AssetKey(["trained_model", "gpt"]))
    assert (model.owners, model.kinds, model.code_version) == (
        ["team:language"],
        {"pytorch", "safetensors"},
        CODE_VERSION,
    )
    assert model.pools == {"gpu"}
    checks = {key.name for key in graph.asset_check_keys}
    assert checks == {
        "ledger_balances", "kept_in_range", "text_comes_back", "digests_match", "loss_fell", "beats_unigram", "loads_and_generates",
    }  # fmt: skip
    assert all(graph.get_check_spec(key).blocking for key in graph.asset_check_keys)


def test_jobs_schedules_and_sensors_come_from_the_file(definitions: dg.Definitions) -> None:
    assert {job.name for job in definitions.jobs or ()} == {"gpt_job", "retrain"}
    schedule = definitions.resolve_schedule_def("nightly")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 2 * * *", "Europe/Berlin")
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert definitions.resolve_sensor_def("source_files").default_status == dg.DefaultSensorStatus.RUNNING


@pytest.mark.parametrize(
    "cron", ["*/5 0,12 1-15/2 jan-MAR,7 *", "0 22-2 29 2 fri-mon", "30 4 L * 7", "0 0 31 4,5 sun/2"]
)
def test_dagster_takes_the_times_and_owners_that_the_file_may_have(project: Project, cron: str) -> None:
    from assets.definitions import make_definitions

    owners = '["team:language", "a.b+c@mail.example.org"]'
    text = project.file.read_text().replace("0 2 * * *", cron).replace('["team:language"]', owners)
    project.file.write_text(text)
    dg.Definitions.validate_loadable(make_definitions(load_project(project.file)))


def test_no_schedule_has_a_name_that_a_sensor_or_dagster_has(project: Project, definitions: dg.Definitions) -> None:
    text = project.file.read_text()
    for name in (*DISALLOWED_NAMES, *(sensor.name for sensor in definitions.sensors or ())):
        project.file.write_text(text.replace("nightly:", f'"{name}":'))
        with pytest.raises(ConfigurationError, match=f"schedules has the name '{name}'"):
            load_project(project.file)


def test_a_schedule_waits_for_the_run_that_it_began_before(definitions: dg.Definitions, tmp_path: Path) -> None:
    schedule, other = definitions.resolve_schedule_def("nightly"), {"dagster/schedule_name": "weekly"}
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:

        def asked() -> tuple[int, str | None]:
            found = schedule.evaluate_tick(dg.build_schedule_context(instance))
            return len(found.run_requests or []), found.skip_message

        def begin(tags: dict[str, str]) -> dg.DagsterRun:
            job = definitions.resolve_job_def("gpt_job")
            return instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED)

        begin(other)
        assert asked() == (1, None)
        own = begin({"dagster/schedule_name": "nightly"})
        assert asked() == (0, f"Run {own.run_id[:8]}, which this schedule began before, is not finished yet.")
        instance.report_run_canceled(own)
        assert asked() == (1, None)


def artifact(
    store: ArtifactStore, stage: str, name: str, counts: dict[str, Any], files: Callable[[Any], None] | None = None
) -> Artifact:
    words: dict[str, Any] = {"code_version": "1", "literals": {}, "inputs": {}}
    with store.draft(stage=stage, name=name, version="v", **words) as draft:
        if files is not None:
            files(draft)
        return draft.commit(counts=counts, report=Report())


def ledger(taken: int, kept: int, rejected: int) -> dict[str, Any]:
    def count(documents: int) -> dict[str, int]:
        return {"documents": documents, "bytes": 10 * documents}

    return {"ledger": {"taken": count(taken), "kept": count(kept), "rejected": {"short": count(rejected)}}}


@pytest.mark.parametrize(("counts", "passed"), [((10, 7, 3), True), ((10, 7, 2), False)])
def test_the_ledger_check_fails_on_an_imbalance(project: Project, counts: tuple[int, int, int], passed: bool) -> None:
    from assets.checks import LEDGER

    found = artifact(ArtifactStore(project.storage_folder), "raw_documents", "notes", ledger(*counts))
    assert LEDGER.judge(project, found).passed is passed


@pytest.mark.parametrize(("counts", "passed"), [((10, 7, 3), True), ((10, 4, 6), False), ((1, 1, 0), False)])
def test_the_kept_range_is_the_files(project: Project, counts: tuple[int, int, int], passed: bool) -> None:
    from assets.checks import KEPT_RANGE

    found = artifact(ArtifactStore(project.storage_folder), "corpus", "english", ledger(*counts))
    assert KEPT_RANGE.judge(project, found).passed is passed


@pytest.mark.parametrize(("lossless", "failures", "passed"), [(True, 0, True), (True, 1, False), (False, 1, True)])
def test_lossless_tokenizers_must_bring_text_back(
    project: Project, lossless: bool, failures: int, passed: bool
) -> None:
    from assets.checks import ROUND_TRIP

    counts = {"round_trip_failures": failures, "num_documents": 5, "lossless": lossless}
    found = artifact(ArtifactStore(project.storage_folder), "tokenizer", "small", counts)
    assert ROUND_TRIP.judge(project, found).passed is passed


def test_a_flipped_byte_fails_the_digest_check(project: Project) -> None:
    from assets.checks import DIGESTS

    store = ArtifactStore(project.storage_folder)
    found = artifact(
        store, "token_shards", "tokens", {}, lambda draft: draft.path("train-0.tokens").write_bytes(b"abc")
    )
    assert DIGESTS.judge(project, found).passed
    (found.folder / "train-0.tokens").write_bytes(b"abd")
    assert not DIGESTS.judge(project, found).passed


@pytest.mark.parametrize(
    ("losses", "passed"),
    [
        ([3.0] * 5 + [2.0] * 5, True),
        ([2.0] * 5 + [3.0] * 5, False),
        ([3.0, float("nan"), 1.0], False),
        ([3.0], True),
        ([float("nan")], False),
        ([0.52, 0.48, 0.60, 0.47, 0.55, 0.44, 0.51, 0.49, 0.46, 0.70], True),  # fine-tuned: one odd batch at the end
        ([0.5 + 0.02 * step for step in range(10)], False),
    ],
)
def test_the_loss_must_be_finite_and_not_rise_but_by_chance(
    project: Project, losses: list[float], passed: bool
) -> None:
    from assets.checks import LEARNT

    def history(draft: Any) -> None:
        write_parquet(draft.path("history.parquet"), pa.table({"train_loss": losses}))

    assert (
        LEARNT.judge(
            project, artifact(ArtifactStore(project.storage_folder), "trained_model", "gpt", {}, history)
        ).passed
        is passed
    )


@pytest.mark.parametrize(("bits", "passed"), [(2.0, True), (4.0, False), (float("nan"), False)])
def test_a_model_must_beat_counting_words(project: Project, bits: float, passed: bool) -> None:
    from assets.checks import BEATS_UNIGRAM

    store = ArtifactStore(project.storage_folder)
    found = artifact(store, "evaluation", "gpt", {"bits_per_byte": 2.0, "unigram_bits_per_byte": 3.0})
    found.manifest.counts["bits_per_byte"] = bits  # type: ignore[index]
    assert BEATS_UNIGRAM.judge(project, found).passed is passed


@pytest.mark.parametrize("redact", ["false", "true", "[email]"])
def test_the_page_of_raw_documents_shows_no_personal_data_that_cleaning_takes_out(
    project: Project, redact: str
) -> None:
    from assets.raw_documents import RAW_DOCUMENTS
    from pipeline.ingestion.report import SAMPLE_CHARACTERS

    text = project.file.read_text().replace('"notes/*.txt"', f'"notes/*.txt", redact: {redact}')
    project.file.write_text(text)
    mail = "ann.lee@mail.org"
    samples = {f"1. a.txt: to {mail}": f"Write to {mail}.", "2. b.txt": f"{'x ' * 294}{mail}"[:SAMPLE_CHARACTERS]}
    store = ArtifactStore(project.storage_folder)
    with store.draft(
        stage="raw_documents", name="notes", version="v", code_version="1", literals={}, inputs={}
    ) as draft:
        found = draft.commit(counts={}, report=Report(samples=samples))
    shown = RAW_DOCUMENTS.shown(load_project(project.file), found).samples
    if redact == "false":
        assert shown == samples
        return
    assert shown["1. a.txt: to <EMAIL>"] == "Write to <EMAIL>."
    assert "ann" not in shown["2. b.txt"] and shown["2. b.txt"].startswith("x x ")


def test_a_plot_and_a_table_of_one_name_are_both_shown(project: Project) -> None:
    from assets.metadata import artifact_metadata

    report = Report(
        plots={"Languages": "plots/a.png", "Lengths": "plots/a.png"}, tables={"Languages": [{"language": "en"}]}
    )
    store = ArtifactStore(project.storage_folder)
    with store.draft(
        stage="corpus_stats", name="english", version="v", code_version="1", literals={}, inputs={}
    ) as draft:
        draft.path("plots/a.png").write_bytes(b"png")
        found = draft.commit(counts={}, report=report)
    shown = artifact_metadata(found, found.report(), reused=False)
    texts = {title: str(shown[title].value) for title in ("Languages", "Languages, plot", "Lengths")}
    assert "| en |" in texts["Languages"]
    assert all(texts[title].startswith("![") for title in ("Languages, plot", "Lengths"))


def test_cells_and_samples_cannot_break_out() -> None:
    from assets.metadata import fenced, markdown_table

    table = markdown_table(
        [{"word": "a|b\n<img src=x onerror=alert(1)> [x](javascript:y)", "count": 1200, "share": 0.25}]
    )
    assert table.splitlines()[0] == "| word | count | share |"
    row = table.splitlines()[2]
    assert row.count("|") == 4
    assert "<img" not in row and "](" not in row
    assert "| 1,200 | 0.25 |" in row
    assert fenced("x ``` y").startswith("````text\n")


@pytest.mark.parametrize(
    ("error", "allow_retries"),
    [
        (TrainingError("x"), True),
        (TrainingDiverged("x"), False),
        (KeyboardInterrupt(), False),
        (RegistryError("x"), True),
    ],
)
def test_what_cannot_get_better_is_not_retried(error: BaseException, allow_retries: bool) -> None:
    from assets.building import one_sentence

    with pytest.raises(dg.Failure) as failure, one_sentence():
        raise error
    assert failure.value.allow_retries is allow_retries


def test_a_tracker_that_restarts_at_night_costs_a_run_some_minutes_and_a_person_none(
    definitions: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assets.building import TERMINAL_VARIABLE, one_sentence

    policy = definitions.resolve_assets_def(dg.AssetKey(["registered_model", "gpt"])).op.retry_policy
    assert policy is not None
    assert sum(policy.calculate_delay(attempt) for attempt in range(1, policy.max_retries + 1)) == 30 * (1 + 3 + 7 + 15)
    monkeypatch.setenv(TERMINAL_VARIABLE, "1")
    with pytest.raises(dg.Failure) as failure, one_sentence():
        raise RegistryError("nobody answers")
    assert not failure.value.allow_retries


def test_the_instance_is_made_from_the_packaged_file(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    from assets.cli.instance import prepare_instance

    home = prepare_instance(project)
    assert "free_slots_after_run_end_seconds" in (home / "dagster.yaml").read_text()
    monkeypatch.setenv("DAGSTER_HOME", "elsewhere")
    assert prepare_instance(project) == Path("elsewhere")


@pytest.mark.parametrize(
    ("storage", "reason"),
    [
        ("taken", "/taken/dagster cannot be made: not a directory"),
        ("/proc/x", "/proc/x/dagster cannot be made: no such file or directory"),
    ],
)
def test_a_storage_folder_that_cannot_be_is_one_sentence(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, storage: str, reason: str
) -> None:
    from assets.cli import main
    from assets.cli.instance import prepare_instance

    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    (project.folder / "taken").write_text("")
    project.file.write_text(project.file.read_text() + f"storage: {storage}\n")
    with pytest.raises(StorageError) as error:
        prepare_instance(load_project(project.file))
    assert str(error.value).endswith(f"{reason}. Set `storage` to another folder.")
    assert main(["models", "--config", str(project.file)]) == 1
    said = capsys.readouterr().err
    assert said.endswith(f"{reason.replace('dagster', 'mlflow')}. Set `storage` to another folder.\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [("--limit", "0", "--limit is 0; give 1 or more."), ("--few-shot", "-1", "--few-shot is -1; give 0 or more.")],
)
def test_an_option_of_the_harness_that_cannot_be_is_one_sentence(
    project: Project, capsys: pytest.CaptureFixture[str], option: str, value: str, sentence: str
) -> None:
    from assets.cli import main

    words = ["harness", "gpt", "nouns", "--include", "tasks", option, value, "--config", str(project.file)]
    assert main(words) == 1
    assert capsys.readouterr().err == f"harness: {sentence}\n"


@pytest.mark.slow
def test_processes_that_begin_together_on_a_new_storage_make_one_instance(project: Project) -> None:
    program = (
        "import sys, dagster as dg; from assets.cli.instance import prepare_instance; from pipeline.config import load_project\n"
        "project = load_project(sys.argv[1]); print('ready', flush=True); input()\n"
        "prepare_instance(project)\n"
        "with dg.DagsterInstance.get() as instance: print(instance.get_runs_count())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(project.file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for _ in range(4)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    assert [child.communicate()[0] for child in children] == ["0\n"] * 4


def test_the_command_line_says_one_sentence(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    from assets.cli import main

    config = ["--config", str(project.file)]
    assert main(["run", "nonsense", *config]) == 1
    assert capsys.readouterr().err.startswith("'nonsense' is no asset of this project.")
    assert main(["check", *config]) == 0
    assert "10 of 10 assets would run" in capsys.readouterr().out
    assert main(["status", *config]) == 0
    assert capsys.readouterr().out.count("never built") == 10
    assert main(["check", "--config", "nowhere.yaml"]) == 1
    assert "nowhere.yaml does not exist" in capsys.readouterr().err


def test_the_plan_of_the_default_project_is_json_serialisable() -> None:
    project = load_project(Path(__file__).parents[2] / "dagster_project.yaml")

    assert json.dumps([str(key) for key in build_nodes(project)])


def test_after_an_interrupt_nothing_more_is_started(
    project: Project, definitions: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster goes on with the next step where a second signal comes while it answers the first."""
    stopped = threading.Event()
    monkeypatch.setattr(building, "was_stopped", stopped)
    job = definitions.resolve_implicit_global_asset_job_def()
    key = dg.AssetKey(["raw_documents", "notes"])

    def run() -> bool:
        with dg.DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(instance=instance, asset_selection=[key], raise_on_error=False)
        return result.success and ArtifactStore(project.storage_folder).current("raw_documents", "notes") is not None

    stopped.set()
    assert not run()
    stopped.clear()
    assert run()
