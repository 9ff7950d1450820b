"""Generation speed: ours and `transformers.generate` on the same Qwen3 weights, greedy, in one run; equal texts are required.

    python benchmarks/generate.py [--rounds N] [--new N] [--prompt N] [--batches N ...] [--depth N] [--width N] [--device cuda]

A network of random weights is saved by our export and loaded by `Qwen3ForCausalLM.from_pretrained`, so both hold the same
numbers. transformers runs with its dynamic cache and with its static one, each on one thread and on all cores (on a GPU there is
no such choice), and its best counts; ours runs as it comes. Rounds alternate between all contestants; a figure is the median
of its rounds. What is written is compared token by token, for prompts of equal and of unequal length; where two words are
equally likely but for rounding, either may be taken, and the rest of that text is not compared. The recurrent families have no
peer here and are measured beside. Writes results/generate.json and generate.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from machine import processor  # noqa: E402

from pipeline.models.interface import GenerationParameters  # noqa: E402
from pipeline.models.recurrent.model import RecurrentModel  # noqa: E402
from pipeline.models.recurrent.network import Recurrent  # noqa: E402
from pipeline.models.recurrent.shape import derive_recurrent_shape  # noqa: E402
from pipeline.models.transformer.model import TransformerModel  # noqa: E402
from pipeline.models.transformer.network import Transformer  # noqa: E402
from pipeline.models.transformer.shape import derive_shape  # noqa: E402
from pipeline.training.hardware import num_cores  # noqa: E402

IDENTITY: dict[str, Any] = {"tokenizer_hash": "0" * 64, "bos_id": 2, "eos_id": 3, "pad_id": 0}
FIRST_WORD = 4
"""Ids below are special."""
ROUNDING = 1e-5
"""Logits of this network, a few units large, that are computed in another order differ by up to this."""
Texts = list[list[int]]


def main() -> None:
    """Measures, prints and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--new", type=int, default=128, help="tokens added to each prompt")
    parser.add_argument("--prompt", type=int, default=32, help="tokens of a prompt")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    if options.device == "cpu":
        torch.set_num_threads(num_cores())
    ours = transformer_of(options)
    with tempfile.TemporaryDirectory() as folder:
        ours.save(Path(folder))
        theirs = Theirs(Path(folder), device=options.device)
    rows, unequal = [], []
    for batch in options.batches:
        prompts = prompts_of(batch, options, unequal=False)
        runs: dict[str, Callable[[], Texts]] = {"ours": lambda prompts=prompts: greedy(ours, prompts, options.new)}
        for cache in Theirs.CACHES:
            for threads in sorted({1, num_cores()}) if options.device == "cpu" else [num_cores()]:
                runs[f"transformers, {cache} cache, {threads} threads"] = (
                    lambda prompts=prompts, cache=cache, threads=threads: theirs.generate(
                        prompts, options.new, cache=cache, threads=threads
                    )
                )
        for cell in ("rnn", "gru", "lstm"):
            model = recurrent_of(cell, options)
            runs[cell] = lambda prompts=prompts, model=model: greedy(model, prompts, options.new)
        rows += measure(runs, theirs, prompts, options=options)
        mixed = prompts_of(batch + 3, options, unequal=True)
        texts = greedy(ours, mixed, options.new)
        unequal.append(theirs.ties(mixed, texts, theirs.generate(mixed, options.new, cache="dynamic")))
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if options.device == "cuda" else processor(),
        "cores": num_cores(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers")},
        },
        "parameters": ours.num_parameters,
        "prompt_tokens": options.prompt,
        "new_tokens": options.new,
        "ties_of_unequal_prompts": None if None in unequal else sum(unequal),
        "rows": rows,
        "ratios": ratios(rows),
    }
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "generate.json").write_text(json.dumps(found, indent=2) + "\n")
    (options.results / "generate.md").write_text(render(found))
    print((options.results / "generate.md").read_text())
    if None in unequal or any(row.get("ties", 0) is None for row in rows):
        sys.exit("Ours and transformers wrote different texts: the figures above compare different work.")


def transformer_of(options: argparse.Namespace) -> TransformerModel:
    """Random weights, none of them zero, so that every part of a layer has its say."""
    shape = derive_shape(
        vocab_size=options.vocabulary, context_tokens=options.context, depth=options.depth, width=options.width
    )
    network = Transformer(shape)
    network.initialise(0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")):
                parameter.normal_(std=shape.width**-0.5, generator=generator)
    return TransformerModel(network.to(options.device), **IDENTITY)


def recurrent_of(cell: str, options: argparse.Namespace) -> RecurrentModel:
    """Two layers of 512: about as many parameters as the Transformer."""
    network = Recurrent(derive_recurrent_shape(cell=cell, vocab_size=options.vocabulary, context_tokens=256, depth=2))
    network.initialise(0)
    return RecurrentModel(network.to(options.device), **IDENTITY)


def prompts_of(batch: int, options: argparse.Namespace, *, unequal: bool) -> Texts:
    """Random tokens; of unequal length, each prompt a little shorter than the one before."""
    generator = torch.Generator().manual_seed(2)
    prompts = torch.randint(FIRST_WORD, options.vocabulary, (batch, options.prompt), generator=generator).tolist()
    return [prompt[: max(1, len(prompt) - 3 * row)] for row, prompt in enumerate(prompts)] if unequal else prompts


def greedy(model: Any, prompts: Texts, num_tokens: int) -> Texts:
    """The most likely continuation by our model."""
    texts: Texts = model.generate(prompts, GenerationParameters(max_new_tokens=num_tokens, temperature=0.0))
    return texts


class Theirs:
    """The library's model; its `generate` as its documentation calls it."""

    CACHES = ("dynamic", "static")

    def __init__(self, folder: Path, *, device: str) -> None:
        from transformers import Qwen3ForCausalLM

        self._model = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
        self._model.generation_config.eos_token_id = None  # nothing ends before the others
        self._device = device

    @torch.inference_mode()
    def generate(self, prompts: Texts, num_tokens: int, *, cache: str, threads: int | None = None) -> Texts:
        """The most likely continuations; prompts are padded on the left, as the library wants them."""
        longest = max(map(len, prompts))
        rows = [[IDENTITY["pad_id"]] * (longest - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        before = torch.get_num_threads()
        if threads is not None and self._device == "cpu":
            torch.set_num_threads(threads)
        found = self._model.generate(
            torch.tensor(rows, device=self._device),
            attention_mask=torch.tensor(mask, device=self._device),
            do_sample=False,
            max_new_tokens=num_tokens,
            cache_implementation=cache,
        )
        torch.set_num_threads(before)
        texts: Texts = found[:, longest:].tolist()
        return texts

    @torch.inference_mode()
    def ties(self, prompts: Texts, ours: Texts, theirs: Texts) -> int | None:
        """Of how many prompts the texts differ from where two words are as likely but for rounding; None where they differ
        otherwise."""
        found = 0
        for prompt, our, their in zip(prompts, ours, theirs, strict=True):
            place = next((i for i, (a, b) in enumerate(zip(our, their, strict=True)) if a != b), None)
            if place is None:
                continue
            read = torch.tensor([prompt + our[:place]], device=self._device)
            logits = self._model(read).logits[0, -1]
            if float(logits.max() - logits[[our[place], their[place]]].min()) > ROUNDING:
                return None
            found += 1
        return found


def measure(
    runs: dict[str, Callable[[], Texts]], theirs: Theirs, prompts: Texts, *, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """One row a contestant: tokens a second of each round, their median, and how its texts differ from ours."""
    batch = len(prompts)
    texts = {name: run() for name, run in runs.items()}  # and everybody is warm
    rounds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            rounds[name].append(batch * options.new / (time.perf_counter() - started))
    return [
        {
            "name": name,
            "batch": batch,
            "tokens_per_second": round(statistics.median(found)),
            "rounds": [round(rate) for rate in found],
            **({"ties": theirs.ties(prompts, texts["ours"], texts[name])} if name.startswith("transformers") else {}),
        }
        for name, found in rounds.items()
    ]


def ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Ours against the library's best, for each batch."""
    found = {}
    for batch in dict.fromkeys(row["batch"] for row in rows):
        rates = {row["name"]: row["tokens_per_second"] for row in rows if row["batch"] == batch}
        best = max(rate for name, rate in rates.items() if name.startswith("transformers"))
        found[f"batch {batch}: ours / transformers"] = round(rates["ours"] / best, 2)
    return found


def render(found: dict[str, Any]) -> str:
    """The table as Markdown."""
    lines = [
        f"# Generation speed, {found['date']}",
        "",
        f"{found['parameters'] / 1e6:.1f} M parameters, {found['new_tokens']} tokens after prompts of "
        f"{found['prompt_tokens']}, greedy, float32, on {found['device']} ({found['cores']} cores). "
        + ", ".join(f"{name} {number}" for name, number in found["versions"].items())
        + ". Medians of alternating rounds.",
        "",
        "| Contestant | batch | tokens/s | least | most | texts equal ours |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['name']} | {row['batch']} | {row['tokens_per_second']:,} | {min(row['rounds']):,} | "
        f"{max(row['rounds']):,} | {equality(row['ties']) if 'ties' in row else ''} |"
        for row in found["rows"]
    ]
    lines += ["", *(f"{name}: {ratio}" for name, ratio in found["ratios"].items())]
    lines += ["", f"Prompts of unequal length: texts equal: {equality(found['ties_of_unequal_prompts'])}"]
    return "\n".join(lines) + "\n"


def equality(ties: int | None) -> str:
    """For people."""
    if ties is None:
        return "NO"
    return f"yes, up to {ties} tie{'s' if ties > 1 else ''}" if ties else "yes"


if __name__ == "__main__":
    main()
