"""What a step learns from: batches of tensors by step, the same for every kind of data and every family of networks.

In: token shards. Out: a `Batch` for every step, and those of validation, as pure functions: nothing but the step's number
decides, so that resuming needs no state. A network is called `network(*inputs, targets)` and gives the mean loss over the
targets that count. Micro-batches weigh in by how many of those they hold, so that padding and prompts change no mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import TrainingError
from pipeline.shards.loader import TokenLoader
from pipeline.shards.pair_batches import IGNORED
from pipeline.tokenizer.model import Tokenizer
from pipeline.training.batch_size import BatchSizes
from pipeline.training.documents import PackedRows, document_starts
from pipeline.training.spec import TrainingSpec

if TYPE_CHECKING:
    from jaxtyping import Int

VALIDATION_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows to learn from."""

    inputs: tuple[Tensor, ...]
    """What the network reads; all begin with the dimension of the rows."""
    targets: Int[Tensor, "rows seq"]
    """`IGNORED` where nothing is predicted; every row has at least one target."""
    targets_of_row: np.ndarray[Any, Any]
    """int64 (rows,): on the host, so that nobody waits for the device to count."""

    @classmethod
    def of(cls, inputs: tuple[Tensor, ...], targets: Int[Tensor, "rows seq"]) -> Batch:
        """Counts the targets, which must lie on the host."""
        return cls(inputs=inputs, targets=targets, targets_of_row=(targets != IGNORED).sum(1).numpy())

    @classmethod
    def of_windows(cls, windows: Int[Tensor, "rows seq_and_one"]) -> Batch:
        """Every token predicted from those before it; inputs and targets are views of the windows."""
        num_rows, length = windows.shape
        counts = np.full(num_rows, length - 1, dtype=np.int64)
        return cls(inputs=(windows[:, :-1],), targets=windows[:, 1:], targets_of_row=counts)

    @property
    def num_rows(self) -> int:
        return self.targets.shape[0]

    @property
    def num_targets(self) -> int:
        return int(self.targets_of_row.sum())

    @property
    def tokens_per_row(self) -> int:
        """Of the longest tensor, padding included: what a row costs."""
        return max(tensor.shape[1] for tensor in (*self.inputs, self.targets) if tensor.ndim > 1)

    def rows_within(self, num_tokens: int) -> int:
        """How many rows at most have so many tokens, and one at least."""
        return max(1, num_tokens // self.tokens_per_row)

    def part(self, rows: slice) -> Batch:
        """Some of the rows, as views."""
        return replace(
            self,
            inputs=tuple(tensor[rows] for tensor in self.inputs),
            targets=self.targets[rows],
            targets_of_row=self.targets_of_row[rows],
        )

    def rows(self, rank: int, world: int) -> Batch:
        """The part of one of `world` processes: rows rank, rank + world, ..."""
        return self.part(slice(rank, None, world))

    def split(self, rows: int, *, num_targets: int | None = None) -> Iterator[tuple[Batch, float]]:
        """Micro-batches of at most so many rows, each with its share of the loss: the part of the targets it holds.

        `num_targets` is the whole that shares are taken of, where this batch is one process's part of a larger one.
        """
        whole = num_targets or self.num_targets
        for start in range(0, self.num_rows, rows):
            micro = self.part(slice(start, start + rows))
            yield micro, micro.num_targets / whole

    def to(self, device: str) -> Batch:
        """On the device, copied while the host goes on; views of one tensor travel as that one."""
        if device == "cpu":
            return self

        def send(tensor: Tensor) -> Tensor:
            return (tensor.pin_memory() if device.startswith("cuda") else tensor).to(device, non_blocking=True)

        return self.sent(send)

    def sent(self, send: Callable[[Tensor], Tensor]) -> Batch:
        """With each tensor as `send` gives it, or as a view of what it gives for the tensor that several are views of."""
        done: dict[int, Tensor] = {}

        def once(tensor: Tensor) -> Tensor:
            if id(tensor) not in done:
                done[id(tensor)] = send(tensor)
            return done[id(tensor)]

        def move(tensor: Tensor) -> Tensor:
            base = tensor._base
            if base is None or not base.is_contiguous():  # a copy of another layout has other strides
                return once(tensor)
            return once(base).as_strided(tensor.size(), tensor.stride(), tensor.storage_offset())

        return replace(self, inputs=tuple(move(tensor) for tensor in self.inputs), targets=move(self.targets))


class TrainingData(Protocol):
    """Where batches come from."""

    @property
    def tokens_per_step(self) -> int:
        """On average."""

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must share with the run."""

    @property
    def token_ids(self) -> dict[str, Any]:
        """What a trained model keeps of its tokens: the tokenizer's hash and special ids."""

    @property
    def opening(self) -> list[int]:
        """The token ids that a sample text goes on from."""

    @property
    def remarks(self) -> list[str]:
        """What a person should know of text that is not read."""

    def tokens(self, num_steps: int) -> int:
        """Places that so many steps read."""

    def batch(self, step: int) -> Batch:
        """Of a step, counted from 0; on the host."""

    def validation(self) -> Iterator[Batch]:
        """The same batches each time, on the host."""

    def epochs(self, num_steps: int) -> float:
        """How often so many steps read everything."""


class WindowData:
    """Rows of one length: windows of a stream of tokens, or documents packed into them."""

    def __init__(self, spec: TrainingSpec, *, context_tokens: int) -> None:
        """Opens the splits.

        Raises:
            TrainingError: a split is smaller than a window, or the tokenizer is not the shards' own.
        """
        folder = Path(spec.shards_folder)
        self._loader = TokenLoader(folder, split="train", context_tokens=context_tokens, seed=spec.seed)
        self._validation = TokenLoader(folder, split="validation", context_tokens=context_tokens, seed=VALIDATION_SEED)
        self._by_document, self._context = spec.attend == "document", context_tokens
        self._sizes = BatchSizes(rows=spec.batch_windows, warmup_steps=spec.batch_warmup_steps)
        self._num_steps = spec.num_steps
        self._packed: PackedRows | None = None
        if spec.packing == "best_fit":
            self._packed = PackedRows(folder, split="train", context_tokens=context_tokens, seed=spec.seed)
        self._validation_windows = min(spec.validation_windows, self._validation.num_windows)
        check_tokenizer(spec, self._loader.shards.tokenizer_hash)

    @property
    def tokens_per_step(self) -> int:
        return self.tokens(self._num_steps) // self._num_steps

    @property
    def identity(self) -> dict[str, Any]:
        shards = self._loader.shards
        return {
            "tokenizer_hash": shards.tokenizer_hash,
            "train_tokens": shards.num_tokens("train"),
            "validation_tokens": shards.num_tokens("validation"),
        }

    @property
    def token_ids(self) -> dict[str, Any]:
        shards = self._loader.shards
        return {name: getattr(shards, name) for name in ("tokenizer_hash", "bos_id", "eos_id", "pad_id")}

    @property
    def opening(self) -> list[int]:
        return [self.token_ids["bos_id"]]

    @property
    def remarks(self) -> list[str]:
        return []

    def tokens(self, num_steps: int) -> int:
        return self._sizes.before(num_steps) * self._context

    def batch(self, step: int) -> Batch:
        first, count = self._sizes.before(step), self._sizes.of(step)
        if self._packed is not None:
            token_ids, targets, starts = map(torch.from_numpy, self._packed.rows(first, count, ignored=IGNORED))
            return Batch.of((token_ids, starts) if self._by_document else (token_ids,), targets)
        return self._windows(self._loader.batch(first, count))

    def validation(self) -> Iterator[Batch]:
        yield self._windows(self._validation.batch(0, self._validation_windows))

    def epochs(self, num_steps: int) -> float:
        rows = self._loader.num_windows if self._packed is None else self._packed.num_rows
        return self._sizes.before(num_steps) / rows

    def _windows(self, windows: np.ndarray) -> Batch:
        batch = Batch.of_windows(torch.from_numpy(windows))
        if not self._by_document:
            return batch
        starts = torch.from_numpy(document_starts(windows[:, :-1], bos_id=self._loader.shards.bos_id))
        return replace(batch, inputs=(*batch.inputs, starts))


def check_tokenizer(spec: TrainingSpec, expected: str, *, file: str | None = None) -> None:
    """Raises TrainingError where the tokenizer in `file`, or else the spec's, has not the hash `expected`."""
    found = Tokenizer.load(Path(file or spec.tokenizer_file)).hash
    if found != expected:
        raise TrainingError(
            f"{spec.name}: the tokenizer has the hash {found[:12]}, its shards were made with {expected[:12]}. Build "
            "the shards again with this tokenizer."
        )
