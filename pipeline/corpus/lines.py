"""Lines or paragraphs repeated across documents (navigation, licences): found by hash, removed from what is kept.

In: the Parquet files of clean documents, and the table `verdicts`. Out: `verdicts` with the columns `is_cut` and
`lines_cut` (a hash of which lines go), and the hashes to remove. Each part's distinct lines are hashed by workers and
cached by the part's content; how many kept documents hold a hash is counted in DuckDB. Duplicates and near-duplicates are
gone by then, so that three editions of a novel do not count as boilerplate (CCNet, Wenzek et al. 2020, removes such lines
before deduplication). A document of nothing else is a reject; what is cut from the others is counted in bytes. Documents that
have the same lines once they are cut are duplicates: of pages under two menus one is kept, or the other could be tested on it.
Pairs are left whole: many questions share a context, many turns their beginnings, and a target is nothing without its text.

Trade-off: quality signals are those of the text before the cut, and near-duplicates are told with the boilerplate.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import Draft
from pipeline.config import EngineConfig
from pipeline.config.data import LinesConfig
from pipeline.files import fingerprint, parquet_batches
from pipeline.part_cache import DOCUMENTS, CachedPart, PartWriter, build_parts, write_part
from pipeline.progress import Progress
from pipeline.records import document_id

REPEATED_LINES = "repeated_lines"
CODE_VERSION = "2"
NUM_SHOWN = 20
SMALL_WORK_BYTES = 10_000_000
"""Of compressed documents: hashing these takes this process less time than starting workers."""

SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("num_bytes", pa.int64(), nullable=False),
        pa.field("hashes", pa.list_(pa.uint64()), nullable=False),  # distinct lines that are long enough
        pa.field("has_others", pa.bool_(), nullable=False),  # it has shorter lines, which are never cut
        pa.field("units", pa.list_(pa.uint64()), nullable=False),  # all lines in order; none of a pair
    ]
)

_PARAGRAPH_END = re.compile(r"(\n(?:[^\S\n]*\n)+)")
_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n){2,}")
_BATCH_ROWS = 256

_HELD = """
CREATE TABLE held AS
SELECT verdicts.filename, verdicts.file_row_number, unnest(parts.hashes) AS hash
FROM read_parquet($parts, filename = true, hive_partitioning = false) AS parts
JOIN hashed ON hashed.parts = parts.filename
JOIN verdicts ON verdicts.filename = hashed.clean AND verdicts.file_row_number = parts.row
WHERE verdicts.reason IS NULL
"""

_REPEATED = """
CREATE TABLE repeated AS
SELECT hash, count(*) AS num_documents FROM held GROUP BY hash HAVING count(*) > $limit
"""

_CUT = """
CREATE TABLE cut AS
SELECT held.filename, held.file_row_number, count(*) AS num_repeated, bit_xor(hash(hash)) AS lines
FROM held JOIN repeated USING (hash) GROUP BY held.filename, held.file_row_number
"""

_EMPTIED = """
CREATE TABLE emptied AS
SELECT cut.filename, cut.file_row_number
FROM read_parquet($parts, filename = true, hive_partitioning = false) AS parts
JOIN hashed ON hashed.parts = parts.filename
JOIN cut ON cut.filename = hashed.clean AND cut.file_row_number = parts.row
WHERE cut.num_repeated = len(parts.hashes) AND NOT parts.has_others
"""

_REJECT = """
UPDATE verdicts SET reason = 'repeated_lines', detail = 'nothing but text that more than ' || $limit || ' documents hold'
FROM emptied
WHERE verdicts.filename = emptied.filename AND verdicts.file_row_number = emptied.file_row_number
"""

_LEFT = """
CREATE TABLE remaining AS
SELECT filename, file_row_number, hash(list(unit ORDER BY place)) AS text
FROM (
    SELECT cut.filename, cut.file_row_number, unnest(parts.units) AS unit, generate_subscripts(parts.units, 1) AS place
    FROM read_parquet($parts, filename = true, hive_partitioning = false) AS parts
    JOIN hashed ON hashed.parts = parts.filename
    JOIN cut ON cut.filename = hashed.clean AND cut.file_row_number = parts.row
)
WHERE unit NOT IN (SELECT hash FROM repeated) GROUP BY filename, file_row_number
"""

_SAME = """
CREATE TABLE same AS
WITH texts AS (
    SELECT * FROM remaining
    UNION ALL
    SELECT hashed.clean, parts.row, hash(parts.units)
    FROM read_parquet($parts, filename = true, hive_partitioning = false) AS parts
    JOIN hashed ON hashed.parts = parts.filename
    ANTI JOIN cut ON cut.filename = hashed.clean AND cut.file_row_number = parts.row
    WHERE hash(parts.units) IN (SELECT text FROM remaining)
)
SELECT filename, file_row_number,
       row_number() OVER copies AS copy,
       first(id || ' (' || source || ':' || path || ':' || "index" || ')') OVER copies AS keeper,
       first(cluster_id) OVER copies AS cluster_id,
       sum(cluster_size) OVER (PARTITION BY text)::BIGINT AS cluster_size
FROM texts JOIN verdicts USING (filename, file_row_number)
WHERE reason IS NULL
WINDOW copies AS (
    PARTITION BY text
    ORDER BY coalesce(nullif(list_position($held_out::VARCHAR[], source), 0), 1000000), id, source, path, "index"
)
QUALIFY count(*) OVER (PARTITION BY text) > 1
"""
"""`$held_out` are the sources that are a held-out split as a whole: they lose no document to others."""

_DROP_COPIES = """
UPDATE verdicts
SET reason = CASE WHEN copy > 1 THEN 'duplicate' END,
    detail = CASE WHEN copy > 1 THEN 'the same text as ' || keeper || ' once repeated ' || $unit || 's are cut' END,
    cluster_id = same.cluster_id,
    cluster_size = same.cluster_size
FROM same
WHERE verdicts.filename = same.filename AND verdicts.file_row_number = same.file_row_number
"""

_MARK = """
UPDATE verdicts SET is_cut = true, lines_cut = cut.lines FROM cut
WHERE verdicts.reason IS NULL AND verdicts.filename = cut.filename AND verdicts.file_row_number = cut.file_row_number
"""


def split_units(text: str, unit: Literal["line", "paragraph"]) -> list[str]:
    """Alternately a unit and the separator after it; joined they are the text.

    `split_units("a\\nb", "line") == ["a", "\\n", "b"]`
    """
    if unit == "paragraph":
        return _PARAGRAPH_END.split(text)
    lines = text.split("\n")
    return [piece for line in lines for piece in (line, "\n")][:-1]


def unit_hash(unit: str) -> int:
    """64 bits of BLAKE2b of the unit without surrounding white space."""
    digest = hashlib.blake2b(unit.strip().encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    key: str
    clean: Path
    num_bytes: int
    parts_folder: Path
    where: str
    unit: Literal["line", "paragraph"]
    min_characters: int

    @property
    def description(self) -> str:
        return f"{self.where} {self.clean}"


def hash_lines(
    draft: Draft, *, config: LinesConfig, clean: Mapping[Path, str], engine: EngineConfig, progress: Progress
) -> dict[Path, Path]:
    """File of clean documents -> its lines' hashes, from the cache or by workers; `clean` is path -> sha256.

    Raises:
        StageError: a part failed at every try.
        StorageError: the disk is full, read-only or forbidden.
    """
    parts_folder = draft.folder.parent / "parts"
    keys = {
        path: fingerprint([REPEATED_LINES, CODE_VERSION, sha, config.unit, config.min_characters])
        for path, sha in clean.items()
    }
    tasks = {
        key: _Task(
            key=key,
            clean=path,
            num_bytes=path.stat().st_size,
            parts_folder=parts_folder,
            where=f"corpus/{draft.name}",
            unit=config.unit,
            min_characters=config.min_characters,
        )
        for path, key in keys.items()
    }
    built = build_parts(
        list(tasks.values()),
        _build_part,
        parts_folder=parts_folder,
        engine=engine,
        progress=progress,
        small_work_bytes=SMALL_WORK_BYTES,
    )
    tables = {part.key: part.table(DOCUMENTS) for part in built.parts}
    return {path: tables[key] for path, key in keys.items()}


def _build_part(task: _Task) -> CachedPart:
    return write_part(
        task.parts_folder,
        task.key,
        schema=SCHEMA,
        bytes_column="num_bytes",
        where=task.where,
        fill=lambda writer: _fill(writer, task),
    )


def _fill(writer: PartWriter, task: _Task) -> Mapping[str, Any]:
    number = 0
    for texts in _texts(task.clean):
        rows: list[dict[str, Any]] = []
        for text, is_pair in texts:
            pieces = [] if is_pair else split_units(text, task.unit)[::2]
            units = [unit for piece in pieces if (unit := piece.strip())]
            hashed = [unit_hash(unit) for unit in units]
            is_long = [len(unit) >= task.min_characters for unit in units]
            row = {
                "row": number,
                "num_bytes": len(text.encode("utf-8", "surrogatepass")),
                "hashes": sorted(set(itertools.compress(hashed, is_long))),
                "has_others": is_pair or not all(is_long),
                "units": hashed,
            }
            rows.append(row)
            number += 1
        writer.take(documents=len(rows), num_bytes=sum(row["num_bytes"] for row in rows))
        writer.keep(pa.RecordBatch.from_pylist(rows, SCHEMA))
    return {}


def _texts(clean: Path) -> Iterator[list[tuple[str, bool]]]:
    """Texts, each with whether it is half of a pair."""
    for batch in parquet_batches(clean, columns=["text", "target"], num_rows=_BATCH_ROWS):
        yield list(zip(batch["text"].to_pylist(), batch["target"].is_valid().to_pylist(), strict=True))


def find_repeated(
    connection: duckdb.DuckDBPyConnection,
    *,
    config: LinesConfig,
    hashed: Mapping[Path, Path],
    fixed: Mapping[str, str],
) -> LineCutter:
    """Marks in `verdicts` which documents are cut, emptied, or others' copies once they are cut; returns what cuts them.

    `fixed` are the sources that are one split: of copies theirs is kept.
    """
    connection.execute("CREATE TABLE hashed (clean VARCHAR, parts VARCHAR)")
    connection.executemany("INSERT INTO hashed VALUES (?, ?)", [(str(a), str(b)) for a, b in hashed.items()])
    files = sorted({str(path) for path in hashed.values()})
    (num_kept,) = connection.execute("SELECT count(*) FROM verdicts WHERE reason IS NULL").fetchall()[0]
    limit = config.max_documents if isinstance(config.max_documents, int) else int(config.max_documents * num_kept)
    limit = max(limit, 1)
    connection.execute(_HELD, {"parts": files})
    connection.execute(_REPEATED, {"limit": limit})
    connection.execute(_CUT)
    connection.execute("DROP TABLE held")
    connection.execute(_EMPTIED, {"parts": files})
    connection.execute(_REJECT, {"limit": limit})
    connection.execute(_LEFT, {"parts": files})
    held_out = [source for split in ("test", "validation") for source in sorted(fixed) if fixed[source] == split]
    connection.execute(_SAME, {"parts": files, "held_out": held_out})
    connection.execute(_DROP_COPIES, {"unit": config.unit})
    connection.execute(_MARK)
    repeated = connection.execute(
        "SELECT hash, num_documents FROM repeated ORDER BY num_documents DESC, hash"
    ).fetchall()
    return LineCutter(unit=config.unit, num_documents=dict(repeated))


@dataclass(slots=True, kw_only=True)
class LineCutter:
    """Cuts repeated lines out of documents, and counts what it cut."""

    unit: Literal["line", "paragraph"]
    num_documents: dict[int, int]
    """Hash of a repeated line -> documents that hold it, the most frequent first."""
    removed_bytes: int = 0
    by_split: Counter[str] = field(default_factory=Counter)
    """Bytes removed."""
    shown: dict[int, str] = field(default_factory=dict)
    """The most frequent lines as text."""

    @classmethod
    def of(cls, repeated: Path, *, unit: Literal["line", "paragraph"]) -> LineCutter:
        """A worker's: the hashes from a file, the most frequent first."""
        hashes = pq.read_table(repeated)["hash"].to_pylist()
        return cls(unit=unit, num_documents=dict.fromkeys(hashes, 0))

    def shown_hashes(self) -> list[int]:
        """The lines that are shown as text, the most frequent first."""
        return list(self.num_documents)[:NUM_SHOWN]

    def account(self) -> dict[str, Any]:
        """What a worker cut, as JSON values."""
        shown = {str(number): text for number, text in sorted(self.shown.items())}
        return {"removed_bytes": self.removed_bytes, "by_split": dict(sorted(self.by_split.items())), "shown": shown}

    def merge(self, account: Mapping[str, Any]) -> None:
        """Adds what a worker cut."""
        self.removed_bytes += account["removed_bytes"]
        self.by_split.update(account["by_split"])
        self.shown |= {int(number): text for number, text in account["shown"].items()}

    def cut(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The batches without repeated lines in rows where `is_cut`; sizes and `text_hash` are those of the new text.

        `split` names whose account the removed bytes go to.
        """
        top = set(self.shown_hashes())
        for batch in batches:
            marks = batch["is_cut"].to_pylist()
            if any(marks):
                rows = batch.to_pylist()
                for row in (row for row, mark in zip(rows, marks, strict=True) if mark):
                    self._cut_row(row, top)
                batch = pa.RecordBatch.from_pylist(rows, batch.schema)
            yield batch

    def _cut_row(self, row: dict[str, Any], top: set[int]) -> None:
        units = split_units(row["text"], self.unit)
        kept = []
        for unit, separator in zip(units[::2], [*units[1::2], ""], strict=True):
            number = unit_hash(unit) if unit.strip() else None
            if number is None or number not in self.num_documents:
                kept += [unit, separator]
            elif number in top:
                self.shown[number] = unit.strip()
        text = _BLANK_LINES.sub("\n\n", "".join(kept)).strip("\n")
        num_bytes = len(text.encode("utf-8", "surrogatepass"))
        self.removed_bytes += row["num_bytes"] - num_bytes
        self.by_split[row["split"]] += row["num_bytes"] - num_bytes
        row |= {
            "text": text,
            "num_bytes": num_bytes,
            "text_hash": document_id(text, row["target"]),
            "num_characters": len(text),
            "num_words": len(text.split()),
            "num_lines": text.count("\n") + 1 if text else 0,
        }

    def table(self) -> list[dict[str, int | str]]:
        """The most frequent of what was cut, for the report."""
        return [
            {"text": self.shown[number][:200], "documents": self.num_documents[number]}
            for number in self.shown_hashes()
            if number in self.shown
        ]
