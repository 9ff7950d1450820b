"""Parallel data work: one pure function over independent parts, on local processes.

In: a picklable module-level function and its parts. Out: the results in the order of the parts, whatever the number of
workers. Each part's output is committed by the function itself, so what was finished before a failure stays finished.
Trade-off: workers are spawned, not forked (a fork of a process with threads can hang), which costs about half a second
each; a single part, or one worker, runs in this process.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from pipeline.errors import StageError
from pipeline.progress import Progress

Part = TypeVar("Part")
Result = TypeVar("Result")


def map_parts(
    function: Callable[[Part], Result],
    parts: Sequence[Part],
    *,
    num_workers: int | None,
    progress: Progress,
    sizes: Iterable[int] | None = None,
) -> list[Result]:
    """Applies `function` to every part and returns the results in the parts' order.

    `num_workers` None means one per core; `sizes` (bytes a part) drive the progress line and its estimate.

    Raises:
        StageError: a worker died without an answer (out of memory, killed).
        Exception: what the function raised for the first part that failed; other parts' committed output stays.
    """
    weights = list(sizes) if sizes is not None else [1] * len(parts)
    num_workers = min(num_workers or os.cpu_count() or 1, len(parts))
    progress.start(total=sum(weights))
    if num_workers <= 1:
        results = []
        for part, weight in zip(parts, weights, strict=True):
            results.append(function(part))
            progress.advance(weight)
        progress.finish()
        return results
    with ProcessPoolExecutor(num_workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(function, part): index for index, part in enumerate(parts)}
        by_index: dict[int, Result] = {}
        try:
            for future in as_completed(futures):
                index = futures[future]
                by_index[index] = future.result()
                progress.advance(weights[index])
        except BrokenProcessPool as error:
            raise StageError(
                "A worker process died without an answer, most likely out of memory; lower `engine.workers` and run "
                "again, what was finished is kept."
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    progress.finish()
    return [by_index[index] for index in range(len(parts))]
