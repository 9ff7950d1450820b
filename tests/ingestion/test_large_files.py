"""Lines of 200 MB and files of many ranges are read in bounded memory, in a process whose peak is looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MEASURE = """
import json, resource, sys
from collections import Counter
from pathlib import Path
from pydantic import TypeAdapter
from pipeline.config.data import SourceConfig
from pipeline.ingestion.reading import read_file
from pipeline.ingestion.items import Document, FileRejected
from pipeline.ingestion.parts import list_parts
config = TypeAdapter(SourceConfig).validate_python(json.loads(sys.argv[1]))
folder = Path(sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
outcome, indexes = Counter(), []
parts = list_parts(config, folder=folder, cache_folder=folder / "data")
for part in parts:
    try:
        for item in read_file(Path(part.location), config, Counter(), part.range):
            outcome["kept" if isinstance(item, Document) else item.reason] += 1
            indexes.append(item.index)
    except FileRejected as error:
        outcome[error.reason] += 1
assert len(set(indexes)) == len(indexes)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([len(parts), outcome, (peak - before) // 1024]))
"""


def measure(folder: Path, config: dict[str, str]) -> tuple[int, dict[str, int], int]:
    """Parts, what became of the records, and the megabytes that reading added to the process."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    words = [sys.executable, "-c", MEASURE, json.dumps(config), str(folder)]
    answer = subprocess.run(words, env=environment, capture_output=True, check=True, timeout=300, text=True).stdout
    num_parts, outcome, megabytes = json.loads(answer)
    return num_parts, outcome, megabytes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "opening", "closing", "config", "outcome"),
    [
        ("x.jsonl", '{"text": "', '"}\n', {"reader": "json"}, {"kept": 2, "line_too_long": 1}),
        ("x.csv", "", "\n", {"reader": "csv"}, {"kept": 1, "line_too_long": 1}),
        # the text reader gives the 200 MB as a document, which the stage's own check rejects as too large
        ("x.txt", "", "\n---", {"reader": "text", "separator": "\n---"}, {"kept": 3, "empty": 1}),
        ("x.md", "", "\n", {"reader": "markdown"}, {"too_large": 1}),
        ("x.xml", "<mediawiki><page><ns>0</ns><text>", "</text></page></mediawiki>", {"reader": "wikipedia"}, {}),
    ],
)
def test_a_line_of_200_megabytes(
    tmp_path: Path, name: str, opening: str, closing: str, config: dict[str, str], outcome: dict[str, int]
) -> None:
    short = "" if name == "x.xml" else opening + "text" + closing
    with (tmp_path / name).open("w") as file:
        file.write(short + opening)
        for _ in range(200):
            file.write("x" * 1_000_000)
        file.write(closing + short)
    _, found, megabytes = measure(tmp_path, {**config, "path": name})
    assert found == (outcome or {"too_large": 1})
    assert megabytes < (900 if name == "x.txt" else 300)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x.jsonl", "x.csv"])
def test_a_file_of_many_ranges(tmp_path: Path, name: str) -> None:
    num_rows = 60_000
    with (tmp_path / name).open("w") as file:
        file.write("text\n" if name == "x.csv" else "")
        for number in range(num_rows):
            text = f"{number} " + "some words of it, " * 250
            file.write(f'"{text}\n""quoted"""\n' if name == "x.csv" else json.dumps({"text": text}) + "\n")
    num_parts, outcome, megabytes = measure(tmp_path, {"reader": "csv" if name == "x.csv" else "json", "path": name})
    assert num_parts == 5  # 257 MB in ranges of 64
    assert outcome == {"kept": num_rows}
    assert megabytes < 200
