"""Waiting for a slot of a pool: with pauses, in words, and so that it can be ended.

One training at a time holds the slot of the pool `gpu`; a run that comes to its own waits. Dagster 1.13's executors then ask
again and again without a pause (`interval_to_next_pending_claim_check` is never above zero), which takes a core from the training
that is waited for; and a run in this process does not see a Ctrl-C meanwhile. So the claim itself pauses here.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from dagster._core.errors import DagsterExecutionInterruptedError, raise_execution_interrupts
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

from assets.stopping import was_stopped

PAUSE_SECONDS = 0.05
"""Short, since an executor with other steps at work handles one event of each between two claims."""

_claim = InstanceConcurrencyContext.claim


def pause_between_claims(tell: Callable[[str], None] | None = None) -> None:
    """From now on a claim that is refused takes a moment. `tell` gets a sentence for each step that has to wait; it is for a run
    in this process, where a stop that is asked for during the wait then ends the run."""
    told: set[str] = set()

    def claim(self: InstanceConcurrencyContext, concurrency_key: str, step_key: str, step_priority: int = 0) -> bool:
        if _claim(self, concurrency_key, step_key, step_priority):
            return True
        if tell is None:
            time.sleep(PAUSE_SECONDS)
            return False
        if step_key not in told:
            told.add(step_key)
            tell(_sentence(self, concurrency_key, step_key))
        try:
            with raise_execution_interrupts():
                time.sleep(PAUSE_SECONDS)
        except DagsterExecutionInterruptedError:
            was_stopped.set()
            raise
        return False

    InstanceConcurrencyContext.claim = claim  # type: ignore[method-assign]


def _sentence(context: InstanceConcurrencyContext, pool: str, step_key: str) -> str:
    info = context._instance.event_log_storage.get_concurrency_info(pool)
    holders = ", ".join(sorted({slot.run_id[:8] for slot in info.claimed_slots}))
    by = f", which run {holders} has" if holders else ""
    return f"{step_key.replace('__', '/', 1)}: waits for the slot of the pool {pool}{by}"
