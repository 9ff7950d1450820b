"""What a run will cost, before it starts: sizes by arithmetic, memory and time by five steps on this machine.

In: a model's settings and what is known of its data. Out: figures, and remarks about what is wrong with them. The probe takes
the steps that training would take, of the same size, on random tokens; nothing is written.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.config import NetworkConfig, TransformerConfig
from pipeline.config.starting import StartSettings
from pipeline.training.beginning import hold
from pipeline.training.data import Batch
from pipeline.training.derive import Derived, derive
from pipeline.training.families import EncoderDecoderShape, Network, Shape, cpu_forward_tokens, network_of
from pipeline.training.guard import SpikeGuard
from pipeline.training.hardware import Hardware, choose_device, choose_hardware, count_processes
from pipeline.training.monitor import memory_bytes
from pipeline.training.optimizer import Optimizer
from pipeline.training.sgd import Sgd
from pipeline.training.spec import EPOCHS_WORTH_READING
from pipeline.training.starting import lora_settings
from pipeline.training.step import train_step
from pipeline.training.warmup import make_ready

PROBE_STEPS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes on the device while training."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    """What a forward pass keeps for its backward pass."""
    process: int
    """What this process held at most, the probe's steps included: of the device's memory, on a CPU with all libraries."""

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A run's cost."""

    num_parameters: int
    flops_per_token: int
    """Of training, forward and backward: 6 per matrix parameter, the head's included, and attention (Chowdhery et al. 2022,
    arXiv 2204.02311, appendix B, with causal attention at half)."""
    num_steps: int
    tokens_per_step: int
    epochs: float | None
    """Over the training tokens; None while these are not known."""
    hardware: Hardware
    memory: Memory
    tokens_per_second: float

    @property
    def tokens(self) -> int:
        return self.num_steps * self.tokens_per_step

    @property
    def flops(self) -> int:
        return self.tokens * self.flops_per_token

    @property
    def seconds(self) -> float:
        """Of the steps alone: validation, checkpoints, compiling, and what several devices exchange come on top."""
        return self.tokens / self.tokens_per_second

    def warnings(self) -> list[str]:
        """What a person should think about before starting."""
        if self.epochs is None or self.epochs <= EPOCHS_WORTH_READING:
            return []
        return [
            f"It reads its data {self.epochs:.1f} times; beyond {EPOCHS_WORTH_READING} repetition gains little. "
            "Lower train.tokens or depth, or bring more text."
        ]


def forecast(
    config: NetworkConfig,
    *,
    vocab_size: int,
    source_vocab_size: int | None = None,
    train_tokens: int | None = None,
    pair_tokens: float | None = None,
    start: Shape | None = None,
) -> Forecast:
    """Derives the run, builds it and takes five steps, of several devices on one, with its share of each; `start` is the shape of
    the weights that it begins with, `pair_tokens` how many tokens a pair of the data has on average, both sides together.

    Raises:
        ConfigurationError: what it asks of the machine is not there.
        ConfigurationError: a size is set to another value than that of `start`, or what is to be frozen is not there.
    """
    run = derive(config, vocab_size=vocab_size, source_vocab_size=source_vocab_size, start=start)
    context = run.shape.context_tokens
    tokens_per_step = run.batch_windows * context
    num_processes = count_processes(config.train.devices, device=choose_device(config.train.device))
    hardware = choose_hardware(
        device=config.train.device,
        precision=config.train.precision,
        compile=config.train.compile if isinstance(config, TransformerConfig) else "off",
        total_flops=float(run.num_steps * tokens_per_step * run.shape.flops_per_token),
        batch_windows=run.batch_windows,
        micro_windows=run.micro_windows,
        context_tokens=context,
        cpu_forward_tokens=cpu_forward_tokens(run.shape),
        num_processes=num_processes,
        strategy=config.train.strategy if num_processes > 1 else "alone",
    )
    hardware, memory, seconds = _probe(config, run, hardware, _batch(run, pair_tokens))
    return Forecast(
        num_parameters=run.shape.num_parameters,
        flops_per_token=run.shape.flops_per_token,
        num_steps=run.num_steps,
        tokens_per_step=tokens_per_step,
        epochs=run.num_steps * tokens_per_step / train_tokens if train_tokens else None,
        hardware=hardware,
        memory=memory,
        tokens_per_second=tokens_per_step / seconds,
    )


def _probe(config: NetworkConfig, run: Derived, hardware: Hardware, batch: Batch) -> tuple[Hardware, Memory, float]:
    """The hardware as it turned out, memory, and the median seconds of a step."""
    threads = torch.get_num_threads()
    torch.set_num_threads(hardware.num_threads)
    network = network_of(run.shape)
    network.initialise(0)
    lora = lora_settings(config)
    hold(network, parts=config.freeze if isinstance(config, StartSettings) else (), lora=lora, seed=0)
    network.compute_dtype = hardware.dtype
    network.to(hardware.device)
    optimizer = _optimizer(config, run, network, hardware.dtype, adapter_rate=lora["learning_rate"] if lora else 0.0)
    batch = batch.rows(0, hardware.num_processes).to(hardware.device)
    loss_of, hardware = make_ready(
        network,
        hardware,
        batch,
        may_halve=run.micro_windows is None,
        may_give_up_compiling=config.train.compile == "auto",
        note=lambda _: None,
    )
    micro_rows = batch.rows_within(hardware.micro_windows * run.shape.context_tokens)
    activations = _kept_bytes(network, batch.part(slice(micro_rows)))
    guard = SpikeGuard(sigma=run.spike_sigma, max_skipped_steps=PROBE_STEPS + 1, device=hardware.device)
    seconds = []
    for _ in range(PROBE_STEPS + 1):
        started = time.perf_counter()
        row = train_step(
            loss_of, network, optimizer, guard, batch,
            micro_rows=micro_rows, scale=1.0, gradient_clip=run.gradient_clip,
        )  # fmt: skip
        row.tolist()  # waits for the device
        seconds.append(time.perf_counter() - started)
    torch.set_num_threads(threads)
    weights = sum(parameter.nbytes for parameter in network.parameters())
    state = sum(tensor.nbytes for tensor in optimizer.state().values())
    gradients = sum(parameter.nbytes for parameter in network.parameters() if parameter.requires_grad)
    parts = hardware.num_processes if hardware.strategy == "fsdp" else 1
    memory = Memory(
        weights=weights // parts,
        gradients=gradients // parts,
        optimizer=state // parts,
        activations=activations,
        process=torch.cuda.max_memory_reserved() if hardware.device == "cuda" else memory_bytes(),
    )
    return hardware, memory, statistics.median(seconds[1:])


def _optimizer(
    config: NetworkConfig, run: Derived, network: Network, dtype: torch.dtype, *, adapter_rate: float
) -> Optimizer | Sgd:
    if config.train.averaged_sgd is not None:
        return Sgd(network, learning_rate=run.matrix_learning_rate, weight_decay=run.weight_decay)
    return Optimizer(
        network,
        matrix_learning_rate=run.matrix_learning_rate,
        embedding_learning_rate=run.embedding_learning_rate,
        head_learning_rate=run.head_learning_rate,
        vector_learning_rate=run.vector_learning_rate,
        weight_decay=run.weight_decay,
        dtype=dtype,
        adapter_learning_rate=adapter_rate,
    )


def _batch(run: Derived, pair_tokens: float | None) -> Batch:
    """Random tokens of a step's size, in rows of a context each, or of a pair: many short rows cost another time than few long
    ones. Both sides of a pair are equally long."""
    shape, generator = run.shape, torch.Generator().manual_seed(0)
    row_tokens = min(shape.context_tokens, max(2, round(pair_tokens or shape.context_tokens)))
    num_rows = run.batch_windows * shape.context_tokens // row_tokens
    if not isinstance(shape, EncoderDecoderShape):
        return Batch.of_windows(torch.randint(shape.vocab_size, (num_rows, row_tokens + 1), generator=generator))
    length = row_tokens // 2
    source = torch.randint(shape.source_vocab_size, (num_rows, length), generator=generator)
    target = torch.randint(shape.vocab_size, (num_rows, length + 1), generator=generator)
    return Batch.of((source, torch.full((num_rows,), length), target[:, :-1]), target[:, 1:])


def _kept_bytes(network: Network, batch: Batch) -> int:
    """What autograd keeps of one uncompiled forward pass; a compiled one keeps less."""
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = network(*batch.inputs, batch.targets)
    del loss
    return sum(kept.values())
