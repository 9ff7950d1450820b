"""`python -m pipeline.training <spec.json>`. Exit codes: 0 trained, 2 bad spec or usage, 3 stopped as asked with a checkpoint
saved, 4 diverged (running again would repeat it), 5 another error that can be mended; anything else is a crash.

With several devices this process starts one for each, of which each finds its rank in its environment; under torchrun, as
`torchrun --nproc-per-node 8 -m pipeline.training <spec.json>`, it is one of those.
"""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path

from pipeline.environment import keep_memory, wait_considerately
from pipeline.errors import ConfigurationError, TextmillError, TrainingDiverged, TrainingInterrupted
from pipeline.training.console import dagster_pipes
from pipeline.training.spec import TrainingSpec
from pipeline.training.stopping import INTERRUPTED, LOST_CONTACT, StopRequest, write_last_words
from pipeline.training.torchrun import RUN_ID, is_worker, run_processes

OK, BAD_SPEC, DIVERGED, FAILED = 0, 2, 4, 5


def main(arguments: list[str]) -> int:
    """Trains as the spec says and returns the exit code; errors are one sentence on standard error."""
    if len(arguments) != 1:
        print("usage: python -m pipeline.training <spec.json>", file=sys.stderr)
        return BAD_SPEC
    stop = StopRequest()
    stop.install()
    warnings.filterwarnings("ignore", module=r"torch\.")
    wait_considerately(os.environ)
    keep_memory()
    try:
        return _train(Path(arguments[0]), stop)
    except TextmillError as error:
        codes = {ConfigurationError: BAD_SPEC, TrainingInterrupted: INTERRUPTED, TrainingDiverged: DIVERGED}
        code = codes.get(type(error), FAILED)
        if not (is_worker() and os.environ.get("TORCHELASTIC_RUN_ID") == RUN_ID):  # which is said once for all
            print(error, file=sys.stderr, flush=True)
        with suppress(OSError):  # a full disk is what the sentence may be about
            write_last_words(Path(arguments[0]), code=code, sentence=str(error))
        return code


def _train(spec_path: Path, stop: StopRequest) -> int:
    from pipeline.training.distributed import (
        is_lost_contact,
        ranks_of,
    )  # torch is slow to import: signals are caught before
    from pipeline.training.hardware import choose_device, count_processes
    from pipeline.training.trainer import Trainer

    spec = TrainingSpec.read(spec_path)
    device = choose_device(spec.device)
    if not is_worker():
        num_processes = count_processes(spec.devices, device=device)
        if num_processes > 1:
            return run_processes(spec_path, num_processes=num_processes, stop=stop)
    try:
        with ranks_of(spec.strategy, device) as ranks, dagster_pipes(is_wanted=ranks.is_first) as pipes:
            Trainer(spec, stop, pipes, ranks).run()
    except RuntimeError as error:
        if not is_lost_contact(error):
            raise
        os._exit(LOST_CONTACT)  # at once: taking connections down would wait for who is gone
    return OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
