"""The processes that train one model together, one a device: who does what, and what they tell each other.

Each takes its rows of every batch. Gradients are added up before the update, so that a step is the step of one process with
the whole batch, but for the order of sums. What judges a step, and a request to stop, is the same for all of them.

| strategy | weights, gradients, optimizer state | a step exchanges |
|---|---|---|
| `ddp` (Li et al. 2020, arXiv 2006.15704) | whole in every process | gradients, and Muon's updates, each computed once |
| `fsdp` (Zhao et al. 2023, arXiv 2304.11277) | divided by rows | weights before use, gradients after, Muon's momenta both ways |

Muon needs whole matrices: their Newton-Schulz iterations, stacked by shape, are divided among the processes. The processes
come from torchrun, or from `python -m pipeline.training` with `devices` above one, which is the same (see `torchrun.py`).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.models.seq2seq_transformer.network import EncoderLayer
from pipeline.models.transformer.network import Layer
from pipeline.training.data import Batch
from pipeline.training.families import Network

if TYPE_CHECKING:
    from jaxtyping import Float

SILENT_SECONDS = 300.0
"""A process that waits this long for another one gives up: none computes, validates or saves that long without a word."""

_LAYERS = (Layer, EncoderLayer)
"""What is gathered by itself: parts whose weights nothing but their own forward pass reads. All else is gathered as one."""

Orthogonalise = Callable[[Tensor, torch.dtype], Tensor]
"""Stacked matrices (S, R, C) to their updates."""


class Alone:
    """One process: everything is its own. The other strategies override what takes more than one."""

    rank, size = 0, 1
    strategy = "alone"
    is_sharded = False

    @property
    def is_first(self) -> bool:
        """Whether this process reports and saves."""
        return self.rank == 0

    def place(self, network: Network, device: str) -> None:
        """Brings an initialised network to its device, or this process's part of it."""
        network.to(device)

    def connected(self, loss_of: Callable[..., Tensor], network: Network) -> Callable[..., Tensor]:
        """The loss function whose backward pass adds the gradients of all processes up."""
        return loss_of

    def backward_pass(self, *, is_last: bool) -> AbstractContextManager[None]:
        """Around a forward and backward pass; gradients are exchanged in a step's last."""
        return nullcontext()

    def micro_batches(self, batch: Batch, rows: int) -> Iterator[tuple[Batch, float]]:
        """This process's rows of a step's batch, by at most so many, each with its share of the loss; as many in each process.

        `batch` is the whole of it: its order does not depend on how many share it.
        """
        own = batch.rows(self.rank, self.size)
        micros = list(own.split(rows, num_targets=batch.num_targets))
        most = -(-batch.num_rows // self.size)
        idle = -(-most // rows) - len(micros)  # who has a row less may be done sooner, and takes part with a share of 0
        yield from micros
        yield from [(batch.part(slice(1)), 0.0)] * idle

    def own(self, tensor: Tensor) -> Tensor:
        """The part of a parameter, or of its gradient, that this process holds and updates; shares its memory."""
        return tensor

    def total_norm(self, gradients: Sequence[Tensor]) -> Float[Tensor, ""]:
        """Of all gradients, given those this process holds."""
        return torch.nn.utils.get_total_norm(gradients)

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes; the same bits in each."""
        return value

    def orthogonalised(
        self,
        matrices: Float[Tensor, "stack own_rows columns"],
        dtype: torch.dtype,
        *,
        num_rows: int,
        orthogonalise: Orthogonalise,
    ) -> Float[Tensor, "stack own_rows columns"]:
        """The updates of stacked matrices of `num_rows` rows, of which each process holds what `own` gives it."""
        return orthogonalise(matrices, dtype)

    def settle(self) -> None:
        """After forward passes without a backward pass: gives back what only they needed."""

    def whole(self, network: Network, new: Callable[[], Network]) -> Network:
        """The network with whole weights, to be saved; in the first process, the others return what they have. `new` makes one
        of the same parameters."""
        return network

    def is_part(self, key: str, tensor: Tensor | None = None) -> bool:
        """Whether a tensor of the training state, by its name there, is divided by rows among the processes."""
        return False

    def rows(self, num_rows: int) -> slice:
        """Which rows of a tensor that is divided this process holds."""
        return slice(0, num_rows)

    def agreed(self, reason: str | None) -> str | None:
        """Why to stop, if any process has a reason; all get an answer at the same call."""
        return reason

    def from_first(self, number: int) -> int:
        """What the first process passes, in all of them."""
        return number

    def smallest(self, number: int) -> int:
        """The smallest of what the processes pass."""
        return number

    def gathered(self, data: bytes) -> list[bytes]:
        """What each process passes, all of one length, by rank."""
        return [data]

    def wait(self) -> None:
        """Until every process is here."""


ALONE = Alone()


_REASON_BYTES = 64
"""What is gathered has one length; the longest reason to stop has 33 bytes."""


class _Together(Alone):
    """What both strategies share. Messages between hosts travel by gloo, tensors of a GPU by NCCL."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def agreed(self, reason: str | None) -> str | None:
        if not self._reduced(reason is not None, dist.ReduceOp.MAX):
            return None
        reasons = [said.decode().rstrip() for said in self.gathered((reason or "").encode().ljust(_REASON_BYTES))]
        return next(filter(None, reasons))

    def from_first(self, number: int) -> int:
        message = torch.tensor([number], dtype=torch.int64)
        dist.broadcast(message, 0)
        return int(message)

    def smallest(self, number: int) -> int:
        return self._reduced(number, dist.ReduceOp.MIN)

    def gathered(self, data: bytes) -> list[bytes]:
        message = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        found = [torch.empty_like(message) for _ in range(self.size)]
        dist.all_gather(found, message)
        return [bytes(one.tolist()) for one in found]

    def total(self, value: Tensor) -> Tensor:
        dist.all_reduce(value)
        return value

    def wait(self) -> None:
        self._reduced(0, dist.ReduceOp.MAX)

    def _reduced(self, number: int, operation: Any) -> int:
        message = torch.tensor([int(number)], dtype=torch.int64)
        dist.all_reduce(message, operation)
        return int(message)


class Replicated(_Together):
    """DistributedDataParallel: every process holds the whole model and makes the same update."""

    strategy = "ddp"

    def connected(self, loss_of: Callable[..., Tensor], network: Network) -> Callable[..., Tensor]:
        # the loss is one compiled program: there is nothing to split it for
        torch._dynamo.config.optimize_ddp = False
        with warnings.catch_warnings():  # the last argument has another name in some releases
            warnings.simplefilter("ignore", FutureWarning)
            self._model = nn.parallel.DistributedDataParallel(
                _Loss(network, loss_of), gradient_as_bucket_view=True, broadcast_buffers=False
            )
        self._model.register_comm_hook(None, lambda _, bucket: _sum(bucket))
        return self._model

    def backward_pass(self, *, is_last: bool) -> AbstractContextManager[None]:
        return nullcontext() if is_last else self._model.no_sync()

    def total_norm(self, gradients: Sequence[Tensor]) -> Float[Tensor, ""]:
        norm = torch.nn.utils.get_total_norm(gradients)
        dist.broadcast(norm, 0)  # sums of equal numbers may differ between kinds of GPU, verdicts may not
        return norm

    def orthogonalised(
        self,
        matrices: Float[Tensor, "stack own_rows columns"],
        dtype: torch.dtype,
        *,
        num_rows: int,
        orthogonalise: Orthogonalise,
    ) -> Float[Tensor, "stack own_rows columns"]:
        """Each process computes some of them; with equal gradients and momenta all end with the same bits."""
        stack, share = len(matrices), -(-len(matrices) // self.size)
        updates = matrices.new_zeros(share * self.size, *matrices.shape[1:])
        mine = matrices[self.rank * share : (self.rank + 1) * share]
        part = updates.new_zeros(share, *matrices.shape[1:])
        if len(mine):
            part[: len(mine)] = orthogonalise(mine, dtype)
        dist.all_gather(list(updates.chunk(self.size)), part)
        return updates[:stack]


class Sharded(_Together):
    """FSDP2: each process holds and updates a run of rows of every parameter; whole layers exist while they compute."""

    strategy = "fsdp"
    is_sharded = True

    def place(self, network: Network, device: str) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        mesh = init_device_mesh(device, (self.size,))
        for layer in list(network.modules()):
            if isinstance(layer, _LAYERS):
                fully_shard(layer, mesh=mesh)
        fully_shard(network, mesh=mesh)
        for module in network.modules():
            if isinstance(module, FSDPModule):  # shares of a mean are added up, not averaged
                module.set_force_sum_reduction_for_comms(True)
                module.set_gradient_divide_factor(1.0)
        self._network, self._parameters = network, dict(network.named_parameters())

    def own(self, tensor: Tensor) -> Tensor:
        with torch.no_grad():
            part: Tensor = tensor.to_local()  # type: ignore[attr-defined]
        return part

    def total_norm(self, gradients: Sequence[Tensor]) -> Float[Tensor, ""]:
        squared = self.total(torch.nn.utils.get_total_norm(gradients).double().square())
        return squared.sqrt().float()

    def orthogonalised(
        self,
        matrices: Float[Tensor, "stack own_rows columns"],
        dtype: torch.dtype,
        *,
        num_rows: int,
        orthogonalise: Orthogonalise,
    ) -> Float[Tensor, "stack own_rows columns"]:
        """Some rows of all matrices become all rows of some, and back: two exchanges of what one process holds."""
        stack, own_rows, columns = matrices.shape
        counts = [len(range(stack)[self._part(stack, rank)]) for rank in range(self.size)]
        rows = [len(range(num_rows)[self._part(num_rows, rank)]) for rank in range(self.size)]
        whole = matrices.new_empty(counts[self.rank] * num_rows * columns)
        there = [counts[self.rank] * some * columns for some in rows]
        back = [some * own_rows * columns for some in counts]
        dist.all_to_all_single(whole, matrices.contiguous().flatten(), there, back)
        pieces = [
            piece.view(counts[self.rank], some, columns)
            for piece, some in zip(torch.split(whole, there), rows, strict=True)
        ]
        updates = torch.cat(pieces, dim=1)
        if len(updates):
            updates = orthogonalise(updates, dtype)
        whole = torch.cat([piece.flatten() for piece in torch.split(updates, rows, dim=1)])
        mine = torch.empty_like(matrices).flatten()
        dist.all_to_all_single(mine, whole, back, there)
        return mine.view_as(matrices)

    def settle(self) -> None:
        self._network.reshard()  # type: ignore[operator]

    def whole(self, network: Network, new: Callable[[], Network]) -> Network:
        copy = new() if self.is_first else None
        for name, parameter in self._parameters.items():
            tensor = parameter.detach().full_tensor()  # type: ignore[attr-defined]
            if copy is not None:
                copy.get_parameter(name).data.copy_(tensor)
        return copy if copy is not None else network

    def is_part(self, key: str, tensor: Tensor | None = None) -> bool:
        # a parameter's name, or one that says before it what is kept of the parameter, which may be a count of steps
        return (tensor is None or tensor.ndim > 0) and bool({key, key.partition(".")[2]} & self._parameters.keys())

    def rows(self, num_rows: int) -> slice:
        return self._part(num_rows, self.rank)

    def _part(self, total: int, rank: int) -> slice:
        """As `torch.chunk` divides: equal parts, the last ones smaller or empty."""
        share = -(-total // self.size)
        return slice(min(rank * share, total), min((rank + 1) * share, total))


class _Loss(nn.Module):
    """A loss function and the network it computes with, as the one module that DistributedDataParallel takes."""

    def __init__(self, network: nn.Module, loss_of: Callable[..., Tensor]) -> None:
        super().__init__()
        self.network, self.loss_of = network, loss_of

    def forward(self, *inputs: Any) -> Tensor:
        return self.loss_of(*inputs)


def _sum(bucket: Any) -> torch.futures.Future[Tensor]:
    """Adds gradients up where DistributedDataParallel would average: they are those of shares of one mean."""
    done = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
    summed: torch.futures.Future[Tensor] = done.then(lambda future: future.value()[0])
    return summed


@contextmanager
def ranks_of(strategy: str, device: str) -> Iterator[Alone]:
    """This process among those that torchrun started, or alone; `device` is `cpu` or `cuda`."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", timeout=timedelta(seconds=SILENT_SECONDS)
    )
    kind = {"ddp": Replicated, "fsdp": Sharded}[strategy]
    yield kind(dist.get_rank(), size)
    dist.destroy_process_group()  # after an error this would wait for processes that are gone


def is_lost_contact(error: BaseException) -> bool:
    """Whether an error says no more than that another process is gone or silent."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and ("gloo" in str(error) or "NCCL" in str(error))
