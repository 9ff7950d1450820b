"""The plot of a tokenizer. Pieces themselves are in the samples: fonts that lack a script would draw boxes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.tokenizer.model import Tokenizer

BLUE = "#2f6db3"


def plot_piece_lengths(tokenizer: Tokenizer, path: Path) -> None:
    """Pieces by length in characters; control symbols and byte pieces are left out."""
    usual = [
        token
        for token in range(tokenizer.vocab_size)
        if not tokenizer.is_byte(token) and not tokenizer.is_control(token) and token != tokenizer.unk_id
    ]
    lengths = Counter(len(piece) for piece in tokenizer.pieces(usual))
    figure = Figure(figsize=(6, 3.5))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.bar(list(lengths), list(lengths.values()), color=BLUE)
    axes.set(xlabel="characters", ylabel="pieces", title="Length of the pieces")
    axes.set_axisbelow(True)
    axes.grid(alpha=0.3, axis="y")
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
