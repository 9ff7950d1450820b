"""What the quality rules say of each part of the clean documents, by workers, cached by the part's content and the rules.

In: the Parquet files of clean documents, and the rules (rules.py). Out: for each file a cached part: `documents`, a row for
each document that no rule rejects, with what deduplication asks for; `rejects` (REJECT_SCHEMA) with value, threshold and
excerpt; how many documents there are of each language, and which columns of pairs have a value. The corpus decides over these
alone: neither the signals nor the rejected documents are read again when documents are added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artifacts import Draft
from pipeline.config import CorpusConfig, EngineConfig
from pipeline.config.quality import EVERY_LANGUAGE, languages_of
from pipeline.corpus.database import WORKER_SETTINGS, locked, stream
from pipeline.corpus.rules import Unjudged, failing, judging, rules_of
from pipeline.engine import IN_THIS_PROCESS, map_parts
from pipeline.errors import StageError
from pipeline.files import fingerprint, storage_errors, stream_parquet
from pipeline.part_cache import DOCUMENTS, REJECTS, CachedPart, Tables, aside, load_parts, write_tables
from pipeline.progress import Progress
from pipeline.records import REJECT_SCHEMA, Ledger

CODE_VERSION = "2"
SMALL_WORK_BYTES = 2_000_000
"""Of compressed documents: judging these takes this process less time than starting workers."""
_FILES_A_TASK, _LEAST_TASKS = 16, 8

SCHEMA = pa.schema(
    [
        pa.field("file_row_number", pa.int64(), nullable=False),  # of the document in its clean file
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("text_hash", pa.string(), nullable=False),
        pa.field("num_bytes", pa.int64(), nullable=False),
    ]
)

SIDES = ("source_hash", "target_hash", "group_id")
"""What pairs can share, of CLEAN_SCHEMA, in the order of `_LANGUAGES`."""

_LANGUAGES = """
SELECT language, count(*), count(source_hash), count(target_hash), count(group_id)
FROM read_parquet($file, hive_partitioning = false) GROUP BY language ORDER BY language
"""

_KEPT = "SELECT * FROM judged WHERE filename = $file AND rule IS NULL ORDER BY file_row_number"

_REJECTED = """
SELECT 'corpus' AS stage, judged.source, judged.path, judged."index", judged.id, judged.rule AS reason,
       judged.rule_detail AS detail, judged.value, judged.threshold, NULL::VARCHAR AS cluster_id, judged.num_bytes,
       left(documents.text, 200) AS excerpt
FROM read_parquet($file, file_row_number = true, hive_partitioning = false) AS documents JOIN judged USING (file_row_number)
WHERE judged.filename = $file AND judged.rule IS NOT NULL
ORDER BY judged.file_row_number
"""

LOADED = """
CREATE TABLE judged AS
SELECT names.clean AS filename, parts.* EXCLUDE (filename), NULL::VARCHAR AS rule, NULL::VARCHAR AS rule_detail,
       NULL::DOUBLE AS value, NULL::DOUBLE AS threshold
FROM read_parquet($files, filename = true, hive_partitioning = false) AS parts
JOIN (SELECT unnest($parts) AS part, unnest($clean) AS clean) AS names ON names.part = parts.filename
"""
"""Files that are equal share a part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """Several files for one worker: planning the rules' statement takes longer than running it over one."""

    files: tuple[tuple[Path, str], ...]
    """Clean documents, and the key of what is said of them."""
    parts_folder: Path
    where: str
    config: CorpusConfig

    @property
    def description(self) -> str:
        return f"{self.where}, its rules over {self.files[0][0]} and what follows"


def judge_documents(
    draft: Draft, *, config: CorpusConfig, clean: Mapping[Path, str], engine: EngineConfig, progress: Progress
) -> dict[Path, CachedPart]:
    """File of clean documents -> what the rules say of it, from the cache or by workers; `clean` is path -> sha256.

    Raises:
        StageError: a condition of the user's own cannot be computed for a document, or a part failed at every try.
        StorageError: the disk is full, read-only or forbidden.
    """
    parts_folder = draft.folder.parent / "parts"
    rules = list(judging(rules_of(config)))
    keys = {path: f"judged-{fingerprint([CODE_VERSION, sha, *rules])}" for path, sha in clean.items()}
    found = load_parts(parts_folder, keys.values())
    missing = [(path, key) for key, path in {key: path for path, key in keys.items() if key not in found}.items()]
    size = min(max(len(missing) // _LEAST_TASKS, 1), _FILES_A_TASK)
    tasks = [
        _Task(
            files=tuple(missing[start : start + size]),
            parts_folder=parts_folder,
            where=f"corpora.{draft.name}",
            config=config,
        )
        for start in range(0, len(missing), size)
    ]
    sizes = [sum(path.stat().st_size for path, _ in task.files) for task in tasks]
    built = map_parts(
        _judge,
        tasks,
        engine=IN_THIS_PROCESS if sum(sizes) < SMALL_WORK_BYTES else engine,
        describe=lambda task: task.description,
        progress=progress,
        sizes=sizes,
    )
    found |= {part.key: part for parts in built for part in parts}
    return {path: found[key] for path, key in keys.items()}


def load_judged(connection: duckdb.DuckDBPyConnection, judged: Mapping[Path, CachedPart]) -> None:
    """Makes the table `judged`: the documents that no rule rejects, with the file and row where each lies."""
    parts = [str(part.table(DOCUMENTS)) for part in judged.values()]
    connection.execute(LOADED, {"files": sorted(set(parts)), "parts": parts, "clean": list(map(str, judged))})


def rejected_rows(judged: Mapping[Path, CachedPart]) -> dict[str, Sequence[int]]:
    """The rows of each file that a rule rejects."""
    found: dict[str, Sequence[int]] = {}
    for path, part in judged.items():
        kept = pq.read_table(part.table(DOCUMENTS), columns=["file_row_number"])["file_row_number"].to_pylist()
        found[str(path)] = sorted(set(range(part.ledger.taken.documents)).difference(kept))
    return found


def sides_of(judged: Mapping[Path, CachedPart]) -> dict[str, list[str]]:
    """File of clean documents -> the columns of `SIDES` in which one of them has a value."""
    return {str(path): list(part.account["sides"]) for path, part in judged.items()}


def unjudged(config: CorpusConfig, judged: Mapping[Path, CachedPart]) -> list[Unjudged]:
    """Which documents a rule set did not judge, being in another language; the most first."""
    languages: Counter[str] = Counter()
    for part in judged.values():
        languages.update(part.account["languages"])
    ordered = sorted(languages.items(), key=lambda item: (-item[1], item[0]))
    return [
        Unjudged(rule_set=rule_set, language=language, documents=documents)
        for rule_set in config.quality.rules
        for language, documents in ordered
        if not {language, EVERY_LANGUAGE} & set(languages_of(rule_set))
    ]


def _judge(task: _Task) -> list[CachedPart]:
    statement, values = judging(rules_of(task.config))
    names = [str(path) for path, _ in task.files]
    with storage_errors(task.parts_folder):
        task.parts_folder.mkdir(parents=True, exist_ok=True)
    scratch = aside(task.parts_folder, "judged-scratch")
    paths = [path for path, _ in task.files]
    with locked(scratch, files=paths, where=task.where, settings=WORKER_SETTINGS) as connection:
        try:
            connection.execute(statement, {"files": names, **values})
        except duckdb.DataError as error:
            raise StageError(
                f"{task.where}.quality.{failing(connection, task.config, names)} cannot be computed for every document "
                f"({str(error).splitlines()[0]}). Correct it; TRY_CAST gives null, which keeps the document."
            ) from error
        return [
            write_tables(
                task.parts_folder,
                key,
                where=f"{task.where} {path}",
                write=lambda folder, path=path: _write(folder, connection, path),  # type: ignore[misc]
            )
            for path, key in task.files
        ]


def _write(folder: Path, connection: duckdb.DuckDBPyConnection, clean: Path) -> Tables:
    of_file = {"file": str(clean)}
    counted = connection.execute(_LANGUAGES, of_file).fetchall()
    languages = {language: num_documents for language, num_documents, *_ in counted}
    sides = [side for number, side in enumerate(SIDES, start=2) if any(row[number] for row in counted)]
    rows = {
        name: stream_parquet(folder / f"{name}.parquet", stream(connection, statement, schema, of_file), schema)
        for name, statement, schema in ((DOCUMENTS, _KEPT, SCHEMA), (REJECTS, _REJECTED, REJECT_SCHEMA))
    }
    ledger = Ledger()
    sizes = pq.read_table(clean, columns=["num_bytes"])["num_bytes"]
    ledger.take(documents=len(sizes), num_bytes=pc.sum(sizes).as_py() or 0)
    count_kept(ledger, folder / f"{DOCUMENTS}.parquet")
    count_rejects(ledger, folder / f"{REJECTS}.parquet")
    return Tables(rows=rows, ledger=ledger, account={"languages": languages, "sides": sides})


def count_kept(ledger: Ledger, file: Path) -> None:
    """Adds the documents that lie in a file."""
    sizes = pq.read_table(file, columns=["num_bytes"])["num_bytes"]
    ledger.keep(documents=len(sizes), num_bytes=pc.sum(sizes).as_py() or 0)


def count_rejects(ledger: Ledger, file: Path) -> None:
    """Adds the rejects that lie in a file."""
    rejects = pq.read_table(file, columns=["reason", "num_bytes"])
    for row in rejects.group_by("reason").aggregate([("num_bytes", "count"), ("num_bytes", "sum")]).to_pylist():
        ledger.reject(row["reason"], documents=row["num_bytes_count"], num_bytes=row["num_bytes_sum"])
