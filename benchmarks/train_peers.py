"""Who takes part in train.py and learn.py: our step, Hugging Face's Qwen3, and nanoGPT's model and recipe.

Ours is put together from the trainer's own parts. The others are loops as their users write them: forward, backward, clip,
fused AdamW, zero_grad.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.transformer.shape import TransformerShape
from pipeline.training.data import Batch
from pipeline.training.families import network_of
from pipeline.training.guard import SpikeGuard
from pipeline.training.hardware import Hardware
from pipeline.training.optimizer import Optimizer
from pipeline.training.step import LossFunction, train_step
from pipeline.training.warmup import make_ready

if TYPE_CHECKING:  # it needs pydantic, which a bare machine with a GPU lacks
    from pipeline.training.derive import Derived

MODES = ("eager float32", "bfloat16 autocast", "bfloat16 autocast, compiled")
LEARNING_RATE, WEIGHT_DECAY, BETAS = 6e-4, 0.1, (0.9, 0.95)
"""nanoGPT's for its smallest model."""


class OurLoop:
    """The trainer's step with the rates that it derives, on the machine as it chooses to use it."""

    def __init__(
        self, run: Derived, hardware: Hardware, windows: Tensor, *, weight_decay: float, seed: int = 0
    ) -> None:
        """`windows` (B, T + 1) are one step's, to compile for."""
        self.network = network_of(run.shape)
        self.network.initialise(seed)
        self.network.compute_dtype = hardware.dtype
        self.network.to(hardware.device)
        self._optimizer = Optimizer(
            self.network,
            matrix_learning_rate=run.matrix_learning_rate,
            embedding_learning_rate=run.embedding_learning_rate,
            head_learning_rate=run.head_learning_rate,
            vector_learning_rate=run.vector_learning_rate,
            weight_decay=weight_decay,
            dtype=hardware.dtype,
        )
        self._guard = SpikeGuard(sigma=6.0, max_skipped_steps=20, device=hardware.device)
        self._loss_of, self.hardware = make_ready(
            self.network, hardware, Batch.of_windows(windows), may_halve=True, may_give_up_compiling=True, note=print
        )

    def step(self, windows: Tensor, *, scale: float = 1.0) -> Tensor:
        """One update; returns its loss, on the device."""
        row = train_step(
            self._loss_of,
            self.network,
            self._optimizer,
            self._guard,
            Batch.of_windows(windows),
            micro_rows=self.hardware.micro_windows,
            scale=scale,
            gradient_clip=1.0,
        )
        return row[0]


class PlainLoop:
    """nanoGPT's recipe: AdamW with decay on matrices only, norm clipped to 1, cosine to a tenth after a linear warm-up."""

    def __init__(self, network: nn.Module, loss_of: LossFunction, *, mode: str, learning_rate: float) -> None:
        self._parameters = list(network.parameters())
        self._rate = learning_rate
        decayed = [parameter for parameter in self._parameters if parameter.ndim >= 2]
        others = [parameter for parameter in self._parameters if parameter.ndim < 2]
        groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
        self._adam = torch.optim.AdamW(groups, lr=learning_rate, betas=BETAS, fused=True)
        self._loss_of = torch.compile(loss_of, dynamic=False) if mode.endswith("compiled") else loss_of
        self._autocast = mode.startswith("bfloat16")

    def step(self, windows: Tensor, *, micro_windows: int, scale: float = 1.0) -> Tensor:
        """One update by the mean loss of windows (B, T + 1); returns that loss."""
        for group in self._adam.param_groups:
            group["lr"] = self._rate * scale
        total = torch.zeros((), device=windows.device)
        for micro in torch.split(windows, micro_windows):
            with torch.autocast(windows.device.type, dtype=torch.bfloat16, enabled=self._autocast):
                loss = self._loss_of(micro[:, :-1].contiguous(), micro[:, 1:].contiguous())
            share = loss * (len(micro) / len(windows))
            torch.autograd.backward(share)
            total += share.detach()
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        return total


def cosine_scale(step: int, *, num_steps: int, warmup_fraction: float = 0.05, floor: float = 0.1) -> float:
    """The learning rate's factor at a step, counted from 0: linear to 1, then a cosine to `floor`."""
    warmup = max(1, round(num_steps * warmup_fraction))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, num_steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def qwen3(shape: TransformerShape, *, mode: str, device: str = "cpu") -> PlainLoop:
    """transformers' own implementation of our layout, its loss included."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=shape.vocab_size,
        hidden_size=shape.width,
        intermediate_size=shape.feed_forward_width,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        head_dim=shape.head_width,
        max_position_embeddings=shape.context_tokens,
        tie_word_embeddings=shape.tie_embeddings,
        use_cache=False,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    network = Qwen3ForCausalLM(config).train().to(device)

    def loss_of(token_ids: Tensor, targets: Tensor) -> Tensor:
        # targets are shifted already: the library takes them so
        loss: Tensor = network(input_ids=token_ids, labels=targets, shift_labels=targets).loss
        return loss

    return PlainLoop(network, loss_of, mode=mode, learning_rate=LEARNING_RATE)


def nano_gpt(shape: TransformerShape, *, mode: str) -> PlainLoop:
    """nanoGPT's model (Karpathy 2022) at these sizes."""
    torch.manual_seed(0)
    network = NanoGpt(shape)
    return PlainLoop(network, network, mode=mode, learning_rate=LEARNING_RATE)


class NanoGpt(nn.Module):
    """GPT-2's layout: learned positions, LayerNorm, GELU, feed-forward of four widths, one table for input and output."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.padded_vocab_size, shape.width)
        self.positions = nn.Embedding(shape.context_tokens, shape.width)
        self.blocks = nn.ModuleList(_Block(shape.width, shape.num_heads) for _ in range(shape.num_layers))
        self.norm = nn.LayerNorm(shape.width, bias=False)
        self.head = nn.Linear(shape.width, shape.padded_vocab_size, bias=False)
        self.apply(_initialise)
        self.head.weight = self.tokens.weight

    def forward(self, token_ids: Tensor, targets: Tensor) -> Tensor:
        """Mean cross entropy in nats."""
        x = self.tokens(token_ids) + self.positions(torch.arange(token_ids.shape[1], device=token_ids.device))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


class _Block(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm, self.feed_norm = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.widen = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.queries_keys_values(self.attention_norm(x)).split(width, dim=2)
        q, k, v = (part.view(batch, length, self.num_heads, -1).transpose(1, 2) for part in parts)
        heard = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.output(heard.transpose(1, 2).reshape(batch, length, width))
        fed: Tensor = self.narrow(functional.gelu(self.widen(self.feed_norm(x))))
        return x + fed


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)


CONTESTANTS: dict[str, Callable[..., Any]] = {"transformers": qwen3, "nanoGPT": nano_gpt}
