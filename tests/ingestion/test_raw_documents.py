"""The stage accounts for every record, reuses parts, and gives equal bytes whatever the workers and the crashes."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from raw_building import Notes, build, rows, text_source

from pipeline import part_cache
from pipeline.artifacts import ArtifactStore
from pipeline.config.data import JsonSource
from pipeline.errors import ArtifactDamaged, InputError, StageError
from pipeline.ingestion import build as build_module
from pipeline.ingestion import bundles, reading
from pipeline.records import RAW_SCHEMA, REJECT_SCHEMA, Ledger, document_id


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    for name, text in {"a.txt": "First note.", "b.txt": "Zweite Notiz: schön.", "c.txt": "Third."}.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is a part of its own, as large ones are."""
    monkeypatch.setattr(bundles, "SMALL_BYTES", 0)


def test_every_file_is_a_document_with_a_stable_id(tmp_path: Path, notes: Path) -> None:
    artifact = build(tmp_path, text_source())
    documents = sorted(rows(artifact, "documents/*.parquet"), key=lambda row: row["path"])
    assert [(row["path"], row["text"]) for row in documents] == [
        ("a.txt", "First note."),
        ("b.txt", "Zweite Notiz: schön."),
        ("c.txt", "Third."),
    ]
    assert documents[1]["id"] == document_id("Zweite Notiz: schön.")
    assert documents[1]["num_bytes"] == 21
    assert {row["source"] for row in documents} == {"notes"}
    assert all(pq.read_schema(path).equals(RAW_SCHEMA) for path in artifact.files("documents/*.parquet"))
    assert all(pq.read_schema(path).equals(REJECT_SCHEMA) for path in artifact.files("rejects/*.parquet"))
    report = artifact.report()
    assert report.figures["num_documents"] == 3
    assert report.figures["num_bytes"] == 11 + 21 + 6
    assert len(report.samples) == 3


def test_bad_files_and_lines_are_rejects_and_the_ledger_balances(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    good = b'{"text": "good"}\n'
    (folder / "a.jsonl").write_bytes(good + b'{"text": \n' + good)
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(good * 100)[:-9])
    (folder / "c.jsonl").write_bytes(b'{"text": "half \\ud800 pair"}\n')
    (folder / "d.jsonl").write_bytes(b"")
    (folder / "e.jsonl").symlink_to("/etc/passwd")
    artifact = build(tmp_path, JsonSource(reader="json", path="notes"))
    rejects = {(row["path"], row["index"]): (row["reason"], row["num_bytes"]) for row in rows(artifact, "rejects/*")}
    assert rejects == {
        ("a.jsonl", 1): ("invalid_json", 9),
        ("b.jsonl.gz", 0): ("truncated", (folder / "b.jsonl.gz").stat().st_size),
        ("c.jsonl", 0): ("lone_surrogate", 13),
        ("d.jsonl", 0): ("empty", 0),
        ("e.jsonl", 0): ("refused", 0),
    }
    ledger = Ledger.from_json(artifact.manifest.counts["ledger"])
    ledger.check("here")
    assert (ledger.taken.documents, ledger.kept.documents, ledger.kept.num_bytes) == (7, 2, 8)
    assert artifact.report().tables["Rejects by reason"][0].keys() == {"reason", "documents", "bytes"}


def test_a_document_above_the_cap_is_a_reject(tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "MAX_DOCUMENT_BYTES", 10)
    artifact = build(tmp_path, text_source())
    assert sorted(row["reason"] for row in rows(artifact, "rejects/*")) == ["too_large", "too_large"]


def test_a_source_of_nothing_readable_is_an_artifact_without_documents(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text(" \n")
    artifact = build(tmp_path, text_source())
    assert artifact.report().figures["num_documents"] == 0
    assert artifact.manifest.counts["ledger"]["rejected"] == {"empty": {"bytes": 2, "documents": 1}}


def test_a_new_file_is_the_only_one_that_is_read(
    tmp_path: Path, notes: Path, apart: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = build(tmp_path, text_source())
    shutil_rmtree(before.folder)
    read: list[str] = []
    reader = reading.read_text
    monkeypatch.setattr(reading, "read_text", lambda path, *rest: [read.append(path.name), reader(path, *rest)][1])
    (notes / "d.txt").write_text("Fourth.")
    progress = Notes()
    after = build(tmp_path, text_source(), progress=progress)
    assert read == ["d.txt"]
    assert progress.lines == ["3 of 4 parts were there already"]
    assert set(after.files("documents/*")) >= {
        after.folder / path.relative_to(before.folder) for path in before.files("documents/*")
    }


def shutil_rmtree(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def test_workers_do_not_change_the_content(
    tmp_path: Path, notes: Path, apart: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_cache, "SMALL_WORK_BYTES", 0)
    one = build(tmp_path, text_source(), storage="one", num_workers=1)
    two = build(tmp_path, text_source(), storage="two", num_workers=2)
    assert one.manifest.content_hash == two.manifest.content_hash


def test_a_damaged_version_file_is_a_damaged_part_and_both_are_rebuilt(
    tmp_path: Path, notes: Path, apart: None
) -> None:
    artifact = build(tmp_path, text_source())
    damaged = artifact.files("documents/*.parquet")[0]
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    with damaged.open("r+b") as file:  # in place: the part in the cache is the same file
        file.write(data)
    store = ArtifactStore(tmp_path / "storage")
    with pytest.raises(ArtifactDamaged):
        store.verify(artifact)
    progress = Notes()
    again = build(tmp_path, text_source(), progress=progress)
    assert progress.lines == ["2 of 3 parts were there already"]
    store.verify(again)
    assert again.manifest.content_hash == artifact.manifest.content_hash


def test_a_file_that_changes_while_it_is_read_stops_the_run(
    tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = reading.read_text

    def read_and_change(path: Path, *rest: Any) -> Any:
        yield from reader(path, *rest)
        path.write_text("Something else by now.")

    monkeypatch.setattr(reading, "read_text", read_and_change)
    with pytest.raises(InputError, match="changed while it was read"):
        build(tmp_path, text_source())
    assert not (tmp_path / "storage" / "raw_documents" / "notes" / "v").exists()


def test_a_lost_row_is_an_error(tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_cache.PartWriter, "keep", lambda *_: None)
    with pytest.raises(StageError, match="the ledger does not balance"):
        build(tmp_path, text_source())


def test_large_documents_close_a_row_group_early(tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_cache, "ROW_GROUP_BYTES", 1000)
    monkeypatch.setattr(build_module, "BATCH_BYTES", 500)
    (notes / "a.txt").write_text("|".join(f"{number} " + "x" * 400 for number in range(20)))
    artifact = build(tmp_path, text_source(separator="|"))
    groups = max(pq.read_metadata(path).num_row_groups for path in artifact.files("documents/*"))
    assert 5 <= groups <= 10


CRASHING = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[1])))
from raw_building import build, text_source
from pipeline.ingestion import bundles
bundles.SMALL_BYTES = 0
steps = int(sys.argv[3])

def counted(function):
    def call(*arguments, **options):
        global steps
        if steps == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        steps -= 1
        return function(*arguments, **options)
    return call

for name in ("rename", "replace", "link", "fsync", "mkdir"):
    setattr(os, name, counted(getattr(os, name)))
print(build(Path(sys.argv[2]), text_source()).manifest.content_hash)
"""


def crash_after(folder: Path, *, steps: int) -> int:
    """Builds in a process that kills itself with SIGKILL before the given step of publishing."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    words = [sys.executable, "-c", CRASHING, str(Path(__file__).parent), str(folder), str(steps)]
    return subprocess.run(words, env=environment, capture_output=True, check=False, timeout=60).returncode


@pytest.mark.parametrize(
    "steps", [3, 17, *(pytest.param(n, marks=pytest.mark.slow) for n in range(60) if n not in (3, 17))]
)
def test_kill_minus_nine_leaves_old_or_new_and_a_rerun_gives_equal_bytes(
    tmp_path: Path, notes: Path, apart: None, steps: int
) -> None:
    expected = build(tmp_path, text_source(), storage="undisturbed").manifest
    code = crash_after(tmp_path, steps=steps)
    assert code in (-signal.SIGKILL, 0)
    version = tmp_path / "storage" / "raw_documents" / "notes" / "v"
    store = ArtifactStore(tmp_path / "storage")
    found = store.find("raw_documents", "notes", "v")
    assert (found is not None) == version.exists()
    artifact = build(tmp_path, text_source())
    store.verify(artifact)
    assert artifact.manifest.content_hash == expected.content_hash
    assert not [path for path in version.parent.rglob(".draft-*") if path.parent == version.parent / "parts"]
    manifest = json.loads((version / "manifest.json").read_text())
    assert {entry["path"]: entry["sha256"] for entry in manifest["files"]} == {
        entry.path: entry.sha256 for entry in expected.files
    }
