"""The parts of gpu.sh, one a call; each writes one JSON file. Needs torch, numpy, pyarrow, sentencepiece and transformers.

    python benchmarks/gpu.py prepare [--corpora FOLDER] [--data FOLDER]     on a machine with the corpora, beforehand
    python benchmarks/gpu.py PART --results FOLDER [--data FOLDER]          speed-124m speed-350m lstm resume shakespeare
    python benchmarks/gpu.py summary --results FOLDER

`prepare` writes token shards (under 40 MB) into benchmarks/data, which git ignores: novels in a vocabulary of 32,000, and
tinyshakespeare by characters, nine tenths for training. Where they are absent, `speed` and `resume` read random tokens, and
`shakespeare` is left out and says so. Without CUDA every part runs at toy size, eager, on the CPU: that shows that it runs, and
measures nothing.

MFU counts 6 FLOPs per matrix parameter and token, the head's included and the embedding table's not, and causal attention at
half (6 layers x context x width), against the data sheet's dense bfloat16 peak (989 TFLOP/s for an H100 or H200); the same count
for both contestants.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from train_peers import OurLoop, qwen3  # noqa: E402

from pipeline.errors import TrainingInterrupted  # noqa: E402
from pipeline.models.recurrent.shape import derive_recurrent_shape  # noqa: E402
from pipeline.models.transformer.shape import derive_shape  # noqa: E402
from pipeline.shards.format import ShardWriter  # noqa: E402
from pipeline.shards.loader import TokenLoader  # noqa: E402
from pipeline.training.hardware import choose_hardware, peak_flops  # noqa: E402
from pipeline.training.schedule import learning_rate_scale  # noqa: E402

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
VOCABULARY = 32_000 if ON_GPU else 512
MOST_TOKENS = 12_000_000
"""Of the novels' shards: 24 MB."""
SPECIAL_IDS = 4
TARGET_NATS = 1.4697
"""nanoGPT's validation loss on tinyshakespeare by characters, after three minutes on an A100 by its own account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What `OurLoop` takes of a derived run; the rates are those of `derive.py` at width 768, scaled with the width."""

    shape: Any
    matrix_learning_rate: float = 0.03
    embedding_learning_rate: float
    head_learning_rate: float
    vector_learning_rate: float = 0.01

    @classmethod
    def of(cls, shape: Any) -> Run:
        """With the rates that belong to the width."""
        scale = (768 / shape.width) ** 0.5
        return cls(shape=shape, embedding_learning_rate=0.3 * scale, head_learning_rate=0.004 * scale)


def transformer(depth: int, width: int, num_heads: int, *, context: int = 1024) -> Any:
    """A shape of ours; at toy size everything is small."""
    if not ON_GPU:
        depth, width, num_heads, context = 2, 64, 2, 64
    return derive_shape(vocab_size=VOCABULARY, context_tokens=context, depth=depth, width=width, num_heads=num_heads)


def speed(name: str, shape: Any, options: argparse.Namespace, *, with_peer: bool) -> dict[str, Any]:
    """Tokens a second, MFU and peak memory of ours, and of transformers' Qwen3 compiled with AdamW."""
    rows = 256 if ON_GPU else 8  # 262,144 tokens a step at a context of 1,024
    windows = some_windows(options.data, rows, shape.context_tokens)
    found: dict[str, Any] = {"parameters": shape.num_parameters, "flops_per_token": shape.flops_per_token}

    def ours() -> tuple[Callable[[], Any], str]:
        loop = our_loop(shape, windows)
        return lambda: loop.step(windows), f"forward of {loop.hardware.micro_windows} windows"

    def theirs() -> tuple[Callable[[], Any], str]:
        mode = "bfloat16 autocast, compiled" if ON_GPU else "eager float32"
        for micro in (32, 16, 8, 4):  # its logits take much more memory
            try:
                loop = qwen3(shape, mode=mode, device=DEVICE)
                loop.step(windows, micro_windows=min(micro, rows))
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                continue
            step = partial(loop.step, windows, micro_windows=min(micro, rows))
            return step, f"forward of {min(micro, rows)} windows, {mode}"
        raise SystemExit("transformers does not fit the memory")

    for who, build in {"ours": ours, **({"transformers": theirs} if with_peer else {})}.items():
        found[who] = timed(build, tokens=windows.shape[0] * shape.context_tokens, flops_per_token=shape.flops_per_token)
        print(name, who, found[who], flush=True)
    if with_peer:
        found["ours / transformers"] = found["ours"]["tokens_per_second"] / found["transformers"]["tokens_per_second"]
    return found


def timed(build: Callable[[], tuple[Callable[[], Any], str]], *, tokens: int, flops_per_token: int) -> dict[str, Any]:
    """Median of five groups of steps, after two steps that do not count."""
    if ON_GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    step, how = build()
    for _ in range(2):
        step()
    synchronise()
    ready, rates = time.perf_counter() - started, []
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(4 if ON_GPU else 1):
            step()
        synchronise()
        rates.append((4 if ON_GPU else 1) * tokens / (time.perf_counter() - started))
    rate, peak = statistics.median(rates), peak_flops(DEVICE)
    return {
        "how": how,
        "tokens_per_second": round(rate),
        "groups": [round(each) for each in rates],
        "mfu": None if peak is None else round(rate * flops_per_token / peak, 4),
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if ON_GPU else None,
        "ready_seconds": round(ready, 1),
    }


def our_loop(shape: Any, windows: Tensor, *, compiled: bool = True) -> OurLoop:
    """The trainer's step, on this device as the trainer would use it."""
    hardware = choose_hardware(
        device=DEVICE,
        precision="auto",
        compile="on" if compiled and ON_GPU else "off",
        total_flops=1e18,
        batch_windows=len(windows),
        micro_windows=None,
        context_tokens=shape.context_tokens,
    )
    return OurLoop(Run.of(shape), hardware, windows, weight_decay=0.05)


def lstm(options: argparse.Namespace) -> dict[str, Any]:
    """Tokens a second of two layers of 1,024, as the trainer runs them: cuDNN's cells, the head in bfloat16."""
    width, context = (1024, 256) if ON_GPU else (32, 32)
    shape = derive_recurrent_shape(cell="lstm", vocab_size=VOCABULARY, context_tokens=context, depth=2, width=width)
    windows = some_windows(options.data, 256 if ON_GPU else 4, context)

    def ours() -> tuple[Callable[[], Any], str]:
        loop = our_loop(shape, windows, compiled=False)
        return lambda: loop.step(windows), f"forward of {loop.hardware.micro_windows} windows"

    found = timed(ours, tokens=windows.shape[0] * context, flops_per_token=shape.flops_per_token)
    return {"parameters": shape.num_parameters, "ours": found}


def resume(options: argparse.Namespace) -> dict[str, Any]:
    """Whether a run that is stopped and goes on ends with the bits of one that is not."""
    from pipeline.training.spec import TrainingSpec
    from pipeline.training.stopping import StopRequest
    from pipeline.training.trainer import Trainer

    num_steps, stop_at = (40, 17) if ON_GPU else (6, 3)
    shape = transformer(6, 384, 6, context=512)

    class StopsOnce(StopRequest):
        """Asks to stop when `trainer` has done so many steps."""

        trainer: Any = None

        @property
        def reason(self) -> str | None:
            return "was told" if self.trainer is not None and self.trainer._step == stop_at else None

    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        write_training_data(data, options.data)
        vocab_size = json.loads((data / "shards.json").read_text())["vocab_size"]
        hashes = []
        for name in ("straight", "again", "stopped"):
            folder = Path(scratch) / name
            (folder / "output").mkdir(parents=True)
            spec = TrainingSpec(
                **{
                    **DEFAULTS,
                    "shape": {**asdict(shape), "vocab_size": vocab_size},
                    "shards_folder": str(data),
                    "tokenizer_file": str(data / "tokenizer.model"),
                    "output_folder": str(folder / "output"),
                    "checkpoint_folder": str(folder / "checkpoints"),
                    "spool_folder": str(folder / "spool"),
                    "num_steps": num_steps,
                    "batch_windows": 64 if ON_GPU else 4,
                    "compile": "on" if ON_GPU else "off",
                    "device": DEVICE,
                    "validate_every_steps": num_steps // 2,
                }
            )
            if name == "stopped":
                stop = StopsOnce()
                stop.trainer = Trainer(spec, stop)
                try:
                    stop.trainer.run()
                except TrainingInterrupted as error:
                    print(error, flush=True)
            Trainer(spec, StopRequest()).run()
            weights = (folder / "output" / "model" / "model.safetensors").read_bytes()
            hashes.append(hashlib.sha256(weights).hexdigest())
    return {
        "steps": num_steps,
        "stopped_at": stop_at,
        "two_straight_runs_equal": hashes[0] == hashes[1],
        "resumed_equals_straight": hashes[0] == hashes[2],
        "sha256": hashes,
    }


DEFAULTS: dict[str, Any] = {
    "name": "gpu",
    "version": "gpu",
    "family": "transformer",
    "start_folder": None,
    "started_from": None,
    "freeze": [],
    "lora": None,
    "batch_warmup_steps": 0,
    "packing": "stream",
    "loss_on": "targets",
    "attend": "window",
    "cautious_weight_decay": False,
    "averaged_sgd": None,
    "ema_decay": None,
    "schedule": "wsd",
    "micro_windows": None,
    "matrix_learning_rate": 0.03,
    "embedding_learning_rate": 0.4,
    "head_learning_rate": 0.005,
    "vector_learning_rate": 0.01,
    "weight_decay": 0.05,
    "warmup_fraction": 0.02,
    "cooldown_fraction": 0.6,
    "gradient_clip": 1.0,
    "seed": 0,
    "precision": "auto",
    "validation_windows": 8,
    "log_every_steps": 10,
    "checkpoint_every_steps": None,
    "checkpoint_every_seconds": 1e9,
    "keep_checkpoints": 2,
    "keep_every_steps": None,
    "keep_best_checkpoint": False,
    "result": "last",
    "profile_steps": None,
    "spike_sigma": 6.0,
    "max_skipped_steps": 20,
    "tracking": {"experiment": "gpu", "run_name": "gpu", "tags": {}, "inputs": []},
    "devices": 1,
    "strategy": "auto",
}
"""Of the `resume` part's run; what is not here it sets itself."""


def shakespeare(options: argparse.Namespace) -> dict[str, Any]:
    """Minutes until the validation loss by characters is nanoGPT's: its shape (6 layers, width 384, context 256), our recipe."""
    folder = options.data / "shakespeare"
    if not folder.is_dir():
        return {"left_out": f"{folder} is not there; `python benchmarks/gpu.py prepare` makes it"}
    vocab_size = json.loads((folder / "shards.json").read_text())["vocab_size"]
    depth, width, context, rows, num_steps = (6, 384, 256, 64, 1500) if ON_GPU else (2, 64, 32, 8, 4)
    shape = derive_shape(vocab_size=vocab_size, context_tokens=context, depth=depth, width=width, num_heads=width // 64)
    train = TokenLoader(folder, split="train", context_tokens=context, seed=0)
    held_out = TokenLoader(folder, split="validation", context_tokens=context, seed=0)
    count = min(held_out.num_windows, 1 << 20 if ON_GPU else 4)
    validation = torch.from_numpy(held_out.in_order(0, count)).to(DEVICE)
    loop = our_loop(shape, torch.from_numpy(train.batch(0, rows)).to(DEVICE))
    synchronise()
    started, best, reached, losses = time.perf_counter(), math.inf, None, []
    for step in range(num_steps):
        scale = learning_rate_scale(step, num_steps=num_steps, warmup_fraction=0.02, cooldown_fraction=0.6)
        loop.step(torch.from_numpy(train.batch(step * rows, rows)).to(DEVICE), scale=scale)
        if (step + 1) % (100 if ON_GPU else 2) == 0:
            best = min(best, loss := validated(loop.network, validation))
            losses.append([step + 1, round(loss, 4)])
            print("shakespeare", losses[-1], flush=True)
            if loss <= TARGET_NATS:
                reached = (time.perf_counter() - started) / 60
                break
    return {
        "parameters": shape.num_parameters,
        "target_nats": TARGET_NATS,
        "best_nats": round(best, 4),
        "minutes_to_target": None if reached is None else round(reached, 3),
        "minutes": round((time.perf_counter() - started) / 60, 3),
        "losses": losses,
    }


@torch.no_grad()
def validated(network: Any, windows: Tensor) -> float:
    """Mean cross entropy over all windows."""
    network.eval()
    parts = torch.split(windows, 64)
    total = sum(float(network(part[:, :-1], part[:, 1:])) * len(part) for part in parts)
    network.train()
    return total / len(windows)


def some_windows(data: Path, rows: int, context: int) -> Tensor:
    """One step's windows on the device: of the novels where they are, else random."""
    folder = data / "novels"
    if folder.is_dir() and ON_GPU:
        found = TokenLoader(folder, split="train", context_tokens=context, seed=0).batch(0, rows)
    else:
        found = np.random.default_rng(0).integers(SPECIAL_IDS, VOCABULARY, size=(rows, context + 1))
    return torch.from_numpy(found).to(DEVICE)


def synchronise() -> None:
    """Waits for the device."""
    if ON_GPU:
        torch.cuda.synchronize()


def write_training_data(folder: Path, data: Path) -> None:
    """Shards and a tokenizer that belong together: the novels', or random tokens in a small vocabulary."""
    if (data / "novels").is_dir():
        shutil.copytree(data / "novels", folder)
        return
    folder.mkdir(parents=True)
    letters = "".join(chr(number) for number in range(0x4E00, 0x4E00 + 200))
    tokenizer_hash = fit_tokenizer(folder / "tokenizer.model", [letters] * 3, kind="char", vocab_size=204)
    rng = np.random.default_rng(0)
    write_shards(
        folder,
        {split: rng.integers(4, 204, size=size) for split, size in (("train", 2_000_000), ("validation", 50_000))},
        vocab_size=204,
        tokenizer_hash=tokenizer_hash,
    )


def fit_tokenizer(path: Path, texts: list[str], *, kind: str, vocab_size: int) -> str:
    """Trains SentencePiece on the texts' lines; returns the hash by which shards know it."""
    import sentencepiece

    from pipeline.tokenizer.model import Tokenizer

    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=(line for text in texts for line in text.splitlines() if line.strip()),
            model_writer=file,
            model_type=kind,
            vocab_size=vocab_size,
            hard_vocab_limit=False,
            character_coverage=1.0,
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            minloglevel=2,
        )
    return Tokenizer.load(path).hash


def write_shards(folder: Path, splits: dict[str, np.ndarray], *, vocab_size: int, tokenizer_hash: str) -> None:
    """One shard a split."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, tokens in splits.items():
        writer = ShardWriter(folder / f"{split}.tokens", vocab_size=vocab_size, tokenizer_hash=tokenizer_hash)
        writer.add(tokens)
        writer.close()
    index = {"vocab_size": vocab_size, "tokenizer_hash": tokenizer_hash, "bos_id": 2, "eos_id": 3, "pad_id": 0}
    (folder / "shards.json").write_text(
        json.dumps({**index, "files": {split: [f"{split}.tokens"] for split in splits}})
    )


def prepare(options: argparse.Namespace) -> None:
    """Writes the novels' shards and tinyshakespeare's."""
    from pipeline.tokenizer.model import Tokenizer

    shutil.rmtree(options.data, ignore_errors=True)
    novels = options.data / "novels"
    novels.mkdir(parents=True)
    texts = [path.read_text("utf-8", "replace") for path in sorted((options.corpora / "books").glob("*.txt"))]
    tokenizer_hash = fit_tokenizer(novels / "tokenizer.model", texts, kind="bpe", vocab_size=32_000)
    tokenizer = Tokenizer.load(novels / "tokenizer.model")
    tokens = np.concatenate([np.asarray(tokenizer.encode(text)) for text in texts])[:MOST_TOKENS]
    cut = round(0.98 * tokens.size)
    splits = {"train": tokens[:cut], "validation": tokens[cut:]}
    write_shards(novels, splits, vocab_size=tokenizer.vocab_size, tokenizer_hash=tokenizer_hash)
    text = (options.corpora / "tinyshakespeare.txt").read_text("utf-8")
    place_of = {letter: SPECIAL_IDS + place for place, letter in enumerate(sorted(set(text)))}
    letters = np.array([place_of[letter] for letter in text])
    cut = round(0.9 * letters.size)  # as nanoGPT cuts it
    splits = {"train": letters[:cut], "validation": letters[cut:]}
    folder = options.data / "shakespeare"
    write_shards(folder, splits, vocab_size=SPECIAL_IDS + len(place_of), tokenizer_hash="0" * 64)
    size = sum(path.stat().st_size for path in options.data.rglob("*") if path.is_file())
    print(f"{options.data}: {size / 1e6:.1f} MB, {tokens.size:,} tokens of novels, {letters.size:,} characters")


def summary(options: argparse.Namespace) -> None:
    """One file of all parts, and the device they ran on."""
    parts = {path.stem: json.loads(path.read_text()) for path in sorted(options.results.glob("*.json"))}
    parts.pop("gpu", None)
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if ON_GPU else "none: toy sizes on a CPU, which measure nothing",
        "versions": {name: version(name) for name in ("torch", "transformers", "numpy")},
        "peak_flops": peak_flops(DEVICE),
        "parts": parts,
    }
    (options.results / "gpu.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "speed-124m": lambda options: speed("speed-124m", transformer(12, 768, 6), options, with_peer=True),
    "speed-350m": lambda options: speed("speed-350m", transformer(24, 1024, 8), options, with_peer=False),
    "lstm": lstm,
    "resume": resume,
    "shakespeare": shakespeare,
}


def main() -> None:
    """Runs one part and writes its file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=("prepare", "summary", *PARTS))
    default = os.environ.get("TEXTMILL_CORPORA") or ROOT.parent / "shared" / "corpora"
    parser.add_argument("--corpora", type=Path, default=default)
    parser.add_argument("--data", type=Path, default=Path(__file__).parent / "data")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "gpu")
    options = parser.parse_args()
    if options.part in ("prepare", "summary"):
        {"prepare": prepare, "summary": summary}[options.part](options)
        return
    found = PARTS[options.part](options)
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / f"{options.part}.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
