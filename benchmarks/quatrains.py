"""Form of generated poems: of quatrains begun with a title and a first couplet, how many are ended in the same metre.

    python benchmarks/quatrains.py [MODEL] [--config examples/tang_poems.yaml] [--count N] [--seed N]

Asked for are quatrains (jueju: two couplets of two half-lines, all of five or all of seven characters): those of the test
split, each with its title and first couplet as the prompt. The registered model draws what follows as `textmill generate` does. A
quatrain is right where its second line is again two half-lines of as many characters. Where there are fewer prompts than poems
to write, each is asked again with another seed. Titles alone are prompts too: right is a poem whose first four half-lines are all
of five or all of seven. Prints both with some poems, writes results/quatrains.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import pyarrow.parquet as pq  # noqa: E402
from machine import processor  # noqa: E402

from pipeline.artifacts import ArtifactStore  # noqa: E402
from pipeline.config import load_project  # noqa: E402
from pipeline.registry.connection import tracking_uri  # noqa: E402
from pipeline.serving.generate import load_any  # noqa: E402

HALF_LINES_OF_A_QUATRAIN = 4
METRES = (5, 7)
"""Characters of a half-line."""


def main() -> None:
    """Measures, prints and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", nargs="?", default="poet")
    parser.add_argument("--config", type=Path, default=ROOT / "examples" / "tang_poems.yaml")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    project = load_project(options.config)
    corpus = project.datasets[project.models[options.model].dataset].corpus
    artifact = ArtifactStore(project.storage_folder).current("corpus", corpus)
    if artifact is None:
        sys.exit(f"corpus/{corpus} is not built. Run `textmill run --config {options.config} {options.model}` first.")
    test = artifact.file("documents/test.parquet")
    held_out = [text for text in pq.read_table(test, columns=["text"])["text"].to_pylist() if is_quatrain(text)]
    if not held_out:
        sys.exit(f"The test split of corpus/{corpus} holds no quatrain. Take another corpus.")
    writer = load_any(options.model, tracking_uri(project.storage_folder))
    results: dict[str, Any] = {}
    for kind, num_lines in (("title and first couplet", 2), ("title", 1)):
        prompts = ["\n".join(text.split("\n")[:num_lines]) + "\n" for text in held_out]
        poems: list[str] = []
        for seed in range(
            options.seed, options.seed + -(-options.count // len(prompts))
        ):  # each prompt as often as needed
            written = writer.answer(prompts, {"max_new_tokens": 60, "seed": seed})
            poems += [prompt + text for prompt, text in zip(prompts, written, strict=True)]
        poems = poems[: options.count]
        right = [metre_of(poem) is not None for poem in poems]
        results[kind] = {"asked": len(poems), "right": sum(right)}
        print(f"{kind}: {sum(right)} of {len(poems)} have four half-lines of one length")
        for poem, is_right in list(zip(poems, right, strict=True))[:3]:
            print(f"  {'right' if is_right else 'wrong'}: {poem!r}")
    results |= {"machine": processor(), "versions": {"python": platform.python_version(), "torch": version("torch")}}
    file = options.results / "quatrains.json"
    file.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    print(f"wrote {file}")


def half_lines(poem: str) -> list[str]:
    """The parts of a poem after its title, by its punctuation, as far as they are ended.

    >>> half_lines("題\\n牀前看月光，疑是地上霜。\\n舉頭")
    ['牀前看月光', '疑是地上霜']
    """
    body = "".join(poem.split("\n")[1:])
    return re.split("[，。？！；]", body)[:-1]


def metre_of(poem: str) -> int | None:
    """Characters of each of the first four half-lines where they are equally long and five or seven, else None."""
    lengths = {len(part) for part in half_lines(poem)[:HALF_LINES_OF_A_QUATRAIN]}
    if len(half_lines(poem)) < HALF_LINES_OF_A_QUATRAIN or len(lengths) > 1:
        return None
    (length,) = lengths
    return length if length in METRES else None


def is_quatrain(poem: str) -> bool:
    """Whether a poem of the corpus is a title, then two lines of two half-lines of one metre."""
    return (
        len(poem.split("\n")) == 3 and len(half_lines(poem)) == HALF_LINES_OF_A_QUATRAIN and metre_of(poem) is not None
    )


if __name__ == "__main__":
    main()
