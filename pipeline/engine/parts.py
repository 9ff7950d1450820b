"""Tries every part until it is done or has failed too often, whatever the workers are.

In: a picklable module-level function and its parts. Out: the results in the order of the parts, whatever the number and
kind of workers. Each part's output is committed by the function itself, so what is finished before a failure stays
finished. A part that fails unexpectedly is tried again in a fresh worker once the others are through; one whose worker
died is tried again alone, so that it has the memory for itself. A part that keeps failing does not keep the others from
being finished; the run then ends with its name.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from typing import Protocol, TypeVar

from pipeline.config import EngineConfig
from pipeline.engine.attempt import Attempt
from pipeline.engine.local import Processes, ThisProcess
from pipeline.errors import StageError
from pipeline.machine import num_processors
from pipeline.progress import Progress

Part = TypeVar("Part")
Result = TypeVar("Result")

IN_THIS_PROCESS = EngineConfig(workers=1)
"""For work that is smaller than the start of a worker."""
_NAMED_PARTS = 3


class Workers(Protocol):
    """Where parts run."""

    def run(self, indices: Sequence[int], *, alone: bool) -> Generator[tuple[int, Attempt], None, None]:
        """One attempt at each of the parts with these indices, as they end; `alone` means one at a time."""


def map_parts(
    function: Callable[[Part], Result],
    parts: Sequence[Part],
    *,
    engine: EngineConfig,
    describe: Callable[[Part], str],
    progress: Progress,
    sizes: Iterable[int] | None = None,
) -> list[Result]:
    """Applies `function` to every part and returns the results in the parts' order.

    `sizes` (bytes a part) drive the progress line and its estimate; `describe` names a part to a person.

    Raises:
        StageError: parts failed, or their workers died, at every try; all others are finished.
        Exception: a TextmillError of the function, or the disk's refusal, at once: another try would repeat it.
    """
    weights = list(sizes) if sizes is not None else [1] * len(parts)
    progress.start(total=sum(weights))
    workers = _workers(function, parts, engine)
    results: dict[int, Result] = {}
    failed: dict[int, Attempt] = {}
    for number in range(engine.retries + 1):
        died = [index for index in sorted(failed) if failed[index].died]
        others = sorted(set(failed) - set(died)) if number else list(range(len(parts)))
        for indices, alone in ((others, False), (died, True)):
            with closing(workers.run(indices, alone=alone)) as attempts:
                for index, outcome in attempts:
                    if outcome.refusal is not None:
                        raise outcome.refusal
                    if outcome.failure is None:
                        failed.pop(index, None)
                        results[index] = outcome.result
                        progress.advance(weights[index])
                    else:
                        failed[index] = outcome
                        tries = f"try {number + 1} of {engine.retries + 1}"
                        progress.note(f"{tries}: {describe(parts[index])}: {outcome.failure}")
        if not failed:
            break
    if failed:
        raise _poisoned({describe(parts[index]): failed[index] for index in sorted(failed)}, engine, len(parts))
    progress.finish()
    return [results[index] for index in range(len(parts))]


def _workers(function: Callable[[Part], Result], parts: Sequence[Part], engine: EngineConfig) -> Workers:
    if engine.kind == "ray":
        from pipeline.engine.on_ray import RayTasks

        return RayTasks(function, parts, engine=engine)
    num_workers = engine.workers or num_processors()
    return ThisProcess(function, parts) if num_workers == 1 else Processes(function, parts, num_workers=num_workers)


def _poisoned(failed: dict[str, Attempt], engine: EngineConfig, num_parts: int) -> StageError:
    named = "; ".join(f"{name}: {outcome.failure}" for name, outcome in list(failed.items())[:_NAMED_PARTS])
    more = f"; and {len(failed) - _NAMED_PARTS} more" if len(failed) > _NAMED_PARTS else ""
    advice = (
        "Lower `engine.workers` or give the machine more memory, or look into that part"
        if any(outcome.died for outcome in failed.values())
        else "Mend or remove what it reads"
    )
    tries = f"{engine.retries + 1} times" if engine.retries else "once"
    error = StageError(
        f"{len(failed)} of {num_parts} parts could not be built, tried {tries}: {named}{more}. {advice}, and run again: "
        "the other parts are finished and kept."
    )
    for outcome in failed.values():
        if outcome.details:
            error.add_note(outcome.details)
    return error
