"""Who holds an alias now, asked at once: a database file answers in SQL, without MLflow's import."""

from __future__ import annotations

import sqlite3

from pipeline.errors import RegistryError
from pipeline.registry.aliases import ALIAS
from pipeline.registry.connection import connection, database_file, read_only

_HOLDERS = "select name, alias, version from registered_model_aliases"


def champions(uri: str) -> dict[str, str] | None:
    """Model -> the version that holds the champion alias; None where the registry cannot be asked."""
    found = alias_holders(uri)
    return None if found is None else {name: version for name, alias, version in found if alias == ALIAS}


def alias_holders(uri: str) -> list[tuple[str, str, str]] | None:
    """Model, alias and the version that holds it; None where the registry cannot be asked."""
    database = database_file(uri)
    try:
        if database is None:
            with connection(uri, doing="the holders of aliases") as client:
                models = client.search_registered_models(max_results=1000)
                return [(m.name, alias, str(version)) for m in models for alias, version in m.aliases.items()]
        with read_only(database) as connected:
            return [(name, alias, str(version)) for name, alias, version in connected.execute(_HOLDERS)]
    except (RegistryError, sqlite3.Error):
        return None
