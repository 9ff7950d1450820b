"""Schedules from the project file; what is up to date is not built again, so a quiet night costs seconds."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from assets.jobs import models_selection
from assets.unfinished import unfinished
from pipeline.config import Project, ScheduleConfig
from pipeline.plan import Key, Node


def make_schedules(project: Project, nodes: Mapping[Key, Node]) -> list[dg.ScheduleDefinition]:
    """One for each entry of `schedules`, running while the daemon does."""
    return [_schedule(name, schedule, nodes) for name, schedule in project.schedules.items()]


def _schedule(name: str, schedule: ScheduleConfig, nodes: Mapping[Key, Node]) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=name,
        cron_schedule=schedule.cron,
        execution_timezone=schedule.timezone,
        target=models_selection(nodes, schedule.models),
        description=f"Retrains {', '.join(schedule.models)}.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def retraining(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return unfinished(context.instance, "schedule", name) or dg.RunRequest()

    return retraining
