"""Where the tracking server is, whether it answers, and a client that fails within seconds and in one sentence.

In: the storage folder, `MLFLOW_TRACKING_URI`. Out: an address, a verdict, a client.
The default is a SQLite database under the storage folder; its tables are made and upgraded once, under a file lock,
because processes that create them together crash (mlflow/mlflow#4123). It names its files by absolute addresses, so those
are rewritten where the folder was moved or copied. A server is asked whether it answers before
MLflow's client is let near it: that one retries for four minutes when nobody listens.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import re
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import RegistryError
from pipeline.files import make_folder, storage_errors, write_json

if TYPE_CHECKING:
    from mlflow import MlflowClient

ARTIFACTS = "artifacts"
OWN_DATABASE = Path("mlflow") / "mlflow.db"
_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)
"""Tables and columns of MLflow's database that hold addresses of files."""
PROBE_SECONDS = 3.0

_CREDENTIALS = re.compile("(?<=://)[^/].*@")
"""User and password, up to the last @: a password that should have been percent-encoded is not shown in parts."""

_BOUNDS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def tracking_uri(storage: Path) -> str:
    """`MLFLOW_TRACKING_URI` where it is set, the database under the storage folder otherwise."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{storage.resolve() / OWN_DATABASE}"


def named_server() -> str | None:
    """The server that `MLFLOW_TRACKING_URI` names, without user and password; None for the project's own database."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    return displayed(uri) if uri else None


def displayed(uri: str) -> str:
    """The address without user and password, for messages and records."""
    return _CREDENTIALS.sub("", uri, count=1)


def database_file(uri: str) -> Path | None:
    """The file of a SQLite address; None for a server."""
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def artifact_location(uri: str, experiment: str) -> str | None:
    """Where a new experiment keeps its files: beside the database; a server decides for itself (None)."""
    database = database_file(uri)
    return None if database is None else (database.parent / ARTIFACTS / experiment).as_uri()


def why_unreachable(uri: str) -> str | None:
    """One clause of reason where nobody answers at the address within seconds, else None.

    Any answer in HTTP counts, also a refusal: who may do what is settled by the request itself, so this one goes without user
    and password, which urllib does not take from an address.
    """
    if not uri.startswith(("http://", "https://")):
        return None
    try:
        request = urllib.request.Request(displayed(uri).rstrip("/") + "/health")  # noqa: S310 - the scheme is checked above
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS):  # noqa: S310
            return None
    except urllib.error.HTTPError as error:
        return f"it answers with HTTP {error.code}" if error.code >= 500 else None
    except (OSError, ValueError) as error:
        cause = getattr(error, "reason", error)  # a URLError holds what happened
        return str(getattr(cause, "strerror", None) or cause).lower()
    except http.client.InvalidURL as error:
        return str(error)
    except http.client.HTTPException:
        return "what answers there does not speak HTTP"


def prepare(uri: str) -> None:
    """Makes and upgrades the tables of a SQLite database, once for each version of MLflow and each place that the database is
    found in; leaves servers alone.

    Raises:
        StorageError: the storage folder is full, read-only or forbidden.
    """
    set_bounds()
    database = database_file(uri)
    if database is None:
        return
    from mlflow.version import VERSION

    marker = database.with_name("schema.json")
    done = {"mlflow": VERSION, "artifacts": (database.parent / ARTIFACTS).as_uri()}
    if _done(database, marker) == done:
        return
    with file_lock(database.with_name("upgrade.lock")):
        before = _done(database, marker)
        if before == done:
            return
        if before.get("mlflow") != VERSION:
            import mlflow.db

            upgrade = mlflow.db.upgrade.callback  # what `mlflow db upgrade` runs
            assert upgrade is not None
            upgrade(uri)
        if database.parts[-2:] == OWN_DATABASE.parts:
            _readdress(database, done["artifacts"] + "/")
        write_json(marker, done)


def _done(database: Path, marker: Path) -> dict[str, str]:
    """What was done to the database before; nothing where it is new."""
    try:
        known: dict[str, str] = json.loads(marker.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return known if database.is_file() and database.stat().st_size > 0 else {}


def _readdress(database: Path, folder: str) -> None:
    """The files that a database of ours has at another storage folder are in `folder`: they were moved or copied with it."""
    ours = f"/{OWN_DATABASE.parent}/{ARTIFACTS}/"
    with closing(sqlite3.connect(database)) as connected, connected:  # one transaction
        locations = connected.execute("SELECT artifact_location FROM experiments")
        parents = {str(location).rpartition("/")[0] + "/" for (location,) in locations}
        for old in parents - {folder}:
            if not (old.startswith("file:") and old.endswith(ours)):
                continue
            for table, column in _ADDRESSES:
                change = f"UPDATE {table} SET {column} = :new || substr({column}, length(:old) + 1) "  # noqa: S608 - names of ours
                where = f"WHERE substr({column}, 1, length(:old)) = :old"
                connected.execute(change + where, {"old": old, "new": folder})


@contextmanager
def read_only(database: Path) -> Iterator[sqlite3.Connection]:
    """MLflow's own database, for a question in SQL: its client alone takes a second to import.

    Raises:
        sqlite3.Error: within, where the file is not there or cannot be read.
    """
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connected:
        yield connected


@contextmanager
def connection(uri: str, *, doing: str) -> Iterator[MlflowClient]:
    """A client of a server that answers; what goes wrong with it inside becomes one sentence about `doing`.

    Raises:
        RegistryError: nobody answers, or the server refuses.
        StorageError: the disk is full, read-only or forbidden.
    """
    set_bounds()
    reason = why_unreachable(uri)
    if reason is not None:
        raise RegistryError(
            f"{doing}: nobody answers at {displayed(uri)} ({reason}). Start it or correct MLFLOW_TRACKING_URI, "
            "then run again; nothing is lost."
        )
    from mlflow import MlflowClient

    try:
        prepare(uri)
        with _addressed(uri), storage_errors(database_file(uri) or Path(displayed(uri))):
            yield MlflowClient(uri, uri)
    except tracker_faults() as error:
        raise RegistryError(
            f"{doing}: the tracking server at {displayed(uri)} failed: {first_line(error, uri)}. Run again when it is well; "
            "nothing is lost."
        ) from (error if displayed(uri) == uri else None)  # MLflow's own text has the password


@contextmanager
def _addressed(uri: str) -> Iterator[None]:
    """Points MLflow's global functions at `uri` too: what takes a `models:/` address asks them, not the client."""
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None is how MLflow unsets it


def tracker_faults() -> tuple[type[Exception], ...]:
    """What MLflow's client raises when the server, the network or the database fails."""
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, RequestException, SQLAlchemyError, CommandError, sqlite3.Error


def is_refusal(error: Exception) -> bool:
    """Whether the server answered and refused this one request, so that others may succeed; false where it was not reached."""
    from mlflow.exceptions import MlflowException, RestException

    if isinstance(error, RestException):
        return True
    # what MLflow itself raises for a connection that failed counts as a server error, 500
    return isinstance(error, MlflowException) and error.get_http_status_code() < 500  # type: ignore[no-untyped-call]


def first_line(error: Exception, uri: str) -> str:
    """The first line of an error's text, at most 200 characters, without user and password of the server it is about."""
    text = str(error)
    if credentials := _CREDENTIALS.search(uri):
        text = text.replace(credentials.group(), "")
    lines = text.strip().splitlines() or [type(error).__name__]
    return lines[0][:200].rstrip(".")


def find_or_create_experiment(client: MlflowClient, uri: str, name: str) -> str:
    """The id of the experiment of that name."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "active":
        return str(found.experiment_id)
    if found is not None:
        client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name, artifact_location=artifact_location(uri, name)))
    except MlflowException:
        found = client.get_experiment_by_name(name)  # another process was faster
        if found is None:
            raise
        return str(found.experiment_id)


def version_numbers(client: MlflowClient, name: str) -> list[str]:
    """The versions of a registered model, oldest first; none where there is no such model."""
    quote = '"' if "'" in name else "'"
    if quote in name:
        return []  # a filter cannot say it, so nothing of that name can be found
    found = client.search_model_versions(f"name={quote}{name}{quote}")
    return sorted((str(version.version) for version in found), key=int)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Held by one process at a time; freed when it ends, however it ends."""
    make_folder(path.parent)
    with storage_errors(path):
        file = path.open("a", encoding="utf-8")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def set_bounds() -> None:
    """Limits for MLflow's client in this process and its children, unless the environment has its own."""
    for name, value in _BOUNDS.items():
        os.environ.setdefault(name, value)


@contextmanager
def registry_lock(uri: str) -> Iterator[None]:
    """Keeps other processes on this database from registering or moving an alias; a server has its own clients."""
    database = database_file(uri)
    if database is None:
        yield
        return
    with file_lock(database.with_name("registry.lock")):
        yield
