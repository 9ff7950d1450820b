"""One registry version for each trained model: weights, program, signature, lineage and metrics.

In: a trained model, its evaluation, the corpus and shards it came from. Out: an MLflow LoggedModel in the training's own
run, and a version of the registered model that is found again by its tags, so that registering twice changes nothing.
The model is logged from code with safetensors beside it; loading it never unpickles anything.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipeline.artifacts import Artifact, ArtifactRef
from pipeline.corpus.layout import train_files
from pipeline.evaluation.metrics.table import METRICS
from pipeline.files import fingerprint
from pipeline.registry.code_bundle import write_code_bundle
from pipeline.registry.connection import find_or_create_experiment, version_numbers
from pipeline.registry.rivals import (
    CONTENT_TAG,
    MODEL_FOLDER,
    TRAINING_DOCUMENTS,
    VERSION_TAG,
    WEIGHTS,
    WEIGHTS_TAG,
    read_before,
    write_training_documents,
)
from pipeline.registry.tracking import MODEL_TAG, TRAINING_TAG, dataset_input, find_run
from pipeline.shards.reader import PAIR_INDEX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow import MlflowClient

REQUIREMENTS = ("numpy", "pandas", "pyarrow", "safetensors", "sentencepiece", "torch")
EVALUATION_TAG = "textmill.evaluation"
STARTED_TAG = "textmill.started_from"
EXAMPLE_PARAMETERS = {"max_new_tokens": 4, "num_beams": 1}
"""Of the input example, which MLflow runs once to see that the model serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Where a model stands in MLflow."""

    version: str
    """The registry's number."""
    model_id: str
    run_id: str
    experiment_id: str


def register(
    client: MlflowClient,
    uri: str,
    *,
    name: str,
    model: Artifact,
    evaluation: Artifact,
    corpus: Artifact,
    shards: Artifact,
    lineage_tags: Mapping[str, str],
) -> Registration:
    """The version of this trained model, made if it is not there, with today's evaluation attached."""
    run = _find_or_create_run(client, uri, name, model, lineage_tags)
    run_id, experiment_id = run.info.run_id, run.info.experiment_id
    tags = lineage(model, evaluation, corpus, shards) | dict(lineage_tags)
    found = _find_version(client, name, model.ref)
    if found is None:
        model_id = _log_model(client, name, run, model, corpus, shards, tags)
        version = _create_version(client, name, model, evaluation, model_id, run_id, tags)
    else:
        model_id = found.source.removeprefix("models:/")
        version = str(found.version)
        client.set_model_version_tag(name, version, EVALUATION_TAG, tags[EVALUATION_TAG])
        client.update_model_version(name, version, _description(model, evaluation))
    _attach_evaluation(client, run_id, model_id, model, evaluation, corpus)
    return Registration(version=version, model_id=model_id, run_id=run_id, experiment_id=experiment_id)


def lineage(model: Artifact, evaluation: Artifact, corpus: Artifact, shards: Artifact) -> dict[str, str]:
    """What a version was made from, as tags."""
    refs = {"corpus": corpus.ref, "token_shards": shards.ref, "tokenizer": model.manifest.inputs["tokenizer"]}
    weights = next(entry for entry in model.manifest.files if entry.path == f"model/{WEIGHTS}")
    return {
        VERSION_TAG: model.ref.version,
        CONTENT_TAG: model.ref.content_hash,
        WEIGHTS_TAG: weights.sha256,
        TRAINING_TAG: model.ref.version,
        EVALUATION_TAG: _described(evaluation.ref),
        "textmill.git_revision": model.manifest.git_revision or "none",
        STARTED_TAG: str(model.manifest.counts.get("started_from", "random weights")),
        **{f"textmill.{role}": _described(ref) for role, ref in refs.items()},
    }


def is_attached(client: MlflowClient, name: str, version: str, *, model: ArtifactRef, evaluation: ArtifactRef) -> bool:
    """Whether a version of the registry is this model, with this evaluation the last one attached."""
    if version not in version_numbers(client, name):
        return False
    tags = client.get_model_version(name, version).tags
    return tags.get(CONTENT_TAG) == model.content_hash and tags.get(EVALUATION_TAG) == _described(evaluation)


def _described(ref: ArtifactRef) -> str:
    return f"{ref.name}@{ref.version} content {ref.content_hash}"


def _find_version(client: MlflowClient, name: str, ref: ArtifactRef) -> Any | None:
    found = client.search_model_versions(f"name='{name}' and tags.`{VERSION_TAG}`='{ref.version}'")
    same = [version for version in found if version.tags.get(CONTENT_TAG) == ref.content_hash]
    return min(same, key=lambda version: int(version.version), default=None)


def _find_or_create_run(
    client: MlflowClient, uri: str, name: str, model: Artifact, lineage_tags: Mapping[str, str]
) -> Any:
    """The training's run; where its spool never arrived here, one with what the model's manifest says."""
    run = find_run(client, name, model.ref.version)
    if run is None:
        experiment = find_or_create_experiment(client, uri, lineage_tags.get("textmill.project", name))
        run = client.create_run(
            experiment,
            start_time=int((model.manifest.created_at - model.manifest.seconds) * 1000),
            tags={MODEL_TAG: name, TRAINING_TAG: model.ref.version},
            run_name=f"{name} {model.ref.version}",
        )
        client.set_terminated(run.info.run_id, "FINISHED", end_time=int(model.manifest.created_at * 1000))
    return run


def _log_model(
    client: MlflowClient,
    name: str,
    run: Any,
    model: Artifact,
    corpus: Artifact,
    shards: Artifact,
    tags: dict[str, str],
) -> str:
    """Uploads weights, program and code; returns the LoggedModel's id."""
    import mlflow
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import infer_signature

    from pipeline.evaluation.pair_model import load_writer

    step = int(model.manifest.counts["steps"])
    example = pd.DataFrame({"prompt": ["It is"]})
    run_id, params = run.info.run_id, run.data.params
    logged = client.create_logged_model(
        run.info.experiment_id, name=name, source_run_id=run_id, tags=tags, params=params, model_type="language-model"
    )
    with tempfile.TemporaryDirectory(prefix="textmill-") as temporary, _same_import_paths():
        training_documents = Path(temporary) / TRAINING_DOCUMENTS
        write_training_documents(training_documents, train_files(corpus), before=read_before(model))
        code = write_code_bundle(Path(temporary))
        pairs = next(iter(shards.files(PAIR_INDEX)), None)
        weights = model.file(f"model/{WEIGHTS}").parent
        defaults = dict(load_writer(weights, pairs).defaults)
        mlflow.pyfunc.log_model(
            name=name,
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={
                MODEL_FOLDER: str(weights),
                "training_documents": str(training_documents),
                **({"pairs": str(pairs)} if pairs is not None else {}),
            },
            code_paths=[str(code)],
            signature=infer_signature(example, ["a continuation"], params=defaults),
            input_example=(example, {**defaults, **EXAMPLE_PARAMETERS}),
            pip_requirements=[f"{package}=={installed_version(package).split('+')[0]}" for package in REQUIREMENTS],
            step=step,
            model_id=logged.model_id,
        )
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=step)])
    return str(logged.model_id)


@contextmanager
def _same_import_paths() -> Iterator[None]:
    """Takes back what trying out a model with code adds to this process's import paths."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before


def _create_version(
    client: MlflowClient,
    name: str,
    model: Artifact,
    evaluation: Artifact,
    model_id: str,
    run_id: str,
    tags: dict[str, str],
) -> str:
    """A new version, or the one another process made meanwhile."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    created = client.create_model_version(
        name,
        source=f"models:/{model_id}",
        run_id=run_id,
        model_id=model_id,
        tags=tags,
        description=_description(model, evaluation),
    )
    first = _find_version(client, name, model.ref)
    if first is not None and first.version != created.version:
        client.delete_model_version(name, created.version)
        return str(first.version)
    return str(created.version)


def _description(model: Artifact, evaluation: Artifact) -> str:
    """Size and figures; of a model of pairs also what its task is measured by."""
    figures = evaluation.manifest.counts
    metrics = json.loads(evaluation.file("metrics.json").read_text(encoding="utf-8"))
    metric = metrics.get("task", {}).get("metric")
    task = f"{METRICS[metric].label} {figures[metric]:.2f}, " if metric in METRICS else ""
    return (
        f"{model.manifest.counts['num_parameters']:,} parameters, {task}{figures['bits_per_byte']:.4f} bits per byte on "
        f"{figures['num_documents']:,} held-out documents (unigram baseline {figures['unigram_bits_per_byte']:.4f}). "
        "The report is the run's artifact evaluation/report.html."
    )


def _attach_evaluation(
    client: MlflowClient, run_id: str, model_id: str, model: Artifact, evaluation: Artifact, corpus: Artifact
) -> None:
    """Metrics with the test set's digest on run and model, and the report as the run's artifacts; again is the same."""
    from mlflow.entities import Metric

    test = f"{corpus.ref.name} test"
    digest = fingerprint([corpus.ref.content_hash, evaluation.manifest.counts["num_documents"]])
    context = {"source": f"{corpus.ref.stage}/{corpus.ref.name}/{corpus.ref.version}", "context": "evaluation"}
    client.log_inputs(run_id, [dataset_input(name=test, digest=digest, **context)])
    now = int(time.time() * 1000)  # of several evaluations that were attached the last one counts, whichever is older
    sources = json.loads(evaluation.file("metrics.json").read_text(encoding="utf-8"))["sources"]
    by_source = {f"bits_per_byte/{source}": figures["bits_per_byte"] for source, figures in sources.items()}
    metrics = [
        Metric(
            key,
            float(value),
            now,
            int(model.manifest.counts["steps"]),
            model_id=model_id,
            dataset_name=test,
            dataset_digest=digest,
            run_id=run_id,
        )
        for key, value in sorted({**evaluation.manifest.counts, **by_source}.items())
        if isinstance(value, int | float)
    ]
    client.log_batch(run_id, metrics=metrics)
    for path in ("report.html", "metrics.json", "samples.json"):
        client.log_artifact(run_id, str(evaluation.file(path)), "evaluation")
    for table in evaluation.files("*.parquet"):
        client.log_artifact(run_id, str(table), "evaluation")
    for plot in evaluation.files("plots/*.png"):
        client.log_artifact(run_id, str(plot), "evaluation/plots")
