"""What a run remembers of its steps, and tells: the console hears of each, the tracker of every n-th and each validation.

The device's figures are read when they are asked for, several steps at once where reading each would make it wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pipeline.training.console import Console
from pipeline.training.guard import Verdict
from pipeline.training.monitor import Monitor
from pipeline.training.results import metrics_of
from pipeline.training.spec import TrainingSpec
from pipeline.training.spool import Spool
from pipeline.training.step import explain_halt


class History:
    """A row for each step, and the times apart: rows are a function of the spec, times are not."""

    def __init__(
        self,
        spec: TrainingSpec,
        *,
        console: Console,
        monitor: Monitor,
        scale_at: Callable[[int], float],
        tokens_until: Callable[[int], int],
        flops_per_token: int,
        peak: float | None,
    ) -> None:
        """`scale_at` gives the learning rate's factor at a step counted from 0, `tokens_until` the tokens that so many steps have
        read; `peak` is the FLOP/s of all devices together, None where that is unknown."""
        self._spec, self._console, self._monitor = spec, console, monitor
        self._scale_at, self._tokens_until = scale_at, tokens_until
        self._flops_per_token, self._peak = flops_per_token, peak
        self._unread: list[tuple[int, Tensor]] = []
        self._num_skipped = 0
        self.rows: list[dict[str, Any]] = []
        self.timings: list[dict[str, float]] = []
        self.earlier_seconds = 0.0
        """Of the processes that this one went on from, up to their checkpoints."""
        self.start_loss: float | None = None
        """Of validation, before the first step of a run that began with trained weights."""

    @property
    def num_unread(self) -> int:
        """Steps whose figures are still on the device."""
        return len(self._unread)

    @property
    def last_validation_loss(self) -> float | None:
        """None where the last step was followed by no validation."""
        return self.rows[-1]["validation_loss"] if self.rows else None

    @property
    def least_validation_loss(self) -> float | None:
        """None before the first validation."""
        return min((row["validation_loss"] for row in self.rows if row["validation_loss"] is not None), default=None)

    def add(self, step: int, row: Tensor) -> None:
        """What `train_step` returned for a step, counted from 1; it stays on the device."""
        self._unread.append((step, row))

    def add_time(self, step: int) -> None:
        """How far the clock is after a step."""
        timing = self._console.timing()
        timing["seconds"] += self.earlier_seconds
        self.timings.append({"step": step, **timing})

    def read(
        self, spool: Spool, *, replay: Callable[[int], tuple[Tensor, Tensor]], validation_loss: float | None = None
    ) -> None:
        """Takes the figures of the steps since the last call from the device; `validation_loss` belongs to the last of them.

        `replay` computes loss and gradient norm of a step again that was masked out.

        Raises:
            TrainingDiverged: a step halted the run.
            TrainingError: it did not when computed again.
        """
        if not self._unread:
            return
        rows = torch.stack([row for _, row in self._unread]).tolist()
        steps = [step for step, _ in self._unread]
        self._unread = []
        for step, row in zip(steps, rows, strict=True):
            verdict = Verdict.read(row)
            if verdict.halted:
                raise explain_halt(verdict, step=step, replay=lambda step=step: replay(step))  # type: ignore[misc]
            self._take(verdict, spool, step=step, validation_loss=validation_loss if step == steps[-1] else None)

    def _take(self, verdict: Verdict, spool: Spool, *, step: int, validation_loss: float | None) -> None:
        scale = self._scale_at(step - 1)
        figures = {
            "step": step,
            "tokens": self._tokens_until(step),
            "train_loss": verdict.loss,
            "validation_loss": validation_loss,
            "gradient_norm": verdict.gradient_norm,
            "learning_rate_scale": scale,
            "skipped": verdict.skipped,
        }
        self.rows.append(figures)
        self._console.loss(
            verdict.loss,
            learning_rate=scale * self._spec.matrix_learning_rate,
            gradient_norm=verdict.gradient_norm,
        )
        if verdict.skipped:
            self._num_skipped += 1
            self._console.note(
                f"step {step}: skipped a spike (loss {verdict.loss:.3f}, gradient norm {verdict.gradient_norm:.3f})"
            )
        is_due = step % self._spec.log_every_steps == 0 or step == self._spec.num_steps
        if is_due or validation_loss is not None:
            self._tell(spool, figures)

    def _tell(self, spool: Spool, figures: dict[str, Any]) -> None:
        rate = self._console.timing()["tokens_per_second"]
        metrics = metrics_of(self._spec, figures, num_skipped=self._num_skipped, tokens_per_second=rate)
        if self._peak is not None:
            metrics["train/mfu"] = rate * self._flops_per_token / self._peak
        state = self._monitor.figures()
        self._console.state(state)
        spool.metrics(figures["step"], metrics | state)

    def add_validation(self, spool: Spool, loss: float) -> None:
        """Of the last step that was read, whose validation an earlier process did not finish."""
        self.rows[-1]["validation_loss"] = loss
        spool.metrics(self.rows[-1]["step"], {"validation/loss": loss})

    def add_start(self, spool: Spool, loss: float) -> None:
        """Of validation, before the first step."""
        self.start_loss = loss
        spool.metrics(0, {"validation/loss": loss})

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, but for the time until now."""
        return {"history": self.rows, "timings": self.timings, "start_loss": self.start_loss}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`, with the time."""
        self.rows, self.start_loss = state["history"], state["start_loss"]
        self.timings = state.get("timings", [])  # a checkpoint of before there were times has none
        self.earlier_seconds = state.get("seconds", 0.0)
        self._num_skipped = sum(row["skipped"] for row in self.rows)
