"""`textmill run`: materialises what is not up to date, in this process, on the project's Dagster instance."""

from __future__ import annotations

import logging
import os
import signal
import time
import uuid
import warnings
from types import FrameType

from rich.console import Console

from assets.cli.instance import database_errors, prepare_instance
from assets.cli.plan import plan_table
from assets.cli.summary import print_summary
from assets.stopping import was_stopped, watch_signals
from pipeline.artifacts import ArtifactStore
from pipeline.config import Project
from pipeline.engine import start_server
from pipeline.errors import StageError
from pipeline.plan import CLEAN, CORPUS, RAW, Key, make_plan

PRELOADED = "pipeline.corpus.preload"


def run(project: Project, names: tuple[str, ...]) -> int:
    """Builds, and prints a summary; exit code 1 with one sentence where something failed."""
    console = Console()
    started = time.monotonic()
    steps = make_plan(project, ArtifactStore(project.storage_folder), names)
    if all(step.status == "up to date" for step in steps):
        console.print(
            f"All {len(steps)} assets are up to date: nothing to do. ({time.monotonic() - started:.1f} s)",
            highlight=False,
        )
    else:
        console.print(plan_table(steps))
        if project.engine.kind == "local" and any(
            step.status != "up to date" and step.key.stage in (RAW, CLEAN, CORPUS) for step in steps
        ):
            start_server([PRELOADED])  # imports what workers need while this process imports Dagster
        prepare_instance(project)
        with database_errors(project):
            _materialise([step.key for step in steps], console)
        console.print(f"Done in {time.monotonic() - started:.0f} s.", highlight=False)
    print_summary(project, console, names)
    return 0


def _materialise(keys: list[Key], console: Console) -> None:
    """Runs the assets in order.

    Raises:
        StageError: with the sentence of the first that failed.
        KeyboardInterrupt: it was asked to stop.
    """
    os.environ["TEXTMILL_TERMINAL"] = "1"
    warnings.filterwarnings("ignore", module=r"dagster\..*")
    signal.signal(signal.SIGTERM, _as_interrupt)
    watch_signals()
    import dagster as dg

    from assets.building import asset_key
    from assets.definitions import defs
    from assets.failures import first_failure
    from assets.pool_slots import pause_between_claims
    from assets.processes import end_dead_runs, hold

    pause_between_claims(lambda sentence: console.print(sentence, highlight=False, soft_wrap=True))
    logging.getLogger("dagster").setLevel(logging.ERROR)
    job = defs.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.get() as instance:
        end_dead_runs(instance)
        run_id = str(uuid.uuid4())
        hold(instance, run_id)
        try:
            result = job.execute_in_process(
                instance=instance,
                asset_selection=[asset_key(key) for key in keys],
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                raise_on_error=False,
                run_id=run_id,
            )
        except dg.DagsterExecutionInterruptedError:
            raise KeyboardInterrupt from None
    if was_stopped.is_set():
        raise KeyboardInterrupt
    if not result.success:
        told = [event for event in result.all_events if event.event_type is not dg.DagsterEventType.RUN_FAILURE]
        raise StageError(first_failure(told) or "The run was stopped; running again goes on from there.")


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM stops a run as Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)
