"""Our signals and rules over a folder of Parquet files with `id` and `text`: `FOLDER NUM_WORKERS`.

Prints the seconds from the files to the ids that are kept, and how many, as JSON. The clock starts when this process has
imported what it needs; the start of its workers, and what they import, counts.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.cleaning.signals import measure
from pipeline.config import CorpusConfig, EngineConfig
from pipeline.engine import map_parts
from pipeline.progress import SilentProgress
from pipeline.records import CLEAN_SCHEMA

RULE_SETS = ("gopher_repetition", "gopher", "c4", "fineweb")
BATCH_ROWS = 1024


def run_ours(folder: Path, num_workers: int) -> dict[str, Any]:
    """Signals on processes, verdicts by DuckDB."""
    files = sorted(folder.glob("*.parquet"))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as work:
        parts = [(path, Path(work) / path.name) for path in files]
        map_parts(
            write_signals, parts, engine=EngineConfig(workers=num_workers), describe=str, progress=SilentProgress()
        )
        kept = len(judge([made for _, made in parts], RULE_SETS)[""])
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "kept": kept}


def write_signals(part: tuple[Path, Path]) -> None:
    """The signals of one file, as the cleaning stage computes them, without the text."""
    source, made = part
    writer = None
    for batch in pq.ParquetFile(source).iter_batches(BATCH_ROWS):
        signals = measure(batch["text"].to_pylist(), ["en"] * batch.num_rows)
        columns: dict[str, Any] = {"id": batch["id"]}
        columns |= {name: pa.array(values, CLEAN_SCHEMA.field(name).type) for name, values in signals.items()}
        count = [None] * batch.num_rows
        columns |= {name: pa.array(count, pa.string()) for name in ("source", "path", "text_hash")}
        columns |= {name: pa.array(count, pa.int64()) for name in ("index", "num_bytes")}
        table = pa.table({**columns, "language": ["en"] * batch.num_rows})
        writer = writer or pq.ParquetWriter(made, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def judge(files: list[Path], rule_sets: tuple[str, ...]) -> dict[str, list[str]]:
    """Ids by the rule that rejects them; those of "" are kept."""
    # what workers have no need of
    import duckdb

    from pipeline.corpus.rules import judging, rules_of

    quality = {"rules": list(rule_sets)}
    config = CorpusConfig.model_validate({"sources": {"all": 1}, "quality": quality})
    statement, values = judging(rules_of(config))
    by_rule: dict[str, list[str]] = {}
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute(statement, {"files": list(map(str, files)), **values})
        for identifier, rule in connection.execute("SELECT id, coalesce(rule, '') FROM judged").fetchall():
            by_rule.setdefault(rule, []).append(identifier)
    return by_rule


def main() -> None:
    """Runs once and prints what it found."""
    # workers know the function by its module's name, not by this script's
    import clean_ours

    print(json.dumps(clean_ours.run_ours(Path(sys.argv[1]), int(sys.argv[2]))))


if __name__ == "__main__":
    main()
