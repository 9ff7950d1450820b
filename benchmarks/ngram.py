"""n-grams: training against sorting as many random keys, and scoring, in one run on real text.

    python benchmarks/ngram.py [--tokens 20000000] [--order 5] [--repeats 3] [--lmplz FILE] [--out-of-core]

Text: the Python, RST, Markdown and text files of the installed packages, in 8,192 BPE pieces, a document a file. The measure
is `numpy.sort` of as many random 64-bit keys, since counting n-grams is sorting; KenLM's lmplz took 9.0 times it where both
were measured (order 5, 19.7 M tokens of 8,192 pieces, 15.0 s against 1.67 s). How fast numpy sorts depends on the vector
instructions it finds, so the keys are sorted without them too. Writes results/ngram.json and ngram.md.

With `--lmplz`, KenLM's program (built from its source distribution) learns the same tokens in the same rounds, written as
numbers, a document a line, and writes no file; the time of reading that text is its own, as ours begins with numbers in memory.
Both may use every core.

With `--out-of-core`, once more over shards on disk within 500 MB for DuckDB, in a process of its own: seconds, peak memory, what
was spilled, and whether the model's file is the same, byte for byte.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import sentencepiece  # noqa: E402
from machine import processor  # noqa: E402

from pipeline.files import sha256_file  # noqa: E402
from pipeline.machine import usable_memory_bytes  # noqa: E402
from pipeline.models.ngram.counting import OrderCounts, count_ngrams  # noqa: E402
from pipeline.models.ngram.kneser_ney import estimate  # noqa: E402
from pipeline.models.ngram.model import NgramModel  # noqa: E402
from pipeline.models.ngram.scratch import new_in  # noqa: E402
from pipeline.models.ngram.table import NgramTable  # noqa: E402

VOCAB_SIZE = 8192
SAMPLE_CHARACTERS = 10_000_000
SCORED_TOKENS = 1_000_000
MEMORY_BYTES = 500_000_000
SUFFIXES = (".py", ".rst", ".md", ".txt")


def main() -> None:
    """Measures, prints and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=20_000_000)
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--lmplz", type=Path, help="KenLM's program, to be measured beside")
    parser.add_argument("--out-of-core", action="store_true")
    parser.add_argument("--shard", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--sort", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sort is not None:
        keys = random_keys(options.sort)
        print(seconds(lambda: np.sort(keys)))
        return
    if options.shard is not None:
        print(json.dumps(on_disk(options.shard, options.order, bos_id=1)))
        return
    tokens, bos_id = read_tokens(options.tokens + SCORED_TOKENS)
    cut = int(np.flatnonzero(tokens[:-SCORED_TOKENS] == bos_id)[-1])  # whole documents
    train, held_out = tokens[:cut], tokens[cut : cut + SCORED_TOKENS]
    keys = random_keys(train.size)
    sorting, plain_sorting, training, scoring, peers = [], [], [], [], []
    for _ in range(options.repeats):
        sorting.append(seconds(lambda: np.sort(keys)))
        plain_sorting.append(sort_without_vectors(train.size))
        table: list[NgramTable] = []
        training.append(seconds(lambda table=table: table.append(fit(train, options.order, bos_id))))
        scoring.append(seconds(lambda table=table: table[0].score(held_out[None])))
        if options.lmplz is not None:
            peers.append(run_lmplz(options.lmplz, train, options.order, bos_id))
    num_ngrams = table[0].num_ngrams
    plain_sort = statistics.median(plain_sorting)
    sort, fitting, score = map(statistics.median, (sorting, training, scoring))
    result = {
        "tokens": int(train.size),
        "order": options.order,
        "vocab_size": VOCAB_SIZE,
        "ngrams": num_ngrams,
        "sort_seconds": round(sort, 2),
        "train_seconds": round(fitting, 2),
        "train_over_sort": round(fitting / sort, 2),
        "sort_seconds_without_vector_instructions": round(plain_sort, 2),
        "train_over_sort_without_vector_instructions": round(fitting / plain_sort, 2),
        **(against_lmplz(fitting, peers, num_ngrams) if peers else {}),
        "scored_tokens_per_second": round(SCORED_TOKENS / score),
        "peak_memory_gigabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        **(out_of_core(train, options.order, table[0], bos_id) if options.out_of_core else {}),
        "repeats": options.repeats,
        "load_average": round(os.getloadavg()[0], 1),
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / "ngram.json").write_text(json.dumps(result, indent=1) + "\n")
    rows = "\n".join(f"| {key.replace('_', ' ')} | {value} |" for key, value in result.items())
    page = (
        f"# n-grams\n\nMedians of {options.repeats} runs, one after the other.\n\n| What | Value |\n|---|---|\n{rows}\n"
    )
    (folder / "ngram.md").write_text(page)
    print(page)


def random_keys(count: int) -> np.ndarray:
    """int64 (count,), in no order."""
    return np.random.default_rng(0).integers(0, 2**63, count)


def sort_without_vectors(count: int) -> float:
    """Seconds of the same sort in a process of its own, where numpy is told to use no vector instructions."""
    from numpy._core._multiarray_umath import __cpu_dispatch__

    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(__cpu_dispatch__)}
    words = [sys.executable, "-W", "ignore", __file__, "--sort", str(count)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True, env=environment).stdout)


def run_lmplz(lmplz: Path, tokens: np.ndarray, order: int, bos_id: int) -> tuple[float, list[int]]:
    """Seconds that KenLM takes for the same documents, its own marks for ours, and how many n-grams of each order it found."""
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "tokens.txt"
        starts = np.flatnonzero(tokens == bos_id)
        with text.open("w") as file:
            for first, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
                file.write(" ".join(map(str, tokens[first + 1 : end - 1].tolist())) + "\n")
        words = [str(lmplz), "-o", str(order), "-S", "4G", "-T", folder, "--text", str(text), "--arpa", "/dev/null"]
        started = time.perf_counter()
        said = subprocess.run(words, check=True, capture_output=True, text=True).stderr
        took = time.perf_counter() - started
    return took, [int(found[1]) for found in re.finditer(r"^\d+ (\d+) D1=", said, re.MULTILINE)]


def against_lmplz(fitting: float, runs: list[tuple[float, list[int]]], num_ngrams: list[int]) -> dict[str, object]:
    """KenLM's figures beside ours; of single tokens it counts those that occur, we the whole vocabulary."""
    took = statistics.median(run[0] for run in runs)
    same = all(run[1][1:] == num_ngrams[1:] for run in runs)
    return {"lmplz_seconds": round(took, 2), "lmplz_over_train": round(took / fitting, 2), "lmplz_same_counts": same}


def fit(tokens: np.ndarray, order: int, bos_id: int) -> NgramTable:
    """Counts, estimates and lays out a model, with the memory that training takes by default."""
    with tempfile.TemporaryDirectory() as folder:
        counted = count(tokens, order, bos_id, Path(folder), usable_memory_bytes() // 2)
        return NgramTable.of(counted, estimate(counted, never_predicted=[bos_id]), vocab_size=VOCAB_SIZE)


def count(tokens: np.ndarray, order: int, bos_id: int, folder: Path, memory_bytes: int) -> list[OrderCounts]:
    """The n-grams of all orders."""
    stream = {"order": order, "vocab_size": VOCAB_SIZE, "bos_id": bos_id, "folder": folder}
    return list(count_ngrams([tokens], **stream, memory_bytes=memory_bytes, where="the benchmark"))


def out_of_core(tokens: np.ndarray, order: int, table: NgramTable, bos_id: int) -> dict[str, object]:
    """What the same model takes within DuckDB's limit, measured in a process that does nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder) / "shard.npy"
        np.save(shard, tokens.astype(np.uint16))
        words = [sys.executable, __file__, "--order", str(order), "--shard", str(shard)]
        result = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        model_of(table, bos_id).save(Path(folder) / "in_memory")
        same = result.pop("sha256") == sha256_file(Path(folder) / "in_memory" / "model.safetensors")
    return {"out_of_core_limit_megabytes": MEMORY_BYTES // 10**6, **result, "out_of_core_same_file": same}


def on_disk(shard: Path, order: int, *, bos_id: int) -> dict[str, object]:
    """Counts, estimates, lays out and saves a model of tokens that are mapped; memory is this process's."""
    tokens = np.load(shard, mmap_mode="r")
    scratch = shard.parent / "scratch"
    begun, started = memory_megabytes("VmHWM"), time.perf_counter()
    with watching(scratch / "sorting") as largest:
        counted = count(tokens, order, bos_id, scratch, MEMORY_BYTES)
        counting, counting_peak = time.perf_counter() - started, memory_megabytes("VmHWM")
        estimated = estimate(counted, never_predicted=[bos_id], new=new_in(scratch))
        table = NgramTable.of(counted, estimated, vocab_size=VOCAB_SIZE)
        fitting, table_peak = time.perf_counter() - started, memory_megabytes("VmHWM")
    model_of(table, bos_id).save(shard.parent / "model")
    return {
        "out_of_core_count_seconds": round(counting, 2),
        "out_of_core_train_seconds": round(fitting, 2),
        "out_of_core_spilled_megabytes": largest["spilled"],
        "out_of_core_megabytes_before": begun,
        "out_of_core_peak_megabytes_counting": counting_peak,
        "out_of_core_peak_megabytes_training": table_peak,
        "out_of_core_peak_megabytes_training_without_mapped_files": largest["anonymous"],
        "out_of_core_peak_megabytes_saving": memory_megabytes("VmHWM"),
        "sha256": sha256_file(shard.parent / "model" / "model.safetensors"),
    }


@contextmanager
def watching(folder: Path) -> Iterator[dict[str, int]]:
    """The most megabytes that lay in a folder, and that this process held besides mapped files."""
    largest = {"spilled": 0, "anonymous": 0}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            largest["anonymous"] = max(largest["anonymous"], memory_megabytes("RssAnon"))
            with suppress(FileNotFoundError):
                size = sum(path.stat().st_size for path in folder.glob("*"))
                largest["spilled"] = max(largest["spilled"], size // 10**6)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield largest
    finally:
        done.set()
        thread.join()


def memory_megabytes(name: str) -> int:
    """Of this process as Linux names it: VmHWM is the most that it held, pages of mapped files included."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024 // 10**6


def model_of(table: NgramTable, bos_id: int) -> NgramModel:
    """With the ids and names that a file needs."""
    return NgramModel(table, tokenizer_hash="0" * 64, bos_id=bos_id, eos_id=2, pad_id=-1)


def seconds(work: Callable[[], object]) -> float:
    """What one call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def read_tokens(count: int) -> tuple[np.ndarray, int]:
    """At most `count` token ids of whole documents, each `<s> tokens </s>`, and the id of `<s>`."""
    texts = documents()
    sample: list[str] = []
    taken: list[str] = []
    num_characters = 0
    for text in texts:
        taken.append(text)
        num_characters += len(text)
        if num_characters <= SAMPLE_CHARACTERS:
            sample.append(text)
        if num_characters > 6 * count:
            break
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in sample for line in text.split("\n") if line),
        model_type="bpe",
        vocab_size=VOCAB_SIZE,
        normalization_rule_name="identity",
        byte_fallback=True,
        minloglevel=2,
        model_writer=model,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    parts: list[np.ndarray] = []
    size = 0
    for ids in processor.encode(taken, num_threads=os.cpu_count() or 1):
        parts.append(np.array([processor.bos_id(), *ids, processor.eos_id()], dtype=np.int64))
        size += parts[-1].size
        if size >= count:
            break
    return np.concatenate(parts), int(processor.bos_id())


def documents() -> Iterator[str]:
    """The text files of the installed packages, in the order of their paths."""
    for path in sorted(Path(sysconfig.get_paths()["purelib"]).rglob("*")):
        if path.suffix in SUFFIXES and path.is_file() and path.stat().st_size < 1_000_000:
            try:
                yield path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


if __name__ == "__main__":
    main()
