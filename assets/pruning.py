"""Deletes what no version in use needs, while no run goes on that could read it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import dagster as dg

from assets.processes import end_dead_runs
from assets.unfinished import going_on
from pipeline.artifacts import ArtifactStore
from pipeline.config import Project
from pipeline.errors import RegistryError, StageError
from pipeline.pruning import Waste, find_waste, remove
from pipeline.registry.champions import alias_holders
from pipeline.registry.connection import database_file, displayed, tracking_uri


def waste_of(project: Project, *, keep: int) -> list[Waste]:
    """What may go.

    Raises:
        RegistryError: the registry cannot say which versions hold an alias.
    """
    uri = tracking_uri(project.storage_folder)
    database = database_file(uri)
    has_registry = database is None or database.is_file()  # else nothing was ever registered here
    holders = alias_holders(uri) if has_registry else []
    if holders is None:
        raise RegistryError(
            f"The registry at {displayed(uri)} cannot be asked which versions hold an alias, and these must stay. Run again when "
            "it answers."
        )
    aliased: defaultdict[str, set[str]] = defaultdict(set)
    for name, _, version in holders:
        aliased[name].add(version)
    return find_waste(ArtifactStore(project.storage_folder), keep=keep, aliased=aliased, uri=uri)


def delete(waste: Sequence[Waste], instance: dg.DagsterInstance) -> None:
    """Deletes it.

    Raises:
        StageError: a run goes on.
        StorageError: the disk is read-only or forbidden.
    """
    end_dead_runs(instance)
    if (run := going_on(instance)) is not None:
        raise StageError(f"Nothing was deleted: {run} is not finished and may read it. Wait for it, or cancel it.")
    remove(waste)


def in_words(waste: Sequence[Waste]) -> str:
    """How much it is: "3 versions and 12 other folders, 1.5 MB"."""
    num_versions = sum(entry.num_versions for entry in waste)
    num_others = sum(len(entry.folders) for entry in waste) - num_versions
    num_bytes = sum(entry.num_bytes for entry in waste)
    return f"{num_versions:,} versions and {num_others:,} other folders, {num_bytes / 1e6:,.1f} MB"
