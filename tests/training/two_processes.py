"""What one of two processes does; run by torchrun with the folders of the data and of the runs.

Every run here is stopped once by the second process alone, and goes on in the same processes.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from pair_run import pair_spec
from tiny_run import averaged, lstm, odd, spec_of

from pipeline.errors import TrainingInterrupted
from pipeline.training.distributed import Alone, Replicated, Sharded, ranks_of
from pipeline.training.stopping import StopRequest
from pipeline.training.trainer import Trainer


class Stop(StopRequest):
    """Asked at a step, in the second process."""

    def __init__(self, at: int, ranks: Alone) -> None:
        super().__init__()
        self.at, self.ranks = at, ranks

    @property
    def reason(self) -> str | None:
        return "was told" if self.ranks.rank == 1 and self.trainer._step >= self.at else None


def stopped_at(step: int, spec: Any, ranks: Alone) -> None:
    stop = Stop(step, ranks)
    stop.trainer = Trainer(spec, stop, ranks=ranks)  # type: ignore[attr-defined]
    try:
        stop.trainer.run()  # type: ignore[attr-defined]
    except TrainingInterrupted as interrupted:
        assert f"stopped at step {step} of 12" in str(interrupted), interrupted
    else:
        raise AssertionError(f"process {ranks.rank} went on")


def finished(spec: Any, ranks: Alone) -> None:
    Trainer(spec, StopRequest(), ranks=ranks).run()


def main(data: Path, pairs: Path, runs: Path) -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    with ranks_of("ddp", "cpu") as first:
        for kind in (Replicated, Sharded):
            ranks = kind(first.rank, first.size)
            name = ranks.strategy
            stopped_at(5, spec_of(data, runs / name, **odd(data)), ranks)
            if ranks.is_sharded and ranks.is_first:
                newest = runs / name / "checkpoints" / "step-00000005" / "optimizer-00002-of-00002.safetensors"
                damaged = bytearray(newest.read_bytes())
                damaged[-1] ^= 1
                newest.write_bytes(bytes(damaged))
            ranks.wait()
            finished(spec_of(data, runs / name, **odd(data)), ranks)
            stopped_at(8, spec_of(data, runs / f"began_alone_{name}"), ranks)
            finished(spec_of(data, runs / f"lstm_{name}", **lstm(data)), ranks)
            finished(spec_of(data, runs / f"averaged_{name}", **averaged(data, learning_rate=20.0)), ranks)
            for family in ("seq2seq_transformer", "seq2seq_rnn"):
                finished(pair_spec(data, pairs, runs / f"{family}_{name}", family=family, num_steps=6), ranks)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
