"""Starts the training process through Dagster Pipes, here or where `trainer` says, ships its metrics while it runs, and leaves
no process behind."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from assets.pipes_messages import MESSAGES, WholeLineReader
from pipeline.config import KubernetesTrainer, Project, RayTrainer
from pipeline.progress import Progress
from pipeline.training.launch import check_exit, stop_group, training_command, training_environment

SHIP_EVERY_SECONDS = 5.0


def run_trainer(spec_path: Path, *, context: dg.AssetExecutionContext, project: Project) -> None:
    """Runs training to its end; its messages arrive in the asset's log.

    Raises:
        TrainingError: see `check_exit`.
        ConfigurationError: what `trainer` names is not installed or not there.
    """
    trainer = project.trainer
    if isinstance(trainer, RayTrainer):
        from assets.trainer_on_ray import run_on_ray

        run_on_ray(spec_path, context=context, trainer=trainer)
    elif isinstance(trainer, KubernetesTrainer):
        from assets.trainer_on_kubernetes import run_on_kubernetes

        run_on_kubernetes(spec_path, context=context, trainer=trainer, storage=project.storage_folder)
    else:
        _run_here(spec_path, context=context)


def _run_here(spec_path: Path, *, context: dg.AssetExecutionContext) -> None:
    """In a process group of its own."""
    with dg.open_pipes_session(
        context=context,
        context_injector=dg.PipesEnvContextInjector(),
        message_reader=WholeLineReader(spec_path.with_name(MESSAGES)),
    ) as session:
        process = subprocess.Popen(
            training_command(spec_path),
            env={**training_environment(), **session.get_bootstrap_env_vars()},
            start_new_session=True,
        )
        try:
            code = process.wait()
        finally:
            stop_group(process)
    check_exit(code, spec_path)


@contextmanager
def shipping(storage: Path, spool: Path, progress: Progress) -> Iterator[None]:
    """Ships a spool to the tracker every few seconds, and once more at the end; a tracker that is away is told of once."""
    from pipeline.registry.tracking import ship, tracking_uri

    uri = tracking_uri(storage)
    done = threading.Event()
    told: set[str] = set()

    def ship_now() -> None:
        if not spool.is_dir():
            return
        problem = ship(spool, uri).problem
        if problem is not None and problem not in told:
            told.add(problem)
            progress.note(f"{problem} Training goes on; the metrics are kept and shipped later.")

    def ship_often() -> None:
        while not done.wait(SHIP_EVERY_SECONDS):
            ship_now()

    shipper = threading.Thread(target=ship_often, name="shipper", daemon=True)
    shipper.start()
    try:
        yield
    finally:
        done.set()
        shipper.join(timeout=60)
        ship_now()
