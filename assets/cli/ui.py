"""`textmill ui`: Dagster's page, its daemon and MLflow's page, on this machine only, until Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from assets.cli.history import UI_LOCK
from assets.cli.instance import prepare_instance
from assets.mlflow_pages import ADDRESS_VARIABLE
from assets.servers import start_watch, stop_servers
from pipeline.config import Project
from pipeline.errors import ConfigurationError, StageError
from pipeline.files import storage_errors

HOST = "127.0.0.1"
READY_SECONDS = 120.0


def serve(project: Project, *, port: int, mlflow_port: int) -> int:
    """Starts the three servers, says where they are, and stops all of them when asked, when one of them ends, and when this
    process is killed.

    Raises:
        ConfigurationError: the project is served already, or a port is taken.
        StageError: a server did not come up.
    """
    with _only_one(prepare_instance(project), port) as lock:
        for name, value in (("--port", port), ("--mlflow-port", mlflow_port)):
            _check_free(name, value)
        return _serve(project, port=port, mlflow_port=mlflow_port, lock=lock)


@contextmanager
def _only_one(home: Path, port: int) -> Iterator[TextIO]:
    """Two daemons of one instance would both begin what is due."""
    with storage_errors(home):
        file = (home / UI_LOCK).open("a+", encoding="utf-8")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigurationError(
                f"`textmill ui` serves {home} already, or is just stopping ({file.read().strip()}). Open that page, or stop "
                "that process and start again."
            ) from None
        file.truncate(0)
        file.write(f"http://{HOST}:{port}, process {os.getpid()}\n")
        file.flush()
        yield file


def _serve(project: Project, *, port: int, mlflow_port: int, lock: TextIO) -> int:
    from pipeline.registry.connection import displayed, prepare, tracking_uri

    uri = tracking_uri(project.storage_folder)
    addresses = {"Dagster": f"http://{HOST}:{port}"}
    python = [sys.executable, "-m"]
    commands = {
        "dagster-webserver": [*python, "assets.webserver", str(port)],
        "dagster-daemon": [*python, "dagster._daemon", "run", "-m", "assets.definitions", "-d", str(Path.cwd())],
    }
    environment = {**os.environ, ADDRESS_VARIABLE: f"http://{HOST}:{mlflow_port}"}
    if uri.startswith("sqlite:"):
        prepare(uri)
        addresses["MLflow"] = f"http://{HOST}:{mlflow_port}"
        commands["mlflow"] = _mlflow_command(uri, mlflow_port)
        environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    else:
        print(f"MLflow is served elsewhere: {displayed(uri)}")
    signal.signal(signal.SIGTERM, _as_interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # a terminal that is closed; `nohup` ignores it
        signal.signal(signal.SIGHUP, _as_interrupt)
    logs = project.storage_folder / "logs"  # not in the instance's folder: Dagster empties the one of that name
    with storage_errors(logs):
        logs.mkdir(exist_ok=True)
    watch = start_watch(pass_fd=lock.fileno())
    assert watch.stdin is not None
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            with _fresh_log(logs / f"{name}.log").open("wb") as log:
                processes[name] = subprocess.Popen(
                    command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
            print(processes[name].pid, file=watch.stdin, flush=True)
        for name, address in addresses.items():
            _wait_until_ready(name, address, processes, logs)
            print(f"{name:<8} {address}", flush=True)
        print("Ctrl-C stops both.", flush=True)
        while True:
            _check_alive(processes, logs)
            time.sleep(0.5)
    except KeyboardInterrupt:
        with suppress(OSError):  # the terminal may be gone
            print("Stopping.", flush=True)
        return 0
    finally:
        stop_servers([process.pid for process in processes.values()])
        for process in processes.values():
            process.wait()
        watch.kill()
        watch.wait()


def _fresh_log(path: Path) -> Path:
    """The path, with what was written there before kept beside it: it tells why the servers ended last time."""
    with storage_errors(path):
        if path.is_file():
            path.replace(path.with_suffix(".before.log"))
    return path


def _mlflow_command(uri: str, port: int) -> list[str]:
    artifacts = Path(uri.removeprefix("sqlite:///")).parent / "artifacts"
    return [
        *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", HOST, "--port", str(port)),
        *("--artifacts-destination", artifacts.absolute().as_uri(), "--workers", "1"),
        *("--allowed-hosts", f"{HOST}:{port},localhost:{port}"),
    ]


def _check_free(name: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"{name} {port} cannot be used ({error}). Choose another port with {name}."
            ) from None


def _wait_until_ready(name: str, address: str, processes: dict[str, subprocess.Popen[bytes]], logs: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        _check_alive(processes, logs)
        try:
            with urllib.request.urlopen(address, timeout=5):  # noqa: S310 - a loopback address of our own
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.3)
    raise StageError(f"{name} did not answer at {address} within {READY_SECONDS:.0f} s; its log is in {logs}.")


def _check_alive(processes: dict[str, subprocess.Popen[bytes]], logs: Path) -> None:
    for name, process in processes.items():
        if process.poll() is not None:
            raise StageError(f"{name} ended with exit code {process.returncode}; its log is {logs / name}.log.")


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
