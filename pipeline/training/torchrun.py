"""Starts one training process a device through torchrun's agent, and says in one sentence how that ended.

In: a spec that asks for several devices. Each process is `python -m pipeline.training <spec>` with its rank in its environment,
in a session of its own; they meet on 127.0.0.1, at a port that the agent holds. A process that dies ends the others: at once
where they miss it, by force after 30 seconds. A stop is passed on to each, once, and forced after `STOP_SECONDS`. The agent is
used as a library, since the command would hide how a process ended behind its own exit code and a table.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from pipeline.errors import TrainingError
from pipeline.training.stopping import LAST_WORDS, LOST_CONTACT, PARENT_VARIABLE, StopRequest, read_last_words

STOP_SECONDS = 50
"""From passing a stop on to ending who has not ended; less than the patience of whoever asked."""
_LOOK_EVERY_SECONDS = 1.0
RUN_ID = "textmill"
"""Names the agent's run to its processes."""


def is_worker() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def run_processes(spec_path: Path, *, num_processes: int, stop: StopRequest) -> int:
    """Trains in so many processes; returns the exit code that they agree on.

    Raises:
        TrainingInterrupted: asked to stop; every process saved and ended.
        TrainingError: a process died, or would not stop.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    spec_path.with_name(LAST_WORDS).unlink(missing_ok=True)
    logging.disable(logging.ERROR)  # what is to be said about the end is said below
    _set_environment()
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=num_processes,
        run_id=RUN_ID,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        shutdown_timeout=STOP_SECONDS,
    )
    with stop.nothing_to_lose():
        threading.Thread(target=_pass_on, args=(stop,), name="stop-watch", daemon=True).start()
    try:
        elastic_launch(config, sys.executable)("-m", "pipeline.training", str(spec_path))
    except SignalException as stopped:
        said = read_last_words(spec_path)
        if said is not None:
            return _repeat(*said)
        name = signal.Signals(stopped.sigval).name
        raise TrainingError(
            f"Training received {name}; its processes did not stop within {STOP_SECONDS} seconds and were ended. Running "
            "again goes on from the last checkpoint."
        ) from None
    except ChildFailedError as failed:
        guilty = {rank: failure for rank, failure in failed.failures.items() if failure.exitcode != LOST_CONTACT}
        if not guilty:
            raise TrainingError(
                "The training processes lost contact with each other and ended. Running again goes on from the last checkpoint."
            ) from None
        rank, failure = min(guilty.items(), key=lambda item: item[1].timestamp)
        code, said = failure.exitcode, read_last_words(spec_path)
        if code > 0 and said is not None:
            return _repeat(*said)
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise TrainingError(
            f"Training process {rank} (of {num_processes}, from 0) {how}, and the others were stopped; running again goes on "
            "from the last checkpoint."
        ) from None
    return 0


def _set_environment() -> None:
    """What the processes inherit: whose they are, and that they talk to each other on this machine alone."""
    os.environ[PARENT_VARIABLE] = str(os.getpid())
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    own = {name for _, name in socket.if_nameindex()} & {"lo", "lo0"}
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        if own:
            os.environ.setdefault(variable, min(own))


def _pass_on(stop: StopRequest) -> None:
    """A stop that came before the agent took over the signals, and the loss of the parent, as a signal to the agent."""
    while stop.reason is None:
        time.sleep(_LOOK_EVERY_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _repeat(code: int, sentence: str) -> int:
    print(sentence, file=sys.stderr, flush=True)
    return code
