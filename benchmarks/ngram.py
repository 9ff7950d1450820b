"""n-grams: training against sorting as many random keys, and scoring, in one run on real text.

    python benchmarks/ngram.py [--tokens 20000000] [--order 5] [--repeats 3]

Text: the Python, RST, Markdown and text files of the installed packages, in 8,192 BPE pieces, a document a file. The measure
is `numpy.sort` of as many random 64-bit keys, since counting n-grams is sorting; KenLM's lmplz took 9.0 times it where both
were measured (order 5, 19.7 M tokens of 8,192 pieces, 15.0 s against 1.67 s). Writes results/ngram.json and ngram.md.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import resource
import statistics
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import sentencepiece  # noqa: E402

from pipeline.models.ngram.counting import count_ngrams  # noqa: E402
from pipeline.models.ngram.kneser_ney import estimate  # noqa: E402
from pipeline.models.ngram.table import NgramTable  # noqa: E402

VOCAB_SIZE = 8192
SAMPLE_CHARACTERS = 10_000_000
SCORED_TOKENS = 1_000_000
SUFFIXES = (".py", ".rst", ".md", ".txt")


def main() -> None:
    """Measures, prints and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=20_000_000)
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    tokens, bos_id = read_tokens(options.tokens + SCORED_TOKENS)
    train, held_out = tokens[:-SCORED_TOKENS], tokens[-SCORED_TOKENS:]
    keys = np.random.default_rng(0).integers(0, 2**63, train.size)
    sorting, training, scoring = [], [], []
    for _ in range(options.repeats):
        sorting.append(seconds(lambda: np.sort(keys)))
        table: list[NgramTable] = []
        training.append(seconds(lambda table=table: table.append(fit(train, options.order, bos_id))))
        scoring.append(seconds(lambda table=table: table[0].score(held_out[None])))
    num_ngrams = table[0].num_ngrams
    sort, fitting, score = map(statistics.median, (sorting, training, scoring))
    result = {
        "tokens": int(train.size),
        "order": options.order,
        "vocab_size": VOCAB_SIZE,
        "ngrams": num_ngrams,
        "sort_seconds": round(sort, 2),
        "train_seconds": round(fitting, 2),
        "train_over_sort": round(fitting / sort, 2),
        "scored_tokens_per_second": round(SCORED_TOKENS / score),
        "peak_memory_gigabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "repeats": options.repeats,
        "load_average": round(os.getloadavg()[0], 1),
        "processor": platform.processor() or platform.machine(),
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


def fit(tokens: np.ndarray, order: int, bos_id: int) -> NgramTable:
    """Counts, estimates and lays out a model."""
    counted = list(count_ngrams(tokens, order=order, vocab_size=VOCAB_SIZE, bos_id=bos_id))
    return NgramTable.of(counted, estimate(counted, never_predicted=[bos_id]), vocab_size=VOCAB_SIZE)


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
