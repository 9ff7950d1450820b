"""A tiny project on real text that is on every machine: the documentation of two installed packages."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
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
  trigram:
    family: ngram
    dataset: tokens
    order: 3
    evaluate: {max_documents: 20, num_samples: 1, sample_tokens: 20}
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


def command(*words: str, code: str = "") -> list[str]:
    """The command line of this checkout; `code` is executed first, to break something on purpose."""
    program = f"import sys; sys.argv[0] = 'textmill'\n{code}\nfrom assets.cli import main\nsys.exit(main())"
    return [sys.executable, "-c", program, *words]


def environment() -> dict[str, str]:
    """This process's variables without those that name a project file, a tracking server or a Dagster instance."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DAGSTER_", "TEXTMILL_"))}
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[2])}


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], object], *, seconds: float) -> None:
    """Fails unless the condition holds within some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


@contextmanager
def running_ui(folder: Path) -> Iterator[tuple[str, str]]:
    """`textmill ui` while the block runs: Dagster's address and MLflow's. A stop must leave no process behind."""
    ports = free_port(), free_port()
    words = command("ui", "--port", str(ports[0]), "--mlflow-port", str(ports[1]))
    with subprocess.Popen(words, cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True) as ui:
        assert ui.stdout is not None
        for line in ui.stdout:
            if line.startswith("Ctrl-C"):
                break
        try:
            yield f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
        finally:
            family = psutil.Process(ui.pid).children(recursive=True)
            ui.send_signal(signal.SIGTERM)
            code = ui.wait(timeout=100)
    _, alive = psutil.wait_procs(family, timeout=20)
    assert (code, alive) == (0, [])


def textmill(
    folder: Path, *words: str, code: str = "", variables: dict[str, str] | None = None, timeout_seconds: int = 300
) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a fresh process, to its end."""
    return subprocess.run(
        command(*words, code=code),
        cwd=folder,
        env=environment() | (variables or {}),
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
