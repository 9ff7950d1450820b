"""A run that waits for another one's slot pauses between its questions, says so, and can be stopped."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator

import dagster as dg
import pytest
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

from assets import pool_slots
from assets.stopping import was_stopped

POOLS = {"concurrency": {"pools": {"default_limit": 1, "granularity": "op"}}}
HOLDER = "another-run"


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """One whose only slot of the pool is held by another run."""
    monkeypatch.setattr(InstanceConcurrencyContext, "claim", InstanceConcurrencyContext.claim)  # put back afterwards
    with dg.instance_for_test(overrides=POOLS) as instance:
        storage = instance.event_log_storage
        storage.initialize_concurrency_limit_to_default("gpu")
        assert storage.claim_concurrency_slot("gpu", HOLDER, "step").is_claimed
        yield instance
    was_stopped.clear()


@dg.op(pool="gpu")
def train() -> None:
    """What waits."""


@dg.job
def training() -> None:
    train()


def claims(monkeypatch: pytest.MonkeyPatch, then: Callable[[], object]) -> list[str]:
    """The claims from now on; a second after the first one, `then` is called."""
    asked: list[str] = []
    claim = pool_slots._claim

    def counted(context: InstanceConcurrencyContext, pool: str, step_key: str, priority: int) -> bool:
        if not asked:
            threading.Timer(1.0, then).start()
        asked.append(step_key)
        return claim(context, pool, step_key, priority)

    monkeypatch.setattr(pool_slots, "_claim", counted)
    return asked


@pytest.mark.parametrize("is_told", [True, False])
def test_a_run_waits_with_pauses_and_says_for_whom(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, is_told: bool
) -> None:
    asked = claims(monkeypatch, lambda: instance.event_log_storage.free_concurrency_slots_for_run(HOLDER))
    said: list[str] = []
    pool_slots.pause_between_claims(said.append if is_told else None)
    assert training.execute_in_process(instance=instance).success
    assert said == (["train: waits for the slot of the pool gpu, which run another- has"] if is_told else [])
    assert 2 <= len(asked) < 200  # without a pause tens of thousands


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_waits_can_be_stopped_and_waits_no_more(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    claims(monkeypatch, lambda: os.kill(os.getpid(), number))
    pool_slots.pause_between_claims(lambda sentence: None)
    with pytest.raises(dg.DagsterExecutionInterruptedError):
        training.execute_in_process(instance=instance)
    pending = instance.event_log_storage.get_concurrency_info("gpu").pending_steps
    assert [step.run_id for step in pending] == [HOLDER]
    assert was_stopped.is_set()  # which `textmill run` ends by, as by a stop within a step
