"""One built project for every question of the folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from built_project import build_all, write_project

from pipeline.artifacts import ArtifactStore
from pipeline.config import Project


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, ArtifactStore]:
    folder: Path = tmp_path_factory.mktemp("source=it's a project")
    project = write_project(folder)
    return project, build_all(project)
