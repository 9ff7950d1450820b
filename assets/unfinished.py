"""What a schedule or a sensor began and is not finished: another run would only wait for the first, and runs would pile up."""

from __future__ import annotations

from typing import Literal

import dagster as dg

_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def unfinished(instance: dg.DagsterInstance, kind: Literal["schedule", "sensor"], name: str) -> dg.SkipReason | None:
    """Why nothing is begun now, or None."""
    own = dg.RunsFilter(tags={f"dagster/{kind}_name": name}, statuses=_UNFINISHED)
    runs = instance.get_runs(own, limit=1)
    return (
        dg.SkipReason(f"Run {runs[0].run_id[:8]}, which this {kind} began before, is not finished yet.")
        if runs
        else None
    )


def going_on(instance: dg.DagsterInstance) -> str | None:
    """A run that is not finished, in words, or None."""
    runs = instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED), limit=1)
    return f"run {runs[0].run_id[:8]} ({runs[0].status.value.lower()})" if runs else None
