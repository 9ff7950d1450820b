"""From settings and shards to a trained model's artifact, through the training process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tiny_chain import chain_of, commit

from pipeline.artifacts import Artifact, ArtifactStore
from pipeline.config import RecurrentConfig, TransformerConfig
from pipeline.errors import TrainingError, TrainingInterrupted
from pipeline.models.loading import load_model
from pipeline.progress import SilentProgress
from pipeline.training.launch import build_trained_model, run_subprocess
from pipeline.training.spool import TrackingInfo

pytestmark = pytest.mark.slow

TRAIN: dict[str, Any] = {"tokens": 20_480, "batch_tokens": 512, "compile": "off", "checkpoint_every_steps": 10}
CONFIG = TransformerConfig(family="transformer", dataset="tokens", depth=1, context_tokens=32, train=TRAIN)


def build(
    folder: Path,
    chain: tuple[ArtifactStore, Artifact, Artifact, Artifact],
    *,
    run_trainer: Callable[[Path], None],
    config: TransformerConfig | RecurrentConfig = CONFIG,
) -> Artifact:
    _, _, tokenizer, shards = chain
    return commit(
        ArtifactStore(folder),
        stage="trained_model",
        name="gpt",
        literals=config.training_literals(),
        inputs={"shards": shards, "tokenizer": tokenizer},
        build=lambda draft: build_trained_model(
            draft,
            name="gpt",
            config=config,
            shards=shards,
            tokenizer=tokenizer,
            checkpoint_folder=folder / "checkpoints" / "gpt" / draft.version,
            spool_folder=folder / "spool" / "gpt" / draft.version,
            tracking=TrackingInfo(experiment="e", run_name="gpt", tags={"a": "b"}),
            run_trainer=run_trainer,
            progress=SilentProgress(),
        ),
    )


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> tuple[ArtifactStore, Artifact, Artifact, Artifact]:
    return chain_of(tmp_path_factory.mktemp("chain"))


@pytest.fixture(scope="module")
def trained(
    chain: tuple[ArtifactStore, Artifact, Artifact, Artifact], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Artifact]:
    folder = tmp_path_factory.mktemp("trained")
    return folder, build(folder, chain, run_trainer=run_subprocess)


def test_the_artifact_holds_a_model_that_learnt_its_history_and_its_settings(trained: tuple[Path, Artifact]) -> None:
    folder, artifact = trained
    counts = artifact.manifest.counts
    assert (counts["steps"], counts["tokens"], counts["skipped_steps"], counts["device"]) == (40, 20_480, 0, "cpu")
    history = pq.read_table(artifact.file("history.parquet"))
    assert history["step"].to_pylist() == list(range(1, 41))
    assert history["tokens"].to_pylist() == [512 * step for step in range(1, 41)]
    losses = history["train_loss"].to_pylist()
    assert losses[0] > 5.5  # about the logarithm of the vocabulary, 5.8
    assert counts["final_validation_loss"] < losses[0] - 1.5
    assert sum(loss is not None for loss in history["validation_loss"].to_pylist()) == 10
    model = load_model(artifact.file("model/config.json").parent)
    assert model.num_parameters == counts["num_parameters"]
    settings = json.loads(artifact.file("training.json").read_text())["settings"]
    assert settings["matrix_learning_rate"] > 0
    assert artifact.file("plots/learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert not (folder / "checkpoints" / "gpt" / artifact.ref.version).exists()


def test_a_recurrent_network_goes_the_same_way(
    chain: tuple[ArtifactStore, Artifact, Artifact, Artifact], tmp_path: Path
) -> None:
    train = {**TRAIN, "compile": "auto"}  # which compiles no recurrent network
    config = RecurrentConfig(
        family="gru", dataset="tokens", depth=1, width=32, context_tokens=32, dropout=0.1, train=train
    )
    artifact = build(tmp_path, chain, run_trainer=run_subprocess, config=config)
    losses = pq.read_table(artifact.file("history.parquet"))["train_loss"].to_pylist()
    assert losses[0] > 5.5
    assert artifact.manifest.counts["final_validation_loss"] < losses[0] - 1.0
    model = load_model(artifact.file("model/config.json").parent)
    assert (model.family, model.num_parameters) == ("gru", artifact.manifest.counts["num_parameters"])


def test_no_place_and_no_time_is_in_what_is_hashed(trained: tuple[Path, Artifact]) -> None:
    folder, artifact = trained
    for entry in artifact.manifest.files:
        if not entry.volatile:
            assert str(folder).encode() not in artifact.file(entry.path).read_bytes(), entry.path


def test_the_spool_tells_the_run_from_start_to_finish(trained: tuple[Path, Artifact]) -> None:
    folder, artifact = trained
    spool = folder / "spool" / "gpt" / artifact.ref.version / "events.jsonl"
    events = [json.loads(line) for line in spool.read_text().splitlines()]
    assert all(line.startswith('{"kind": ') for line in spool.read_text().splitlines())
    assert (events[0]["kind"], events[0]["experiment"], events[0]["tags"]) == ("start", "e", {"a": "b"})
    assert (events[-1]["kind"], events[-1]["status"]) == ("finish", "FINISHED")
    steps = [event["step"] for event in events if event["kind"] == "metrics"]
    assert steps == sorted({*range(4, 41, 4), *range(10, 41, 10)})  # each validation, and every tenth
    last = [event["metrics"] for event in events if event["kind"] == "metrics"][-1]
    assert last["validation/loss"] == artifact.manifest.counts["final_validation_loss"]
    assert {
        "train/loss",
        "train/gradient_norm",
        "train/learning_rate",
        "train/tokens",
        "train/tokens_per_second",
    } <= set(last)


def test_a_run_that_fails_half_way_goes_on_and_ends_with_the_same_content(
    chain: tuple[ArtifactStore, Artifact, Artifact, Artifact], trained: tuple[Path, Artifact], tmp_path: Path
) -> None:
    def dies(spec_path: Path) -> None:
        """Trains 17 of the 40 steps, as a process would that is told to stop there."""
        from pipeline.training.spec import TrainingSpec
        from pipeline.training.stopping import StopRequest
        from pipeline.training.trainer import Trainer

        class Stop(StopRequest):
            @property
            def reason(self) -> str | None:
                return "was told" if trainer._step == 17 else None

        trainer = Trainer(TrainingSpec.read(spec_path), Stop())
        trainer._started -= 1_000  # as if it had taken that long
        trainer.run()

    with pytest.raises(TrainingInterrupted, match="stopped at step 17 of 40"):
        build(tmp_path, chain, run_trainer=dies)
    assert not ArtifactStore(tmp_path).versions("trained_model", "gpt")
    again = build(tmp_path, chain, run_trainer=run_subprocess)
    assert again.ref.content_hash == trained[1].ref.content_hash
    timings = pq.read_table(again.file("timings.parquet")).to_pylist()
    assert [row["step"] for row in timings] == list(range(1, 41))
    assert timings[16]["seconds"] < 1_000 < timings[17]["seconds"]
    assert 1_000 < again.manifest.seconds < 1_300
    assert trained[1].manifest.seconds < 300


def test_a_checkpoint_of_other_shards_is_refused(
    chain: tuple[ArtifactStore, Artifact, Artifact, Artifact], tmp_path: Path
) -> None:
    def forges(spec_path: Path) -> None:
        run_subprocess(spec_path)
        manifest = next(spec_path.parent.glob("step-*/manifest.json"))
        record = json.loads(manifest.read_text())
        record["identity"]["tokenizer_hash"] = "0" * 64
        manifest.write_text(json.dumps(record))
        for other in spec_path.parent.glob("step-*"):
            if other != manifest.parent:
                other.rename(other.with_name("elsewhere"))
        run_subprocess(spec_path)

    with pytest.raises(TrainingError, match="was saved with another tokenizer_hash"):
        build(tmp_path, chain, run_trainer=forges)
