"""`python -m pipeline.training <spec.json>`. Exit codes: 0 trained, 2 bad spec or usage, 3 stopped as asked with a checkpoint
saved, 4 diverged (running again would repeat it), 5 another error that can be mended; anything else is a crash."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path

from pipeline.errors import ConfigurationError, TextmillError, TrainingDiverged, TrainingInterrupted
from pipeline.training.console import dagster_pipes
from pipeline.training.spec import TrainingSpec
from pipeline.training.stopping import INTERRUPTED, LAST_WORDS, StopRequest

OK, BAD_SPEC, DIVERGED, FAILED = 0, 2, 4, 5


def main(arguments: list[str]) -> int:
    """Trains as the spec says and returns the exit code; errors are one sentence on standard error."""
    if len(arguments) != 1:
        print("usage: python -m pipeline.training <spec.json>", file=sys.stderr)
        return BAD_SPEC
    stop = StopRequest()
    stop.install()
    warnings.filterwarnings("ignore", module=r"torch\.")
    # threads that wait for each other by spinning make a busy machine up to 45 times slower; read when torch is loaded
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from pipeline.training.trainer import Trainer  # torch is slow to import: signals are caught before

    try:
        with dagster_pipes() as pipes:
            Trainer(TrainingSpec.read(Path(arguments[0])), stop, pipes).run()
    except TextmillError as error:
        print(error, file=sys.stderr, flush=True)
        with suppress(OSError):  # a full disk is what the sentence may be about
            Path(arguments[0]).with_name(LAST_WORDS).write_text(str(error))
        codes = {ConfigurationError: BAD_SPEC, TrainingInterrupted: INTERRUPTED, TrainingDiverged: DIVERGED}
        return codes.get(type(error), FAILED)
    return OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
