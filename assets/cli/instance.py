"""The Dagster instance of a project: `<storage>/dagster`, configured by the packaged dagster.yaml."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.config import Project
from pipeline.files import make_folder, storage_errors, write_text
from pipeline.registry.connection import file_lock

HOME_VARIABLE = "DAGSTER_HOME"


def instance_folder(project: Project) -> Path:
    """Where the project's instance is: the one that the environment names, else `<storage>/dagster`."""
    named = os.environ.get(HOME_VARIABLE)
    return Path(named) if named else project.storage_folder.absolute() / "dagster"


def prepare_instance(project: Project) -> Path:
    """Makes the instance's folder and names it in the environment; an instance named there already is used as it is.

    Raises:
        StorageError: the storage folder cannot be written.
    """
    home = instance_folder(project)
    if os.environ.get(HOME_VARIABLE):
        return home
    packaged = (Path(__file__).parents[1] / "dagster.yaml").read_text(encoding="utf-8")
    make_folder(home)
    with storage_errors(home):
        file = home / "dagster.yaml"
        if not file.is_file() or file.read_text(encoding="utf-8") != packaged:
            write_text(file, packaged)
    with database_errors(project):
        _make_databases(home)
    os.environ[HOME_VARIABLE] = str(home)
    return home


def _make_databases(home: Path) -> None:
    """Has Dagster make its tables, once and in one process: those that make them together crash."""
    made = home / "databases_made"
    if made.is_file():
        return
    with file_lock(home / "databases.lock"):
        import dagster as dg

        with dg.DagsterInstance.from_config(str(home)):
            write_text(made, "")


@contextmanager
def database_errors(project: Project) -> Iterator[None]:
    """Turns SQLite's ways to say that the instance's disk is full or read-only into the StorageError that files give.

    Raises:
        StorageError: Dagster could not write its history.
    """
    folder = project.storage_folder / "dagster"
    try:
        yield
    except Exception as error:
        code = _errno_of(error)
        if code is None:
            raise
        with storage_errors(folder):
            raise OSError(code, os.strerror(code), str(folder)) from error


def _errno_of(error: BaseException | None) -> int | None:
    while error is not None:
        if isinstance(error, sqlite3.OperationalError):
            words = str(error)
            if "disk I/O error" in words or "disk is full" in words:
                return errno.ENOSPC
            return errno.EROFS if "readonly database" in words else None
        error = error.__cause__ or error.__context__
    return None
