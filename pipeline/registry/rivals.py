"""Models taken back out of the registry: who they are, what they were trained on, and how they score on new text.

In: a registered model's version. Out: its identity, and its bits on documents that it was not trained on, with its own
tokenizer. Its weights are compared with the sha256 written down when they were registered.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import Artifact
from pipeline.errors import RegistryError
from pipeline.files import sha256_file, write_parquet
from pipeline.registry.aliases import ALIAS, holder
from pipeline.shards.reader import PAIR_INDEX
from pipeline.training.launch import SEEN_DOCUMENTS

if TYPE_CHECKING:
    from mlflow import MlflowClient

VERSION_TAG, CONTENT_TAG, WEIGHTS_TAG = "textmill.version", "textmill.content_hash", "textmill.weights_sha256"
TRAINING_DOCUMENTS = "training_documents.parquet"
MODEL_FOLDER, WEIGHTS = "model", "model.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """One version of a registered model."""

    name: str
    version: str
    """The registry's number."""
    training_version: str
    """The trained_model artifact it was made from."""
    content_hash: str
    run_id: str | None
    tags: dict[str, str]

    def __str__(self) -> str:
        return f"{self.name}@{self.training_version}"


def find_champion(client: MlflowClient, name: str) -> Registered | None:
    """The version that holds the champion alias, or None."""
    version = holder(client, name)
    return None if version is None else read_version(client, name, version)


def read_version(client: MlflowClient, name: str, version: str) -> Registered:
    """What the registry knows of a version."""
    found = client.get_model_version(name, version)
    return Registered(
        name=name,
        version=str(found.version),
        training_version=found.tags.get(VERSION_TAG, f"registry version {version}"),
        content_hash=found.tags.get(CONTENT_TAG, ""),
        run_id=found.run_id or None,
        tags=dict(found.tags),
    )


@contextmanager
def downloaded(model: Registered, uri: str, path: str = "") -> Iterator[Path]:
    """A copy of the model's artifacts (or of one path among them) for as long as the context lasts.

    Raises:
        RegistryError: the registry has no such files, or the weights are not those that were registered.
    """
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    source = f"models:/{model.name}/{model.version}" + (f"/{path}" if path else "")
    with tempfile.TemporaryDirectory(prefix="textmill-") as folder:
        try:
            found = Path(
                mlflow.artifacts.download_artifacts(
                    artifact_uri=source, dst_path=folder, tracking_uri=uri, registry_uri=uri
                )
            )
        except (OSError, MlflowException) as error:
            raise RegistryError(
                f"{model.name}: the files of version {model.version} cannot be fetched ({str(error).splitlines()[0]}). "
                f"Restore them, or give the alias to another version with `textmill promote {model.name} VERSION`."
            ) from error
        if not path:
            _check_files(model, found)
        yield found


def model_folder(downloads: Path) -> Path:
    """Where a registered model keeps its weights and tokenizer."""
    return downloads / "artifacts" / MODEL_FOLDER


def pairs_file(downloads: Path) -> Path | None:
    """What a registered model's data says of pairs; None for a model of texts."""
    file = downloads / "artifacts" / PAIR_INDEX
    return file if file.is_file() else None


def score_rival(
    model: Registered, uri: str, *, text_hashes: list[str], texts: list[str], targets: list[str] | None = None
) -> Any:
    """(mask, bits): which of the documents the model was not trained on, and its bits for those; of pairs for the targets.

    Raises:
        RegistryError: pairs, and a model that was not trained on any.
    """
    from pipeline.evaluation.build import best_device
    from pipeline.evaluation.pair_model import PairModel
    from pipeline.evaluation.scoring import score_documents
    from pipeline.models.loading import load_model
    from pipeline.tokenizer.model import Tokenizer

    with downloaded(model, uri) as folder:
        held_out = ~np.isin(hashes(text_hashes), read_hashes(folder / "artifacts" / TRAINING_DOCUMENTS))
        chosen = [text for text, keep in zip(texts, held_out, strict=True) if keep]
        if targets is not None:
            pairs = pairs_file(folder)
            if pairs is None:
                raise RegistryError(
                    f"{model.name} was not trained on pairs, so it cannot be asked for targets. Compare models of one task."
                )
            wanted = [target for target, keep in zip(targets, held_out, strict=True) if keep]
            asked = PairModel.load(model_folder(folder), pairs, device=best_device())
            return held_out, asked.score(chosen, wanted).bits
        tokenizer = Tokenizer.load(model_folder(folder) / "tokenizer.model")
        language_model = load_model(model_folder(folder), device=best_device())
        return held_out, score_documents(language_model, tokenizer, chosen).bits


def hashes(text_hashes: list[str]) -> np.ndarray[Any, Any]:
    """uint64: the first 8 bytes of each hash; two different texts share them with a chance of 5e-20."""
    return np.array([int(text_hash[:16], 16) for text_hash in text_hashes], dtype=np.uint64)


def write_training_documents(path: Path, train: Sequence[Path], *, before: np.ndarray[Any, Any]) -> None:
    """Writes the sorted hashes of the training split's texts, and of those read `before` it: 8 bytes a document."""
    text_hashes = pq.read_table(train, columns=["text_hash"], partitioning=None)["text_hash"].to_pylist()
    write_parquet(path, pa.table({"text_hash": np.union1d(hashes(text_hashes), before)}))


def read_before(model: Artifact) -> np.ndarray[Any, Any]:
    """Hashes of the documents that a trained model's starting point had read; none where it began afresh."""
    if not model.files(SEEN_DOCUMENTS):
        return np.empty(0, dtype=np.uint64)
    return read_hashes(model.file(SEEN_DOCUMENTS))


def read_hashes(path: Path) -> np.ndarray[Any, Any]:
    """The inverse of `write_training_documents`."""
    found: np.ndarray[Any, Any] = pq.read_table(path)["text_hash"].to_numpy()
    return found


def _check_files(model: Registered, downloads: Path) -> None:
    weights = model_folder(downloads) / WEIGHTS
    expected = model.tags.get(WEIGHTS_TAG)
    remedy = "Give"
    if expected is None:
        problem = f"version {model.version} was not registered by textmill, so it cannot be used here"
    elif not weights.is_file() or not (downloads / "artifacts" / TRAINING_DOCUMENTS).is_file():
        problem = f"files of version {model.version} are gone from where MLflow kept them"
        remedy = "Restore them, or give"
    elif sha256_file(weights) != expected:
        problem = f"the weights of version {model.version} are not those that were registered"
    else:
        return
    raise RegistryError(
        f"{model.name}: {problem}. {remedy} the alias {ALIAS} to another version with `textmill promote {model.name} VERSION`."
    )
