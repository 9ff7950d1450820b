"""`textmill ui`: Dagster's page, its daemon and MLflow's page, on this machine only, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil

from assets.cli.instance import prepare_instance
from assets.mlflow_pages import ADDRESS_VARIABLE
from pipeline.config import Project
from pipeline.errors import ConfigurationError, StageError
from pipeline.files import storage_errors

HOST = "127.0.0.1"
READY_SECONDS = 120.0
SERVER_GRACE_SECONDS = 20.0
TRAINING_GRACE_SECONDS = 70.0


def serve(project: Project, *, port: int, mlflow_port: int) -> int:
    """Starts the three servers, says where they are, and stops all of them when asked or when one of them ends.

    Raises:
        ConfigurationError: a port is taken.
        StageError: a server did not come up.
    """
    for name, value in (("--port", port), ("--mlflow-port", mlflow_port)):
        _check_free(name, value)
    prepare_instance(project)
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
    logs = project.storage_folder / "logs"  # not in the instance's folder: Dagster empties the one of that name
    with storage_errors(logs):
        logs.mkdir(exist_ok=True)
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            with (logs / f"{name}.log").open("wb") as log:
                processes[name] = subprocess.Popen(
                    command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
        for name, address in addresses.items():
            _wait_until_ready(name, address, processes, logs)
            print(f"{name:<8} {address}", flush=True)
        print("Ctrl-C stops both.", flush=True)
        while True:
            _check_alive(processes, logs)
            time.sleep(0.5)
    except KeyboardInterrupt:
        print("Stopping.", flush=True)
        return 0
    finally:
        _stop(processes)


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


def _stop(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    """Asks every process group to end, waits for runs in progress to save a checkpoint, and kills what does not end."""
    family = [child for process in processes.values() for child in _family(process.pid)]
    for process in processes.values():
        _signal_group(process, signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=SERVER_GRACE_SECONDS)
    if any("pipeline.training" in _command(child) for child in alive):
        print("A training saves its checkpoint.", flush=True)
        _, alive = psutil.wait_procs(alive, timeout=TRAINING_GRACE_SECONDS)
    for child in alive:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    for process in processes.values():
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _family(process_id: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(process_id)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
