"""The stage keeps every document it can read, says why not otherwise, and does not depend on its workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import part_cache
from pipeline.artifacts import Artifact, ArtifactStore
from pipeline.cleaning.build import _batches, build_clean_documents
from pipeline.cleaning.clean import clean_batch
from pipeline.config import EngineConfig
from pipeline.config.data import TextSource
from pipeline.errors import StageError
from pipeline.ingestion import bundles
from pipeline.ingestion.build import build_raw_documents
from pipeline.progress import SilentProgress
from pipeline.records import CLEAN_SCHEMA, RAW_SCHEMA, REJECT_SCHEMA, Ledger, document_id

ENGLISH = "It is a truth universally acknowledged, that a single man must be in want of a wife.\r\n\r\n"


def batch_of(*texts: str) -> pa.RecordBatch:
    rows = [
        {
            "id": document_id(text),
            "source": "notes",
            "path": "a.txt",
            "index": index,
            "title": None,
            "text": text,
            "num_bytes": len(text.encode()),
        }
        for index, text in enumerate(texts)
    ]
    return pa.RecordBatch.from_pylist(rows, RAW_SCHEMA)


def store_of(folder: Path) -> ArtifactStore:
    return ArtifactStore(folder / "storage")


def build_raw(folder: Path, *, version: str = "raw") -> Artifact:
    with store_of(folder).draft(
        stage="raw_documents", name="notes", version=version, code_version="1", literals={}, inputs={}
    ) as draft:
        return build_raw_documents(
            draft,
            name="notes",
            config=TextSource(reader="text", path="notes"),
            folder=folder,
            cache_folder=folder / "storage",
            engine=EngineConfig(workers=1),
            progress=SilentProgress(),
        )


def build_clean(
    folder: Path, raw: Artifact, *, num_workers: int = 1, version: str = "v", name: str = "notes"
) -> Artifact:
    with store_of(folder).draft(
        stage="clean_documents", name=name, version=version, code_version="1", literals={}, inputs={"raw": raw.ref}
    ) as draft:
        return build_clean_documents(
            draft, raw=raw, engine=EngineConfig(workers=num_workers), progress=SilentProgress()
        )


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.txt").write_bytes(ENGLISH.encode())
    (folder / "b.txt").write_text("It â€™s a broken note, but one that can be read again when it is repaired.")
    (folder / "c.txt").write_text("\x00\x01\x02 mostly not text \x03\x04\x05")
    (folder / "d.txt").write_text("\ufeff\x00" + "\n" * 20 + "\u2028")
    return folder


def test_a_batch_gets_its_signals() -> None:
    kept, rejects = clean_batch(batch_of(ENGLISH))
    assert rejects == []
    assert kept.schema.equals(CLEAN_SCHEMA)
    (row,) = kept.to_pylist()
    text = ENGLISH.rstrip()
    assert row["text"] == text
    assert (row["id"], row["text_hash"]) == (document_id(ENGLISH), document_id(text))
    assert (row["raw_bytes"], row["num_bytes"]) == (len(ENGLISH), len(text))
    assert (row["language"], row["repaired"], row["num_words"]) == ("en", False, 17)


def test_texts_that_differ_in_line_ends_only_share_their_hash() -> None:
    kept, _ = clean_batch(batch_of("one\r\ntwo \r\n", "one\ntwo"))
    first, second = kept.to_pylist()
    assert first["id"] != second["id"]
    assert first["text_hash"] == second["text_hash"]


@pytest.mark.parametrize(
    ("text", "reason"), [("\x00\ufeff" + "\n" * 30, "empty_after_cleaning"), ("ab\x01\x02cd", "unreadable")]
)
def test_what_cannot_be_read_is_dropped_with_a_reason(text: str, reason: str) -> None:
    kept, rejects = clean_batch(batch_of("kept", text))
    assert kept["text"].to_pylist() == ["kept"]
    assert [(row["reason"], row["index"], row["num_bytes"]) for row in rejects] == [(reason, 1, len(text.encode()))]
    assert pa.RecordBatch.from_pylist(rejects, REJECT_SCHEMA).num_rows == 1


def test_what_is_shown_of_a_text_read_in_the_wrong_encoding_holds_no_personal_data() -> None:
    utf_16 = "Write to ann@mail.org now".encode("utf-16-le").decode("latin-1")
    _, (row,) = clean_batch(batch_of(utf_16), ["email"])
    assert (row["reason"], row["excerpt"]) == ("unreadable", "Write to <EMAIL> now")
    _, (row,) = clean_batch(batch_of(utf_16))
    assert row["excerpt"] == utf_16  # as it was found, where nothing is to be replaced


def test_a_text_with_a_few_control_characters_is_kept() -> None:
    kept, rejects = clean_batch(batch_of("A page of a printed book.\x0c" * 10))
    assert (kept.num_rows, rejects) == (1, [])


def test_the_stage_balances_and_reports(tmp_path: Path, notes: Path) -> None:
    raw = build_raw(tmp_path)
    artifact = build_clean(tmp_path, raw)
    ledger = Ledger.from_json(artifact.manifest.counts["ledger"])
    assert ledger.taken == Ledger.from_json(raw.manifest.counts["ledger"]).kept
    assert (ledger.kept.documents, set(ledger.rejected)) == (2, {"unreadable", "empty_after_cleaning"})
    report = artifact.report()
    assert report.figures["num_repaired_documents"] == 1
    assert report.figures["main_language"] == "en"
    assert list(report.samples.values()) == [
        "It â€™s a broken note, but one that can be read again when it is repaired.\n"
        "It ’s a broken note, but one that can be read again when it is repaired."
    ]
    texts = [row["text"] for path in artifact.files("documents/*") for row in pq.read_table(path).to_pylist()]
    assert len(texts) == 2


@pytest.mark.slow
def test_workers_do_not_change_the_content(tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_cache, "SMALL_WORK_BYTES", 0)
    monkeypatch.setattr(bundles, "SMALL_BYTES", 0)
    raw = build_raw(tmp_path)
    one = build_clean(tmp_path, raw, num_workers=1, name="one")
    two = build_clean(tmp_path, raw, num_workers=2, name="two")
    assert one.manifest.content_hash == two.manifest.content_hash


def test_only_a_new_part_is_cleaned(tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "SMALL_BYTES", 0)
    before = build_clean(tmp_path, build_raw(tmp_path))
    (notes / "e.txt").write_text("A fifth note, which came later.")
    cleaned: list[Any] = []
    monkeypatch.setattr(
        "pipeline.cleaning.build.clean_batch",
        lambda batch, kinds: [cleaned.extend(batch["path"].to_pylist()), clean_batch(batch)][1],
    )
    after = build_clean(tmp_path, build_raw(tmp_path, version="raw2"), version="v2")
    assert cleaned == ["e.txt"]
    assert {path.name for path in before.files("documents/*")} < {path.name for path in after.files("documents/*")}


def test_a_part_that_ingestion_did_not_count_is_an_error(tmp_path: Path, notes: Path) -> None:
    raw = build_raw(tmp_path)
    raw.manifest.counts["ledger"]["kept"]["documents"] += 1
    with pytest.raises(StageError, match="does not balance"):
        build_clean(tmp_path, raw)


def test_personal_data_goes_where_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text(
        "Please write to ann@mail.org or call +1 415 867 2301 before the end of May."
    )
    raw = build_raw(tmp_path)

    def build(version: str, kinds: tuple[str, ...]) -> tuple[Artifact, dict[str, Any]]:
        with store_of(tmp_path).draft(
            stage="clean_documents", name="notes", version=version, code_version="1", literals={}, inputs={}
        ) as draft:
            artifact = build_clean_documents(
                draft, raw=raw, kinds=kinds, engine=EngineConfig(workers=1), progress=SilentProgress()
            )
        rows = pq.read_table(artifact.files("documents/*.parquet")[0]).to_pylist()
        return artifact, rows[0]

    plain, row = build("plain", ())
    assert "ann@mail.org" in row["text"] and row["redactions"] is None
    some, row = build("some", ("email",))
    assert row["text"].startswith("Please write to <EMAIL> or call +1 415") and row["redactions"] == [("email", 1)]
    _, row = build("all", ("email", "phone"))
    assert row["text"] == "Please write to <EMAIL> or call <PHONE> before the end of May."
    assert plain.manifest.content_hash != some.manifest.content_hash


def test_rejects_show_no_personal_data() -> None:
    text = "ann@mail.org " + "\x01\x02" * 10
    assert "ann" in clean_batch(batch_of(text))[1][0]["excerpt"]
    assert "ann" not in clean_batch(batch_of(text), ("email",))[1][0]["excerpt"]


def test_large_documents_are_cleaned_a_few_at_a_time(tmp_path: Path) -> None:
    """3 MB, 2 MB, 9 MB and 1 byte: a batch ends where the sum passes a multiple of 4 MB."""
    sizes = [3_000_000, 2_000_000, 9_000_000, 1]
    rows = [
        {"id": str(size), "source": "s", "path": "p", "index": 0, "text": "a" * size, "num_bytes": size}
        for size in sizes
    ]
    pq.write_table(pa.Table.from_pylist(rows, RAW_SCHEMA), tmp_path / "raw.parquet")
    found = [batch["num_bytes"].to_pylist() for batch in _batches(tmp_path / "raw.parquet")]
    assert found == [[3_000_000], [2_000_000], [9_000_000, 1]]
