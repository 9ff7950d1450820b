"""Who holds the champion alias now, asked at once: a database file answers in SQL, without MLflow's import."""

from __future__ import annotations

import sqlite3

from pipeline.errors import RegistryError
from pipeline.registry.aliases import ALIAS
from pipeline.registry.connection import connection, database_file, read_only

_HOLDERS = "select name, version from registered_model_aliases where alias = ?"


def champions(uri: str) -> dict[str, str] | None:
    """Model -> the version that holds the alias; None where the registry cannot be asked."""
    database = database_file(uri)
    try:
        if database is None:
            with connection(uri, doing="the champions") as client:
                models = client.search_registered_models(max_results=1000)
                return {model.name: str(model.aliases[ALIAS]) for model in models if ALIAS in model.aliases}
        with read_only(database) as connected:
            return {name: str(version) for name, version in connected.execute(_HOLDERS, (ALIAS,))}
    except (RegistryError, sqlite3.Error):
        return None
