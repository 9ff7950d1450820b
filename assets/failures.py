"""Why a run failed, in the sentence that an operator can use, from its events in Dagster's history."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

FAILURES = {
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.ENGINE_EVENT,
}
"""The kinds of events that tell it."""


def first_failure(events: Iterable[dg.DagsterEvent]) -> str | None:
    """The sentence of what failed first: an error of ours, a check, whatever was raised, or the end of its process."""
    events = list(events)
    for event in events:
        if event.is_step_failure:
            asset = str(event.step_key).replace("__", "/", 1)
            data = event.step_failure_data
            if data.user_failure_data is not None and data.user_failure_data.description:
                return f"{asset}: {data.user_failure_data.description}"
            if data.error is not None and "AssetCheck" not in (data.error.cls_name or ""):
                return f"{asset}: {_root_message(data.error)}"
    for event in events:
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed:
                return f"{check.asset_key.to_user_string()}: the check {check.check_name} failed: {check.description}"
    said = None
    for event in events:
        if event.event_type is dg.DagsterEventType.RUN_FAILURE:
            from_outside = "outside the execution context" in (event.message or "")
            return said if from_outside and said is not None else event.message
        said = event.message  # who ends a run from outside says why just before
        if (
            event.event_type is dg.DagsterEventType.ENGINE_EVENT
            and (error := event.engine_event_data.error) is not None
        ):
            said = _root_message(error)
    return None


def _root_message(error: SerializableErrorInfo) -> str:
    while error.cause is not None:
        error = error.cause
    return " ".join(error.message.split())
