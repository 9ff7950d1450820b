"""What litdata and mosaicml-streaming do in load.py: the same tokens in their own formats, read through their own loaders.

    PYTHON benchmarks/load_peers.py prepare|read litdata|streaming TOKENS FOLDER --context N --batch N --seconds S

Runs in an environment of its own (see load.py) and imports nothing of Textmill. `read` prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

SEED = 0
Rows = Any


def rows_of(tokens: Path, context: int) -> np.ndarray:
    """The stream as rows of context + 1, each beginning with the last token of the one before."""
    stream = np.load(tokens, mmap_mode="r")
    return np.lib.stride_tricks.sliding_window_view(stream, context + 1)[::context]


def litdata_row(row: np.ndarray) -> np.ndarray:
    """What litdata stores of a row."""
    return np.asarray(row)


def prepare_litdata(tokens: Path, folder: Path, context: int) -> None:
    """One item a row, in chunks of 64 MB."""
    import litdata

    rows = rows_of(tokens, context)
    litdata.optimize(
        fn=litdata_row, inputs=list(rows), output_dir=str(folder), chunk_bytes="64MB", num_workers=1, mode="overwrite"
    )


def prepare_streaming(tokens: Path, folder: Path, context: int) -> None:
    """One sample a row, uncompressed."""
    from streaming import MDSWriter

    with MDSWriter(out=str(folder), columns={"tokens": f"ndarray:uint16:{context + 1}"}, exist_ok=True) as writer:
        for row in rows_of(tokens, context):
            writer.write({"tokens": np.ascontiguousarray(row)})


def read_litdata(folder: Path, batch: int, num_workers: int) -> Iterator[int]:
    """Shuffled, in batches; yields how many tokens came."""
    from litdata import StreamingDataLoader, StreamingDataset

    dataset = StreamingDataset(str(folder), shuffle=True, seed=SEED, drop_last=True)
    while True:
        for items in StreamingDataLoader(dataset, batch_size=batch, num_workers=num_workers):
            yield items.numel()


def read_streaming(folder: Path, batch: int, num_workers: int) -> Iterator[int]:
    """Shuffled, in batches; yields how many tokens came."""
    from streaming import StreamingDataset
    from torch.utils.data import DataLoader

    dataset = StreamingDataset(local=str(folder), shuffle=True, shuffle_seed=SEED, batch_size=batch)
    while True:
        for items in DataLoader(dataset, batch_size=batch, num_workers=num_workers):
            yield items["tokens"].numel()


PREPARE = {"litdata": prepare_litdata, "streaming": prepare_streaming}
READ = {"litdata": read_litdata, "streaming": read_streaming}
PACKAGES = {"litdata": "litdata", "streaming": "mosaicml-streaming"}


def main() -> None:
    """Prepares, or reads for so many seconds after one batch that does not count."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("prepare", "read"))
    parser.add_argument("peer", choices=tuple(READ))
    parser.add_argument("tokens", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True, help="rows")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    if options.what == "prepare":
        PREPARE[options.peer](options.tokens, options.folder, options.context)
        return
    batches = READ[options.peer](options.folder, options.batch, options.workers)
    next(batches)
    total, started = 0, time.perf_counter()
    while time.perf_counter() - started < options.seconds:
        total += next(batches)
    rate = total / (time.perf_counter() - started)
    print(json.dumps({"tokens_per_second": rate, "version": version(PACKAGES[options.peer])}))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
