"""The same over HTTP: a real MLflow server that goes away and comes back."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_tracking import FINISH, START, append, metrics, steps
from tiny_chain import chain_of, make_evaluation, make_model, make_registered

from pipeline.errors import RegistryError
from pipeline.registry import aliases, queries
from pipeline.registry.connection import why_unreachable
from pipeline.registry.tracking import find_run, ship, ship_all
from pipeline.serving.generate import load_champion

pytestmark = pytest.mark.slow


class Server:
    """`mlflow server` on this machine, with its own storage; it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        words += ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"]
        words += ["--artifacts-destination", str(self.folder / "artifacts")]
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *words],
                cwd=self.folder,
                env={**kept, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while why_unreachable(self.uri) is not None:
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.3)

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=30)
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Server:
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder)
    server.start()
    yield server
    server.stop()


def test_an_outage_in_mid_run_loses_and_repeats_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    spool = tmp_path / "data" / "spool" / "gpt" / "version1"
    append(spool, START, *(metrics(step, loss=1 / step) for step in range(1, 21)))
    assert ship(spool, server.uri).num_metrics == 20
    server.stop()
    append(spool, *(metrics(step, loss=1 / step) for step in range(21, 41)), FINISH)
    started = time.monotonic()
    problem = ship(spool, server.uri).problem
    assert problem is not None
    # the kernel may still hold a connection of the killed server's
    assert re.search(r"cannot be reached \(connection (refused|reset by peer)\)", problem), problem
    assert time.monotonic() - started < 5
    server.start()
    (result,) = ship_all(tmp_path / "data")
    assert (result.problem, result.num_metrics) == (None, 20)
    assert steps(server.uri, "loss") == list(range(1, 41))


def test_the_whole_registry_works_through_a_server(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    store, corpus, tokenizer, shards = chain_of(tmp_path / "data")
    for num_steps in (40, 120):
        model = make_model(store, shards, tokenizer, num_steps=num_steps)
        version = model.ref.version
        append(store.root / "spool" / "gpt" / version, START, metrics(1, loss=3.0), FINISH)
        registered = make_registered(store, make_evaluation(store, model, corpus, shards), model, corpus, shards)
        assert registered.manifest.counts["promoted"]
        run = find_run(MlflowClient(server.uri), "gpt", version)
        assert run.info.run_name == "gpt abc"  # the model is in the run that the training made
    assert load_champion("gpt", server.uri).generate(["the red"], {"max_new_tokens": 3})[0]
    assert queries.compare(server.uri, "gpt", "gpt/1").confidence > 0.999
    assert [row.version for row in queries.leaderboard(server.uri)] == ["2", "1"]
    assert aliases.rollback("gpt", uri=server.uri).to_version == "1"
    server.stop()
    with pytest.raises(RegistryError, match="nobody answers at http://127.0.0.1"):
        load_champion("gpt", server.uri)
