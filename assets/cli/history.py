"""The newest runs of a project, for `textmill status`: what began each, how it ended, and what failed."""

from __future__ import annotations

import fcntl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assets.cli.instance import instance_folder
from pipeline.config import Project
from pipeline.errors import StorageError

if TYPE_CHECKING:
    import dagster as dg

NUM_RUNS = 5
UI_LOCK = "ui.lock"
"""In the instance's folder: held by the `textmill ui` that serves it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """One run, in words."""

    run: str
    """The beginning of its id."""
    began: str
    """When, in local time."""
    by: str
    """What began it."""
    state: str
    """What became of it, with the sentence of what failed."""


def newest_runs(project: Project) -> list[PastRun]:
    """The last runs, newest first; none where nothing ran yet.

    Raises:
        StorageError: the history is there and cannot be read.
    """
    home = instance_folder(project)
    if not (home / "dagster.yaml").is_file():
        return []
    import dagster as dg

    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            return [_in_words(instance, record) for record in instance.get_run_records(limit=NUM_RUNS)]
    except Exception as error:  # each of its kinds of storage has its own
        reason = str(error).strip().partition("\n")[0]
        raise StorageError(
            f"The history of runs in {home} cannot be read ({reason}). Give this user write permission there, which its database "
            "asks for, or mend what it says."
        ) from error


def begins_runs(project: Project) -> bool:
    """Whether a `textmill ui` serves the project, so that its schedules and sensors begin runs."""
    try:
        with (instance_folder(project) / UI_LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def _in_words(instance: dg.DagsterInstance, record: dg.RunRecord) -> PastRun:
    run = record.dagster_run
    began = record.start_time or record.create_timestamp.timestamp()
    return PastRun(
        run=run.run_id[:8],
        began=time.strftime("%m-%d %H:%M", time.localtime(began)),
        by=_by(run),
        state=_state(instance, record),
    )


def _by(run: dg.DagsterRun) -> str:
    for kind in ("schedule", "sensor"):
        if name := run.tags.get(f"dagster/{kind}_name"):
            again = ", again" if run.parent_run_id else ""
            return f"{kind} {name}{again}"
    return f"again, after {run.parent_run_id[:8]}" if run.parent_run_id else "by hand"


def _state(instance: dg.DagsterInstance, record: dg.RunRecord) -> str:
    import dagster as dg

    from assets.failures import FAILURES, first_failure

    run = record.dagster_run
    taken = ""
    if record.start_time is not None and record.end_time is not None:
        taken = f" after {max(0, record.end_time - record.start_time):,.0f} s"
    if run.status is dg.DagsterRunStatus.FAILURE:
        events = [entry.dagster_event for entry in instance.all_logs(run.run_id, of_type=FAILURES)]
        why = first_failure([event for event in events if event is not None])
        return f"failed{taken}" + (f": {why}" if why else "")
    words = {
        dg.DagsterRunStatus.SUCCESS: f"done{taken}",
        dg.DagsterRunStatus.CANCELED: f"stopped{taken}",
        dg.DagsterRunStatus.CANCELING: "is being stopped",
        dg.DagsterRunStatus.STARTED: "goes on",
    }
    return words.get(run.status, "waits to begin")
