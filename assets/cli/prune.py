"""`textmill prune`: says what of the storage folder no version in use needs, and deletes it when told to."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from pipeline.config import Project
from pipeline.errors import ConfigurationError

DEFAULT_KEEP = 1
"""The version before the one in use: `textmill diff` compares the two."""


def prune(project: Project, *, keep: int | None, is_to_delete: bool) -> int:
    """Prints a row for each name, and deletes with `is_to_delete`.

    Raises:
        ConfigurationError: `keep` is negative.
        RegistryError: the registry cannot say which versions hold an alias.
        StageError: a run goes on.
    """
    from assets.pruning import delete, in_words, waste_of

    if keep is None:
        keep = project.keep_versions if project.keep_versions is not None else DEFAULT_KEEP
    if keep < 0:
        raise ConfigurationError(f"--keep is {keep}. Give the number of old versions that stay, 0 or more.")
    waste = waste_of(project, keep=keep)
    console = Console()
    if not waste:
        console.print(f"Nothing to delete: {project.storage_folder} holds what is in use, and what that was made from.")
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("asset", overflow="fold")
    for column in ("old versions", "that stay", "other folders", "frees"):
        table.add_column(column, justify="right", no_wrap=True)
    for entry in waste:
        table.add_row(
            str(entry.key),
            f"{entry.num_versions:,}",
            f"{entry.num_kept:,}",
            f"{len(entry.folders) - entry.num_versions:,}",
            f"{entry.num_bytes / 1e6:,.1f} MB",
        )
    console.print(table)
    if not is_to_delete:
        console.print(f"{in_words(waste)}. Nothing was deleted: `textmill prune --delete` does it.", highlight=False)
        return 0
    import dagster as dg

    from assets.cli.instance import database_errors, prepare_instance

    prepare_instance(project)
    with database_errors(project), dg.DagsterInstance.get() as instance:
        delete(waste, instance)
    console.print(f"Deleted: {in_words(waste)}.", highlight=False)
    return 0
