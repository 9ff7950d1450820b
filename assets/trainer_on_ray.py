"""Training on a node of a Ray cluster: the same process, started there by an actor.

Its messages come through a file in the checkpoint folder, which the nodes share, as they share shards and checkpoints. When this
process dies, Ray ends the actor, and training, whose parent that was, saves a checkpoint and ends.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import dagster as dg

from assets.pipes_messages import MESSAGES, WholeLineReader
from pipeline.config import EngineConfig, RayTrainer
from pipeline.engine.on_ray import connect
from pipeline.errors import TrainingError
from pipeline.training.host import TrainingHost
from pipeline.training.launch import GRACE_SECONDS, check_exit

_LOOK_EVERY_SECONDS = 0.5


def run_on_ray(spec_path: Path, *, context: dg.AssetExecutionContext, trainer: RayTrainer) -> None:
    """Trains on a node that has the cores and GPUs asked for, as soon as there is one.

    Raises:
        StageError: Ray is not installed, or its cluster cannot be reached.
        TrainingError: see `check_exit`, or the node was lost.
    """
    ray = connect(EngineConfig(kind="ray", address=trainer.address))
    host = ray.remote(TrainingHost).options(
        num_cpus=trainer.cpus, num_gpus=trainer.gpus, max_restarts=0, max_concurrency=2
    )
    with dg.open_pipes_session(
        context=context,
        context_injector=dg.PipesEnvContextInjector(),
        message_reader=WholeLineReader(spec_path.with_name(MESSAGES)),
    ) as session:
        actor = host.remote()
        running = actor.run.remote(str(spec_path), session.get_bootstrap_env_vars())
        try:
            code = _wait(ray, running)
        finally:
            _end(ray, actor)
    check_exit(code, spec_path)


def _wait(ray: Any, running: Any) -> int:
    while not ray.wait([running], timeout=0)[0]:
        time.sleep(_LOOK_EVERY_SECONDS)  # where a stop of this process is heard; in Ray it would become another error
    try:
        code: int = ray.get(running)
    except ray.exceptions.RayError as error:
        raise TrainingError(
            f"The Ray node that trained was lost ({type(error).__name__}). Running again goes on from the last checkpoint."
        ) from error
    return code


def _end(ray: Any, actor: Any) -> None:
    """Asks for a checkpoint where training still runs, and gives the node back."""
    ray.wait([actor.stop.remote()], timeout=GRACE_SECONDS + _LOOK_EVERY_SECONDS)
    ray.kill(actor)
