"""A tiny project on real text that is on every machine: the documentation of two installed packages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PROJECT = """
name: tiny
sources:
  docs: {reader: python_docs, packages: [jinja2, click]}
corpora:
  docs: {sources: {docs: 1.0}, splits: {validation: 0.05, test: 0.1}}
tokenizers:
  small: {corpus: docs, vocab_size: 600}
datasets:
  tokens: {corpus: docs, tokenizer: small}
models:
  gpt:
    family: transformer
    dataset: tokens
    depth: 1
    context_tokens: 64
    train: {tokens: 100_000, batch_tokens: 1024, compile: "off", validation_tokens: 2048, checkpoint_every_steps: 10}
    evaluate: {max_documents: 20, num_samples: 1, sample_tokens: 20}
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


def textmill(folder: Path, *words: str, code: str = "", timeout_seconds: int = 300) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a fresh process; `code` is executed first, to break something on purpose."""
    program = f"import sys; sys.argv[0] = 'textmill'\n{code}\nfrom assets.cli import main\nsys.exit(main())"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DAGSTER_"))}
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )


@pytest.fixture
def tiny_project(tmp_path: Path) -> Path:
    """A folder with the tiny project file and nothing built."""
    (tmp_path / "dagster_project.yaml").write_text(PROJECT)
    return tmp_path


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The tiny project after one undisturbed run, and what that run printed; tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "dagster_project.yaml").write_text(PROJECT)
    done = textmill(folder, "run")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done
