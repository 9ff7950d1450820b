"""Workers on Ray: one task a part, on this machine or on a cluster that shares the storage folder.

Ray tries the task of a worker or node that died again on its own; what still fails comes back as an attempt. At most as
many tasks are submitted as run at once, so that a long list of parts fills no queue. Without an address a Ray of this
process's own is started, which listens on 127.0.0.1 only. The first use connects; the process keeps the connection.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator, Sequence
from typing import Any

from pipeline.config import EngineConfig
from pipeline.engine.attempt import Attempt, attempt
from pipeline.errors import StageError
from pipeline.machine import num_processors

_CONNECT_SECONDS = 5.0
_OBJECT_STORE_BYTES = 256 << 20
"""Tasks and answers are small; documents go through files."""
_ALWAYS = {"RAY_USAGE_STATS_ENABLED": "0"}
_LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray's switch for machines that cannot be part of a cluster: all its servers listen on 127.0.0.1."""


class RayTasks:
    """Runs each part as a Ray task that takes one core."""

    def __init__(self, function: Callable[[Any], Any], parts: Sequence[Any], *, engine: EngineConfig) -> None:
        self._function = function
        self._parts = parts
        self._engine = engine

    def run(self, indices: Sequence[int], *, alone: bool) -> Generator[tuple[int, Attempt], None, None]:
        """Attempts in the order in which they end.

        Raises:
            StageError: Ray is not installed, or its cluster cannot be reached.
        """
        if not indices:
            return
        ray = connect(self._engine)
        task = ray.remote(attempt).options(num_cpus=1, max_retries=0 if alone else self._engine.retries)
        waiting = list(reversed(indices))
        running: dict[Any, int] = {}
        try:
            while waiting or running:
                while waiting and len(running) < (1 if alone else self._engine.workers or _num_cores(ray)):
                    index = waiting.pop()
                    running[task.remote(self._function, self._parts[index])] = index
                for reference in ray.wait(list(running), num_returns=1)[0]:
                    index = running.pop(reference)
                    yield index, _outcome(ray, reference)
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


def connect(engine: EngineConfig) -> Any:
    """The `ray` module, connected to the cluster at `engine.address`, or to a Ray started for this process.

    Raises:
        StageError: Ray is not installed, or the cluster cannot be reached.
    """
    for name, value in (_ALWAYS if engine.address else _ALWAYS | _LOOPBACK_ONLY).items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise StageError(
            "`engine.kind` is ray, and Ray is not installed. Install it with `pip install -c constraints.txt "
            "ray`, or set `engine.kind` to local."
        ) from error
    if ray.is_initialized():
        return ray
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if engine.address is None:
        num_cores = engine.workers or num_processors()
        ray.init(
            address="local",
            num_cpus=num_cores,
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            **quiet,
        )
        return ray
    host, _, port = engine.address.rpartition(":")
    try:  # Ray itself would try for two minutes
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
        ray.init(address=engine.address, **quiet)
    except Exception as error:
        raise StageError(
            f"The Ray cluster at `engine.address` {engine.address} cannot be joined ({error}). Start it with `ray start "
            f"--head`, join this machine with `ray start --address={engine.address}`, or set `engine.kind` to local."
        ) from error
    return ray


def _num_cores(ray: Any) -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _outcome(ray: Any, reference: Any) -> Attempt:
    try:
        outcome: Attempt = ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # what was to be sent there or back cannot be read
        return Attempt(failure=f"{type(error.cause).__name__}: {error.cause}")
    except ray.exceptions.RayError as error:
        return Attempt(died=True, failure=f"its worker died without an answer ({type(error).__name__})")
    return outcome
