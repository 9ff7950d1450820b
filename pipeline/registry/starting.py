"""Registered models as starting points: which version a reference means, at once, and its files when training begins.

What a reference means is asked whenever the plan is made. A database file answers that in SQL, without MLflow, whose import
takes longer than the rest of `textmill check`; a server is asked through MLflow's client, which knows its ways to sign in.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifacts import Artifact
from pipeline.config.starting import Reference, StartSettings
from pipeline.corpus.layout import train_files
from pipeline.errors import RegistryError
from pipeline.files import write_json
from pipeline.registry.aliases import ALIAS
from pipeline.registry.connection import connection, database_file, displayed, read_only, version_numbers
from pipeline.registry.rivals import (
    CONTENT_TAG,
    TRAINING_DOCUMENTS,
    WEIGHTS,
    downloaded,
    find_champion,
    model_folder,
    read_before,
    read_version,
    write_training_documents,
)
from pipeline.training.starting import StartingPoint, open_starting_point

RECORD = "start.json"
_BY_ALIAS = "select version from registered_model_aliases where name = ? and alias = ?"
_CONTENT = "select value from model_version_tags where name = ? and version = ? and key = ?"
_KNOWN = "select version from model_versions where name = ? and current_stage != 'Deleted_Internal' order by version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """The version a reference means today."""

    name: str
    version: str
    content_hash: str

    def __str__(self) -> str:
        return f"version {self.version} of {self.name} in the registry"


def find_start(
    config: StartSettings,
    *,
    name: str,
    uri: str,
    literals: Mapping[str, Any],
    inputs: Mapping[str, Artifact],
    project_folder: Path,
    folder: Path,
) -> StartingPoint | None:
    """What a model begins with, None for random weights: its champion if it is to go on from that, else what `init_from` names.

    `literals` and `inputs` are the plan's, roles `start` and `start_corpus`; `folder` keeps what has to be fetched.

    Raises:
        RegistryError: the registry cannot be reached, lacks what is named, or has another version than was planned.
        InputError: a folder holds no weights that can be begun with.
    """
    if config.start == "champion" and (champion := champion_start(uri, name, folder)) is not None:
        return champion
    if config.start_model is not None:
        return model_start(inputs["start"], inputs["start_corpus"], folder)
    planned = literals.get("init_from", {}).get("content_hash", "")
    if (reference := config.registry_reference) is not None:
        resolved = resolve_start(uri, reference)
        if resolved.content_hash != planned:
            raise RegistryError(f"models:/{reference} moved to {resolved} while the run was planned. Run again.")
        return fetch_start(uri, resolved, folder)
    if config.start_folder is not None:
        path = project_folder / config.start_folder
        return open_starting_point(path, origin=f"the folder {path.name}", content_hash=planned)
    return None


def resolve_start(uri: str, reference: Reference) -> Resolved:
    """The version that a reference means now.

    Raises:
        RegistryError: there is none, it was not registered by textmill, or the server cannot be reached.
    """
    database = database_file(uri)
    version, content_hash = _ask_file(database, reference) if database is not None else _ask_client(uri, reference)
    if not content_hash:
        raise RegistryError(
            f"init_from names models:/{reference}, which was not registered by textmill. Name another version, or save it as a "
            "folder and name that."
        )
    return Resolved(name=reference.name, version=version, content_hash=content_hash)


def _ask_file(database: Path, reference: Reference) -> tuple[str, str | None]:
    if not database.is_file():
        raise _missing(reference, [])
    try:
        with read_only(database) as connected:
            known = [str(row[0]) for row in connected.execute(_KNOWN, (reference.name,))]
            version = reference.version
            if version is None:
                row = connected.execute(_BY_ALIAS, (reference.name, reference.alias)).fetchone()
                version = None if row is None else str(row[0])
            if version is None or version not in known:
                raise _missing(reference, known)
            row = connected.execute(_CONTENT, (reference.name, version, CONTENT_TAG)).fetchone()
            return version, None if row is None else str(row[0])
    except sqlite3.Error as error:
        raise RegistryError(f"init_from: {database} cannot be asked for models:/{reference} ({error}).") from error


def _ask_client(uri: str, reference: Reference) -> tuple[str, str | None]:
    with connection(uri, doing=f"init_from models:/{reference}") as client:
        known = version_numbers(client, reference.name)
        version = reference.version
        if version is None and known:
            aliases = client.get_registered_model(reference.name).aliases
            version = str(aliases[reference.alias]) if reference.alias in aliases else None
        if version is None or version not in known:
            raise _missing(reference, known)
        return version, client.get_model_version(reference.name, version).tags.get(CONTENT_TAG)


def _missing(reference: Reference, known: list[str]) -> RegistryError:
    if not known:
        return RegistryError(
            f"init_from names models:/{reference}, and {reference.name} is not in the registry. Train it first, or name another; "
            "`textmill models` lists what is there."
        )
    return RegistryError(
        f"init_from names models:/{reference}, which {reference.name} does not have; it has the versions {', '.join(known)}. "
        "Name one of them."
    )


def fetch_start(uri: str, resolved: Resolved, folder: Path) -> StartingPoint:
    """The version's weights and tokenizer as a starting point, kept in `folder` for as long as it is there.

    Raises:
        RegistryError: the files cannot be fetched, or are not those that were registered.
    """
    with connection(uri, doing=f"fetching {resolved}") as client:
        registered = read_version(client, resolved.name, resolved.version)
        if registered.content_hash != resolved.content_hash:
            raise RegistryError(f"{resolved} is no longer what it was when the run was planned. Run again.")
        with downloaded(registered, uri) as downloads:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(model_folder(downloads), folder / "model")
            shutil.copyfile(downloads / "artifacts" / TRAINING_DOCUMENTS, folder / TRAINING_DOCUMENTS)
    write_json(folder / RECORD, {"origin": str(resolved), "content_hash": resolved.content_hash})
    return _kept(folder)


def model_start(model: Artifact, corpus: Artifact, folder: Path) -> StartingPoint:
    """Another trained model of the file; the documents it has read, all the way back, are written into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    documents = folder / TRAINING_DOCUMENTS
    write_training_documents(documents, train_files(corpus), before=read_before(model))
    return open_starting_point(
        model.file(f"model/{WEIGHTS}").parent,
        origin=f"{model.ref}",
        content_hash=model.ref.content_hash,
        training_documents=documents,
    )


def champion_start(uri: str, name: str, folder: Path) -> StartingPoint | None:
    """The champion as a starting point, or None where nobody is champion yet.

    A run that is taken up again goes on from the champion it began with, though another may hold the alias by now.

    Raises:
        RegistryError: the registry cannot be reached, or its files are not those that were registered.
    """
    if (folder / RECORD).is_file():
        return _kept(folder)
    with connection(uri, doing=f"looking for the champion of {name}, which {name} starts from") as client:
        champion = find_champion(client, name)
    if champion is None:
        return None
    if not champion.content_hash:
        raise RegistryError(
            f"{name}: the {ALIAS}, version {champion.version} at {displayed(uri)}, was not registered by textmill, so training "
            "cannot go on from it. Set start: fresh, or give the alias to another version."
        )
    resolved = Resolved(name=name, version=champion.version, content_hash=champion.content_hash)
    return fetch_start(uri, resolved, folder)


def _kept(folder: Path) -> StartingPoint:
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return open_starting_point(
        folder / "model",
        origin=record["origin"],
        content_hash=record["content_hash"],
        training_documents=folder / TRAINING_DOCUMENTS,
    )
