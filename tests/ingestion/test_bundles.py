"""Small files are built in groups: nothing of them is lost, and a change alters its own group, seldom another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_building import build, in_order, text_source

from pipeline.config.data import JsonSource
from pipeline.ingestion import bundles
from pipeline.ingestion.bundles import BUNDLE_BYTES, MAX_BUNDLE_BYTES, MAX_BUNDLE_FILES, SMALL_BYTES, bundle, bundle_key
from pipeline.ingestion.parts import Part
from pipeline.ingestion.ranges import Range


def part(path: str, num_bytes: int, content: str = "", **more: Any) -> Part:
    return Part(key=f"{path} {content}", path=path, location=path, num_bytes=num_bytes, content=content, **more)


def many(number: int, *, largest: int = 5000) -> list[Part]:
    sizes = np.random.default_rng(1).integers(0, largest, number)
    return [part(f"{index:06}.txt", int(size)) for index, size in enumerate(sizes)]


def test_every_part_is_in_one_bundle_and_large_ones_are_alone() -> None:
    small = [part("a", 10), part("c", SMALL_BYTES - 1), part("e", 0)]
    cut = Range(start=0, stop=9, first_index=0, sha256="")
    parts = [small[0], part("b", SMALL_BYTES), small[1], part("d", 9, range=cut), small[2]]
    assert bundle(parts) == [tuple(small), (parts[1],), (parts[3],)]
    assert bundle_key((parts[1],)) == parts[1].key
    assert bundle([]) == []


def test_bundles_have_their_size_and_keep_the_order() -> None:
    parts = many(20_000)
    found = bundle(parts)
    assert [part for few in found for part in few] == parts
    sizes = [sum(part.num_bytes for part in few) for few in found]
    assert BUNDLE_BYTES / 1.5 < sum(sizes) / len(sizes) < BUNDLE_BYTES * 1.5
    assert max(sizes) < MAX_BUNDLE_BYTES + SMALL_BYTES
    assert max(map(len, bundle([part(f"{index}", 0) for index in range(12_000)]))) == MAX_BUNDLE_FILES


@pytest.mark.parametrize("change", ["add", "remove", "content", "grow"])
def test_a_change_alters_its_own_bundle_and_seldom_another(change: str) -> None:
    parts = many(4000)
    before = {bundle_key(few) for few in bundle(parts)}
    num_new = []
    for place in np.random.default_rng(2).integers(0, len(parts), 100):
        changed = list(parts)
        old = changed[place]
        if change == "add":
            changed.insert(place + 1, part(f"{old.path} too", 2000))
        elif change == "remove":
            del changed[place]
        else:
            changed[place] = part(old.path, old.num_bytes + 4000 * (change == "grow"), content="new")
        num_new.append(len({bundle_key(few) for few in bundle(changed)} - before))
    assert max(num_new) <= 3
    assert sum(num_new) <= 110


def test_a_bundle_holds_what_its_files_hold_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that cannot be read, lines that cannot, and remarks about a file: each of its own file alone."""
    (tmp_path / "notes").mkdir()
    for number in range(40):
        (tmp_path / "notes" / f"{number:02}.jsonl").write_text(f'{{"text": "good {number}"}}\n{{"text": "second"}}\n')
    (tmp_path / "notes" / "05.jsonl").write_text('{"text": "good"}\n{"text": \n{"text": "last"}\n')
    (tmp_path / "notes" / "06.jsonl.gz").write_bytes(b"\x1f\x8b\x08 and no more")
    (tmp_path / "notes" / "07.jsonl").write_text("")
    (tmp_path / "notes" / "link.jsonl").symlink_to("/etc/passwd")
    config = JsonSource(reader="json", path="notes")
    together = build(tmp_path, config, storage="together")
    monkeypatch.setattr(bundles, "SMALL_BYTES", 0)
    alone = build(tmp_path, config, storage="alone")
    assert (together.manifest.counts["parts"], alone.manifest.counts["parts"]) == (1, 42)
    for pattern in ("documents/*", "rejects/*"):
        assert in_order(together, pattern) == in_order(alone, pattern)
    assert {(row["path"], row["reason"]) for row in in_order(together, "rejects/*")} == {
        ("05.jsonl", "invalid_json"),
        ("06.jsonl.gz", "corrupt"),
        ("07.jsonl", "empty"),
        ("link.jsonl", "refused"),
    }
    assert together.manifest.counts["ledger"] == alone.manifest.counts["ledger"]
    reports = together.report(), alone.report()
    assert reports[0].figures == reports[1].figures
    assert reports[0].tables == reports[1].tables
    assert reports[0].figures["num_files"] == 42
    assert [len(report.samples) for report in reports] == [3, 3]


def test_remarks_of_a_file_that_is_refused_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    for name, text in {"a.txt": "caf\xe9 au lait, s'il vous pla\xeet", "b.txt": "d\xe9j\xe0 vu\0"}.items():
        (tmp_path / "notes" / name).write_bytes(text.encode("cp1252"))
    artifact = build(tmp_path, text_source())
    assert [row["path"] for row in in_order(artifact, "rejects/*")] == ["b.txt"]
    assert [note for note in artifact.report().notes if "cp1252" in note] == ["1 files: encoding cp1252."]


def test_the_samples_are_of_files_apart(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    for number in range(30):
        (tmp_path / "notes" / f"{number:02}.txt").write_text(f"Note {number}" if number != 10 else " ")
    artifact = build(tmp_path, text_source())
    assert list(artifact.report().samples.values()) == ["Note 0", "Note 11", "Note 20"]
