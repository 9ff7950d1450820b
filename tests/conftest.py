"""Fixtures shared by every test; nothing here reaches the network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("textmill", deadline=None)  # examples take as long as they take on a machine that does more
settings.load_profile("textmill")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported: spinning threads starve a busy machine


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of real text, or a skip: a fresh clone has none and every other test passes without it."""
    folder = Path(os.environ.get("TEXTMILL_CORPORA") or Path(__file__).parents[2] / "shared" / "corpora")
    if not folder.is_dir():
        pytest.skip(f"no corpora at {folder}; set TEXTMILL_CORPORA to a folder of them")
    return folder


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an MLflow database with tables and nothing in them: making one takes seconds."""
    from pipeline.registry.tracking import prepare

    folder = tmp_path_factory.mktemp("empty") / "mlflow"
    prepare(f"sqlite:///{folder / 'mlflow.db'}")
    return folder


@pytest.fixture
def tracking(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty MLflow database under `tmp_path`/data, where a project with that storage looks for it."""
    from pipeline.registry.tracking import tracking_uri

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    folder = tmp_path / "data" / "mlflow"
    folder.mkdir(parents=True)
    for file in ("mlflow.db", "schema.json"):
        (folder / file).write_bytes((empty_database / file).read_bytes())
    return tracking_uri(tmp_path / "data")
