"""Fixtures shared by every test; nothing here reaches the network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of real text, or a skip: a fresh clone has none and every other test passes without it."""
    folder = Path(os.environ.get("TEXTMILL_CORPORA") or Path(__file__).parents[2] / "shared" / "corpora")
    if not folder.is_dir():
        pytest.skip(f"no corpora at {folder}; set TEXTMILL_CORPORA to a folder of them")
    return folder
