"""What the registry knows, as rows: every version with its metrics and lineage, and two of them side by side.

In: a tracking address. Out: leaderboard rows, comparisons. Reads the registry alone, so it works from any machine.
MLflow's version search leaves `aliases` empty and cannot filter by it (mlflow/mlflow#16734), so aliases are read from the
registered model.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import RegistryError
from pipeline.evaluation.metrics.scored import groups_of
from pipeline.registry.aliases import ALIAS, Move, existing_versions, history
from pipeline.registry.connection import connection
from pipeline.registry.gate import Comparison, compare_bits
from pipeline.registry.rivals import (
    CONTENT_TAG,
    TRAINING_DOCUMENTS,
    VERSION_TAG,
    Registered,
    downloaded,
    hashes,
    read_hashes,
    read_version,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

COMPARE_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One version of a registered model."""

    name: str
    version: str
    aliases: tuple[str, ...]
    training_version: str | None
    created_at: float
    """Unix seconds."""
    run_id: str | None
    metrics: dict[str, float]
    """Of the model's last evaluation: `bits_per_byte` and its kin."""
    lineage: dict[str, str]
    """Tags: corpus, tokenizer, token_shards, evaluation, git_revision, dagster_run_id, validation_status."""


def leaderboard(uri: str, names: Sequence[str] | None = None) -> list[ModelRow]:
    """Every version of the named models (None: of all), best bits per byte first; versions without one come last.

    Raises:
        RegistryError: no such model, or the server cannot be reached.
    """
    rows: list[ModelRow] = []
    with connection(uri, doing="the leaderboard") as client:
        registered = _all_pages(client.search_registered_models)
        missing = sorted(set(names or ()) - {model.name for model in registered})
        if missing:
            raise RegistryError(f"{missing[0]} is not in the registry; `textmill models` lists what is.")
        for model in registered:
            if names is not None and model.name not in names:
                continue
            aliases: dict[str, list[str]] = {}
            for alias, version in model.aliases.items():
                aliases.setdefault(str(version), []).append(alias)
            versions = _all_pages(client.search_model_versions, filter_string=f"name='{model.name}'")
            rows += [
                _row(client, version, tuple(sorted(aliases.get(str(version.version), ())))) for version in versions
            ]
    return sorted(rows, key=lambda row: (row.metrics.get("bits_per_byte", float("inf")), row.name, int(row.version)))


def alias_history(uri: str, name: str) -> list[Move]:
    """Every move of the champion alias, oldest first: who held it, who got it, why and when.

    Raises:
        RegistryError: no such model, or the server cannot be reached.
    """
    with connection(uri, doing=f"the history of {name}") as client:
        return history(client, name)


def compare(uri: str, first: str, second: str) -> Comparison:
    """Two versions on the test documents that were scored for both and that neither was trained on.

    Each is `NAME` (its champion, or else its newest version), `NAME@ALIAS` or `NAME/VERSION`. The first is the
    challenger of the result: a positive difference says that it needs fewer bits.

    Raises:
        RegistryError: no such version, no document in common, or the server cannot be reached.
    """
    with connection(uri, doing=f"comparing {first} with {second}") as client:
        models = [resolve(client, reference) for reference in (first, second)]
        tables = [_read_scores(client, model) for model in models]
        trained = np.concatenate([read_training_documents(model, uri) for model in models])
    left, right = ({row["text_hash"]: row for row in table.to_pylist()} for table in tables)
    common = sorted(set(left) & set(right))
    held_out = [text_hash for text_hash, seen in zip(common, np.isin(hashes(common), trained), strict=True) if not seen]
    if not held_out:
        raise RegistryError(
            f"{first} and {second} have no test document in common that neither was trained on, so they cannot be "
            "compared; evaluate them on one corpus."
        )
    return compare_bits(
        rival=second,
        ids=held_out,
        challenger_bits=np.array([left[text_hash]["bits"] for text_hash in held_out]),
        rival_bits=np.array([right[text_hash]["bits"] for text_hash in held_out]),
        num_bytes=np.array([left[text_hash]["num_bytes"] for text_hash in held_out]),
        num_resamples=COMPARE_RESAMPLES,
        min_documents=1,
        digests=(models[0].content_hash, models[1].content_hash),
        groups=groups_of([left[text_hash].get("group_id") for text_hash in held_out]),  # evaluations of old have none
    )


def resolve(client: MlflowClient, reference: str) -> Registered:
    """The version that `NAME`, `NAME@ALIAS` or `NAME/VERSION` means.

    Raises:
        RegistryError: there is none, or it is none of the three.
    """
    from mlflow.exceptions import MlflowException

    name, slash, version = reference.partition("/")
    name, at, alias = name.partition("@")
    if not name or bool(slash) != bool(version) or bool(at) != bool(alias) or (slash and at):
        raise RegistryError(f"{reference!r} names no version of a model. Write MODEL, MODEL@ALIAS or MODEL/VERSION.")
    versions = existing_versions(client, name)
    if version:
        if version not in versions:
            raise RegistryError(f"{reference}: {name} has no version {version}; it has {', '.join(versions)}.")
        return read_version(client, name, version)
    try:
        version = str(client.get_model_version_by_alias(name, alias or ALIAS).version)
    except MlflowException as error:
        if alias:
            raise RegistryError(f"{reference}: no version of {name} has the alias {alias}.") from error
        version = versions[-1]
    return read_version(client, name, version)


def _row(client: MlflowClient, version: Any, aliases: tuple[str, ...]) -> ModelRow:
    from mlflow.exceptions import MlflowException

    metrics: dict[str, float] = {}
    model_id = (version.source or "").removeprefix("models:/")  # model_id itself comes back empty
    try:
        for metric in sorted(client.get_logged_model(model_id).metrics or (), key=lambda metric: metric.timestamp):
            metrics[metric.key] = metric.value
    except MlflowException:
        pass  # registered by hand from something else: a row without figures
    lineage = {
        key.removeprefix("textmill."): value
        for key, value in version.tags.items()
        if key not in (VERSION_TAG, CONTENT_TAG) and not key.startswith("textmill.decision.")
    }
    return ModelRow(
        name=version.name,
        version=str(version.version),
        aliases=aliases,
        training_version=version.tags.get(VERSION_TAG),
        created_at=version.creation_timestamp / 1000,
        run_id=version.run_id or None,
        metrics=metrics,
        lineage=lineage,
    )


def _read_scores(client: MlflowClient, model: Registered) -> pa.Table:
    if model.run_id is None:
        raise RegistryError(f"{model.name}: version {model.version} has no run, so no evaluation to compare by.")
    with tempfile.TemporaryDirectory(prefix="textmill-") as folder:
        return pq.read_table(Path(client.download_artifacts(model.run_id, "evaluation/documents.parquet", folder)))


def read_training_documents(model: Registered, uri: str) -> np.ndarray[Any, Any]:
    """Hashes of what a version was trained on, sorted."""
    with downloaded(model, uri, f"artifacts/{TRAINING_DOCUMENTS}") as file:
        return read_hashes(file)


def _all_pages(search: Any, **words: Any) -> list[Any]:
    found: list[Any] = []
    token = None
    while True:
        page = search(page_token=token, **words)
        found += page
        token = page.token
        if not token:
            return found
