"""Why a run failed, in the sentence that an operator can use, from its events in Dagster's history."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

FAILURES = {
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.RUN_FAILURE,
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
            error = data.error
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None and "AssetCheck" not in (error.cls_name or ""):
                return f"{asset}: {' '.join(error.message.split())}"
    for event in events:
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed:
                return f"{check.asset_key.to_user_string()}: the check {check.check_name} failed: {check.description}"
    ends = [event.message for event in events if event.event_type is dg.DagsterEventType.RUN_FAILURE]
    return ends[0] if ends else None
