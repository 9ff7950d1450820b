"""Token after token out of a recurrent network, from a state that is kept: the same logits as reading everything anew.

A prepared copy of the weights, in the form in which products of few rows are fastest (`../products.py`). Of the Elman network
and of the LSTM, input and state are multiplied as one row with one matrix; of the GRU apart, since its reset gate comes between.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pipeline.models.products import Products
from pipeline.models.recurrent.network import Recurrent, State

if TYPE_CHECKING:
    from jaxtyping import Float, Int

Cell = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]
"""Input (B, width) and the layer's state to its next state; h, the first of that, is the output."""


class Decoder:
    """Takes one token of each row at a time. The network's weights must not change any more."""

    def __init__(self, network: Recurrent) -> None:
        self._network = network
        shape, device = network.shape, network.lm_head.weight.device
        with torch.inference_mode():
            self._products = Products(
                shape.num_matrix_parameters + shape.width * shape.vocab_size, dtype=torch.float32, device=device
            )
            make = {"rnn": self._elman, "gru": self._gated, "lstm": self._long_short}[shape.cell]
            self._cells = [make(layer) for layer in network.layers]
            self._head = self._products.of(network.lm_head.weight.to(network.compute_dtype))

    def threads(self, num_rows: int) -> AbstractContextManager[None]:
        """Within, as many threads as steps of so many rows can use."""
        return self._products.threads(num_rows)

    @torch.inference_mode()
    def step(self, token_ids: Int[Tensor, " batch"], state: State) -> tuple[Float[Tensor, "batch vocab"], State]:
        """The logits after one more token in each row, and the state from which a text goes on."""
        x: Tensor = self._network.embed_tokens(token_ids)
        after: State = []
        for cell, before in zip(self._cells, state, strict=True):
            kept = cell(x, tuple(part[0] for part in before))
            x = kept[0]
            after.append(tuple(part[None] for part in kept))
        return self._head(x).float(), after

    def _of_both(self, layer: Any) -> Callable[[Tensor, Tensor], Tensor]:
        """W x + b + U h + d, of all gates behind each other."""
        product = self._products.of(torch.cat((layer.weight_ih_l0, layer.weight_hh_l0), dim=1))
        bias = layer.bias_ih_l0 + layer.bias_hh_l0
        return lambda x, h: product(torch.cat((x, h), dim=1), plus=bias.expand(len(x), -1))

    def _elman(self, layer: Any) -> Cell:
        of_both = self._of_both(layer)
        return lambda x, before: (of_both(x, before[0]).tanh(),)

    def _gated(self, layer: Any) -> Cell:
        of_input, of_state = self._products.of(layer.weight_ih_l0), self._products.of(layer.weight_hh_l0)
        width = self._network.shape.width

        def cell(x: Tensor, before: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            (h,) = before
            made_of_input = of_input(x, plus=layer.bias_ih_l0.expand(len(x), -1))
            made_of_state = of_state(h, plus=layer.bias_hh_l0.expand(len(x), -1))
            gates = (made_of_input[:, : 2 * width] + made_of_state[:, : 2 * width]).sigmoid_()
            reset, update = gates.chunk(2, dim=1)
            new = torch.addcmul(made_of_input[:, 2 * width :], reset, made_of_state[:, 2 * width :]).tanh_()
            return (torch.lerp(new, h, update),)

        return cell

    def _long_short(self, layer: Any) -> Cell:
        of_both, width = self._of_both(layer), self._network.shape.width

        def cell(x: Tensor, before: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            h, memory = before
            made = of_both(x, h)
            new = made[:, 2 * width : 3 * width].tanh()
            let_in, forget, _, let_out = made.sigmoid_().chunk(4, dim=1)
            memory = torch.addcmul(forget * memory, let_in, new)
            return let_out * memory.tanh(), memory

        return cell
