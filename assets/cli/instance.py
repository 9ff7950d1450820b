"""The Dagster instance of a project: `<storage>/dagster`, configured by the packaged dagster.yaml."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.config import Project
from pipeline.files import storage_errors, write_text

HOME_VARIABLE = "DAGSTER_HOME"


def prepare_instance(project: Project) -> Path:
    """Makes the instance's folder and names it in the environment; an instance named there already is used as it is.

    Raises:
        StorageError: the storage folder cannot be written.
    """
    if HOME_VARIABLE in os.environ:
        return Path(os.environ[HOME_VARIABLE])
    home = project.storage_folder.absolute() / "dagster"
    packaged = (Path(__file__).parents[1] / "dagster.yaml").read_text()
    with storage_errors(home):
        home.mkdir(parents=True, exist_ok=True)
        file = home / "dagster.yaml"
        if not file.is_file() or file.read_text() != packaged:
            write_text(file, packaged)
    os.environ[HOME_VARIABLE] = str(home)
    return home
