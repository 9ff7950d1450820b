"""The losses of a hundred steps, as they were when somebody last looked at them and found them right.

    python tests/training/golden.py        writes golden_losses.json beside this

Write it anew when a change is meant to change what is learned, and say so in its commit; the test fails when one does without
being meant to. One thread, float32, no compiler.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import torch  # noqa: E402
from tiny_run import spec_of, write_tiny_data  # noqa: E402

from pipeline.models.recurrent.shape import derive_recurrent_shape  # noqa: E402
from pipeline.training.stopping import StopRequest  # noqa: E402
from pipeline.training.trainer import Trainer  # noqa: E402

FILE = Path(__file__).with_name("golden_losses.json")
FAMILIES = ("transformer", "lstm")
NUM_STEPS = 100


def losses(family: str, data: Path, folder: Path) -> dict[str, list[float]]:
    """The training loss of every step and each validation loss of a tiny run."""
    settings = {"num_steps": NUM_STEPS, "checkpoint_every_steps": None, "validate_every_steps": 25}
    if family != "transformer":
        vocab_size = json.loads((data / "shards.json").read_text())["vocab_size"]
        shape = derive_recurrent_shape(cell=family, vocab_size=vocab_size, context_tokens=32, depth=1, width=32)
        settings |= {"family": family, "shape": asdict(shape)}
    before = torch.get_num_threads()
    trainer = Trainer(spec_of(data, folder, **settings), StopRequest())
    torch.set_num_threads(1)
    trainer.run()
    torch.set_num_threads(before)
    history = [json.loads(line) for line in (folder / "output" / "history.jsonl").read_text().splitlines()]
    validated = [row["validation_loss"] for row in history if row["validation_loss"] is not None]
    return {"train": [row["train_loss"] for row in history], "validation": validated}


def main() -> None:
    """Writes the file."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        write_tiny_data(data)
        found = {family: losses(family, data, Path(folder) / family) for family in FAMILIES}
    rounded = {
        family: {name: [round(loss, 6) for loss in series] for name, series in kinds.items()}
        for family, kinds in found.items()
    }
    FILE.write_text(json.dumps(rounded, indent=1) + "\n")


if __name__ == "__main__":
    main()
