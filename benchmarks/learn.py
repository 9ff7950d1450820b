"""Sample efficiency: tokens that our recipe needs to reach the final validation loss of a tuned AdamW with a cosine.

    python benchmarks/learn.py [--corpora FOLDER] [--depth N] [--tokens N] [--batch TOKENS] [--seeds N] [--rates R ...]

Same network, precision, novels, order of batches and batch size on both sides. The reference (nanoGPT's recipe in
train_peers.py) first tries every rate with two initialisations, ours and normal of 0.02, on seed 0; the best runs with every
seed. Ours runs untuned, with what `textmill` derives, at several fractions of the reference's tokens, each with its whole
schedule; the need is interpolated between them on the logarithm of the tokens, or at most the smallest where that is enough. The
defaults take hours on two cores without bfloat16 units. Writes results/learn.json and learn.md beside this.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import platform
import statistics
import sys
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import sentencepiece  # noqa: E402
import torch  # noqa: E402
from machine import processor  # noqa: E402
from torch import Tensor  # noqa: E402
from train_peers import OurLoop, PlainLoop, cosine_scale  # noqa: E402

from pipeline.config import TransformerConfig  # noqa: E402
from pipeline.training.derive import derive  # noqa: E402
from pipeline.training.families import network_of  # noqa: E402
from pipeline.training.hardware import choose_hardware  # noqa: E402
from pipeline.training.schedule import learning_rate_scale  # noqa: E402
from pipeline.training.warmup import loss_function  # noqa: E402

FRACTIONS = (0.2, 0.3, 0.5, 0.7)
HELD_OUT = 0.05
"""The end of every novel is for validation."""
VALIDATION_WINDOWS = 256
REFERENCE_SCALES = (None, 0.02)
"""Standard deviation of the reference's weights; None is our initialisation."""


def main() -> None:
    """Measures, prints and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = os.environ.get("TEXTMILL_CORPORA") or ROOT.parent / "shared" / "corpora"
    parser.add_argument("--corpora", type=Path, default=default)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--tokens", type=int, default=1_500_000, help="of the reference's run")
    parser.add_argument("--batch", type=int, default=4096, help="tokens of a step")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 2e-3, 4e-3, 8e-3])
    parser.add_argument("--fractions", type=float, nargs="+", default=FRACTIONS, help="of the tokens, for our runs")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    contest = Contest(options)
    tuning = [
        {"rate": rate, "scale": scale, "loss": contest.reference(0, rate=rate, scale=scale)}
        for scale in REFERENCE_SCALES
        for rate in options.rates
    ]
    best = min(tuning, key=lambda trial: trial["loss"])
    seeds = []
    for seed in range(options.seeds):
        reference = contest.reference(seed, rate=best["rate"], scale=best["scale"]) if seed else best["loss"]
        ours = [[fraction, contest.ours(seed, fraction=fraction)] for fraction in sorted(options.fractions)]
        needed = needed_fraction(ours, reference)
        seeds.append({"seed": seed, "reference_loss": reference, "ours": ours, "needed_fraction": needed})
        print(json.dumps(seeds[-1]), flush=True)
    known = [row["needed_fraction"] for row in seeds if row["needed_fraction"] is not None]
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": processor(),
        "cores": os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "sentencepiece")},
        },
        "parameters": contest.run.shape.num_parameters,
        "train_tokens": contest.train.size,
        "reference_tokens": options.tokens,
        "batch_tokens": options.batch,
        "precision": contest.hardware.precision,
        "tuning": tuning,
        "reference": best,
        "seeds": seeds,
        "needed_fraction": statistics.mean(known) if len(known) == len(seeds) else None,
    }
    options.results.mkdir(exist_ok=True)
    (options.results / "learn.json").write_text(json.dumps(found, indent=2) + "\n")
    (options.results / "learn.md").write_text(render(found))
    print((options.results / "learn.md").read_text())


class Contest:
    """Data, sizes and the machine, the same for every run."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Reads the novels and fits a tokenizer to what is not held out."""
        self.train, self.validation = read_tokens(options.corpora, vocab_size=options.vocabulary)
        settings = {"tokens": options.tokens, "batch_tokens": options.batch}
        self._config = TransformerConfig(
            family="transformer", dataset="novels", depth=options.depth, context_tokens=options.context, train=settings
        )
        self.run = derive(self._config, vocab_size=options.vocabulary)
        self.hardware = choose_hardware(
            device="cpu",
            precision="auto",
            compile="auto",
            total_flops=10.0 * options.tokens * self.run.shape.flops_per_token,
            batch_windows=self.run.batch_windows,
            micro_windows=None,
            context_tokens=options.context,
        )
        torch.set_num_threads(self.hardware.num_threads)

    def ours(self, seed: int, *, fraction: float) -> float:
        """Final validation loss of our recipe on a fraction of the tokens."""
        train, num_steps = self._config.train, max(1, round(self.run.num_steps * fraction))
        loop = OurLoop(self.run, self.hardware, self._batch(seed, 0), weight_decay=train.weight_decay, seed=seed)
        for step in range(num_steps):
            scale = learning_rate_scale(
                step,
                num_steps=num_steps,
                warmup_fraction=train.warmup_fraction,
                cooldown_fraction=train.cooldown_fraction,
            )
            loop.step(self._batch(seed, step), scale=scale)
        return self._told(f"ours, seed {seed}, {num_steps} steps", self._validate(loop.network))

    def reference(self, seed: int, *, rate: float, scale: float | None) -> float:
        """Final validation loss of AdamW with a cosine on all of the tokens."""
        network = network_of(self.run.shape)
        network.initialise(seed)
        network.compute_dtype = self.hardware.dtype
        if scale is not None:
            generator = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for parameter in network.parameters():
                    if parameter.ndim >= 2:
                        parameter.normal_(std=scale, generator=generator)
        loss_of = loss_function(network, compiled=self.hardware.compiled)
        loop = PlainLoop(network, loss_of, mode="as it is", learning_rate=rate)
        for step in range(self.run.num_steps):
            factor = cosine_scale(step, num_steps=self.run.num_steps)
            loop.step(self._batch(seed, step), micro_windows=self.hardware.micro_windows, scale=factor)
        return self._told(f"reference, seed {seed}, rate {rate:g}, scale {scale}", self._validate(network))

    def _batch(self, seed: int, step: int) -> Tensor:
        context, size = self.run.shape.context_tokens, self.run.batch_windows
        num_windows = (self.train.size - 1) // context
        places = np.arange(step * size, (step + 1) * size)
        order = {
            epoch: np.random.default_rng([seed, epoch]).permutation(num_windows) for epoch in {*places // num_windows}
        }
        starts = [context * order[place // num_windows][place % num_windows] for place in places]
        return torch.from_numpy(np.stack([self.train[start : start + context + 1] for start in starts]))

    @torch.no_grad()
    def _validate(self, network: Any) -> float:
        context = self.run.shape.context_tokens
        count = min(VALIDATION_WINDOWS, (self.validation.size - 1) // context)
        losses = []
        for start in range(0, count * context, context):
            window = torch.from_numpy(self.validation[start : start + context + 1])[None]
            losses.append(float(network(window[:, :-1], window[:, 1:])))
        return statistics.mean(losses)

    def _told(self, what: str, loss: float) -> float:
        print(f"{what}: validation loss {loss:.4f}", flush=True)
        return loss


def read_tokens(corpora: Path, *, vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids (int64) of the novels for training and for validation; a second edition of a novel is left out."""
    paths = [path for path in sorted((corpora / "books").glob("*.txt")) if "old-edition" not in path.name]
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in paths]
    train = [text[: round(len(text) * (1 - HELD_OUT))] for text in texts]
    held_out = [text[len(kept) :] for text, kept in zip(texts, train, strict=True)]
    model = io.BytesIO()
    lines = (line for text in train for line in text.splitlines() if line.strip())
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=lines, model_writer=model, model_type="bpe", vocab_size=vocab_size, minloglevel=2
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    ids = [np.concatenate([np.asarray(processor.encode(text)) for text in part]) for part in (train, held_out)]
    return ids[0], ids[1]


def needed_fraction(ours: list[list[float]], reference: float) -> float | None:
    """The fraction of the tokens at which our loss is the reference's, between two runs of ours; the smallest where that is
    enough, None where the largest is not.

    >>> round(needed_fraction([[0.25, 5.0], [1.0, 3.0]], 4.0), 3)
    0.5
    >>> needed_fraction([[0.25, 3.9], [1.0, 3.0]], 4.0)
    0.25
    """
    if ours[0][1] <= reference:
        return ours[0][0]
    for (less, before), (more, after) in pairwise(ours):
        if before >= reference >= after and before > after:
            share = (before - reference) / (before - after)
            return math.exp(math.log(less) + share * (math.log(more) - math.log(less)))
    return None


def render(found: dict[str, Any]) -> str:
    """The tables as Markdown."""
    scale = found["reference"]["scale"]
    lines = [
        f"# Sample efficiency, {found['date']}",
        "",
        f"{found['parameters'] / 1e6:.1f} M parameters on {found['train_tokens'] / 1e6:.1f} M tokens of novels, "
        f"{found['batch_tokens']:,} tokens a step, {found['precision']}. Reference: AdamW and cosine on "
        f"{found['reference_tokens']:,} tokens, best of {len(found['tuning'])} trials (rate {found['reference']['rate']:g}, "
        + ("our initialisation" if scale is None else f"normal of {scale}")
        + "). Ours: Muon and AdamW, untuned.",
        "",
        "| Seed | Reference's loss | Ours at fractions of its tokens | Fraction needed |",
        "|---|---|---|---|",
        *(
            f"| {row['seed']} | {row['reference_loss']:.4f} | "
            + ", ".join(f"{fraction:g}: {loss:.4f}" for fraction, loss in row["ours"])
            + f" | {_needed([row])} |"
            for row in found["seeds"]
        ),
        "",
        f"Tokens needed, mean: {_needed(found['seeds'])} of the reference's",
    ]
    return "\n".join(lines) + "\n"


def _needed(seeds: list[dict[str, Any]]) -> str:
    """The mean fraction; "at most" where the smallest that was tried was more than enough."""
    fractions = [row["needed_fraction"] for row in seeds]
    if None in fractions:
        return "more than was tried"
    is_bound = any(row["needed_fraction"] == row["ours"][0][0] for row in seeds)
    return ("at most " if is_bound else "") + f"{statistics.mean(fractions):.2f}"


if __name__ == "__main__":
    main()
