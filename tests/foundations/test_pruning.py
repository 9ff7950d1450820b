"""What is in use stays, with all it was made from; the rest goes, and what stays is as it was."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import Artifact, ArtifactStore, Draft, Report
from pipeline.cleaning.build import build_clean_documents
from pipeline.config import EngineConfig, Project, load_project
from pipeline.corpus.build import build_corpus
from pipeline.errors import StorageError
from pipeline.ingestion.build import build_raw_documents
from pipeline.plan import CLEAN, CORPUS, MODEL, RAW, REGISTERED, STAGES, Node, build_nodes, find_or_build, make_plan
from pipeline.progress import SilentProgress
from pipeline.pruning import Waste, find_waste, remove

PROJECT = """
name: demo
sources:
  notes: {reader: text, path: "notes/*.txt", separator: "|"}
corpora:
  english: {sources: {notes: 1.0}, quality: {rules: []}, splits: {validation: 0.2, test: 0.2}}
tokenizers:
  small: {corpus: english, vocab_size: 512}
datasets:
  tokens: {corpus: english, tokenizer: small}
models:
  gpt: {family: transformer, dataset: tokens}
"""
SILENT, ONE = SilentProgress(), EngineConfig(workers=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    (tmp_path / "dagster_project.yaml").write_text(PROJECT)
    write_notes(tmp_path / "notes" / "a.txt", "the first file")
    return tmp_path


def write_notes(file: Path, where: str) -> None:
    """Some documents, large enough together to be a part of their own."""
    file.write_text("|".join(f"Note {number} of {where} says what it said before. " * 50 for number in range(40)))


def night(folder: Path, number: int) -> dict[str, Artifact]:
    """Another `b.txt`, and all that follows from it; what is not text is one file each."""
    write_notes(folder / "notes" / "b.txt", f"night {number}")
    project = load_project(folder / "dagster_project.yaml")
    store = ArtifactStore(project.storage_folder)
    made = {}
    for key, node in build_nodes(project).items():
        built, _ = find_or_build(
            node, store, lambda draft, inputs, n=node: _build(project, n, draft, inputs, number), SILENT
        )  # type: ignore[misc]
        made[key.stage] = built
    return made


def _build(project: Project, node: Node, draft: Draft, inputs: Mapping[str, Artifact], number: int) -> Artifact:
    name = node.key.name
    match node.key.stage:
        case "raw_documents":
            places: dict[str, Any] = {"folder": project.folder, "cache_folder": project.storage_folder}
            config = project.sources[name]
            return build_raw_documents(draft, name=name, config=config, engine=ONE, progress=SILENT, **places)
        case "clean_documents":
            return build_clean_documents(draft, raw=inputs["raw"], engine=ONE, progress=SILENT)
        case "corpus":
            return build_corpus(
                draft, config=project.corpora[name], sources={"notes": inputs["notes"]}, engine=ONE, progress=SILENT
            )
    draft.path("content.txt").write_text(f"{node.key} {number}")
    if node.key.stage == REGISTERED:
        draft.path("registration.json").write_text(f'{{"version": {number}}}')
    return draft.commit(counts={}, report=Report())


def waste(folder: Path, *, keep: int = 0, aliased: Mapping[str, tuple[str, ...]] | None = None) -> list[Waste]:
    return find_waste(ArtifactStore(folder / "data"), keep=keep, aliased=aliased or {}, uri="sqlite:///nowhere.db")


def versions(folder: Path) -> dict[str, list[str]]:
    """Stage -> its versions, the oldest first."""
    store = ArtifactStore(folder / "data")
    names = {stage: next((folder / "data" / stage).iterdir()).name for stage in STAGES}
    return {
        stage: [found.ref.version for found in reversed(store.versions(stage, name))] for stage, name in names.items()
    }


def test_the_versions_in_use_and_the_newest_others_stay(folder: Path) -> None:
    nights = [night(folder, number) for number in range(4)]
    assert {len(found) for stage, found in versions(folder).items() if stage != "tokenizer"} == {4}
    remove(waste(folder, keep=1))
    kept = {stage: [made[stage].ref.version for made in nights[2:]] for stage in STAGES if stage != "tokenizer"}
    assert {stage: found for stage, found in versions(folder).items() if stage != "tokenizer"} == kept
    assert versions(folder)["tokenizer"] == [nights[0]["tokenizer"].ref.version], "it stays as its corpus grows"
    assert waste(folder, keep=1) == []
    store = ArtifactStore(folder / "data")
    for made in nights[2:]:
        for artifact in made.values():
            store.verify(artifact)
    plan = make_plan(load_project(folder / "dagster_project.yaml"), store)
    assert {step.status for step in plan if step.key.stage != REGISTERED} == {"up to date"}  # there is no registry


def test_what_holds_an_alias_stays_with_all_it_was_made_from(folder: Path) -> None:
    nights = [night(folder, number) for number in range(4)]
    remove(waste(folder, aliased={"gpt": ("1",), "other": ("2",)}))
    for stage, found in versions(folder).items():
        if stage == "tokenizer":
            continue
        expected = [nights[1][stage].ref.version, nights[3][stage].ref.version]
        assert found == (expected if stage != "corpus_stats" else expected[1:]), stage


def test_parts_that_no_version_needs_go_and_the_others_are_found_again(folder: Path) -> None:
    def parts(stage: str) -> set[str]:
        return {path.name for path in (folder / "data" / stage).glob("*/parts/*")}

    for number in range(3):
        made = night(folder, number)
        for path in (folder / "data").glob("*/*/parts/*"):  # as if each night were a day
            os.utime(path, (path.stat().st_mtime - 86_400,) * 2)
        for path in (folder / "data").glob("*/*/*/manifest.json"):
            text = path.read_text()
            created = float(text.partition('"created_at": ')[2].partition(",")[0])
            path.write_text(text.replace(f'"created_at": {created}', f'"created_at": {created - 86_400}'))
    assert {stage: len(parts(stage)) for stage in (RAW, CLEAN)} == {RAW: 4, CLEAN: 4}
    before = parts(CORPUS)
    found = waste(folder)
    assert sum(entry.num_bytes for entry in found) > 0
    remove(found)
    for stage in (RAW, CLEAN):
        assert parts(stage) == {
            Path(entry.path).stem for entry in made[stage].manifest.files if "documents/" in entry.path
        }
    assert 0 < len(parts(CORPUS)) < len(before)
    notes: list[str] = []
    write_notes(folder / "notes" / "c.txt", "a third file")

    class Notes(SilentProgress):
        def note(self, text: str) -> None:
            notes.append(text)

    project = load_project(folder / "dagster_project.yaml")
    node = next(node for key, node in build_nodes(project).items() if key.stage == RAW)
    find_or_build(
        node,
        ArtifactStore(project.storage_folder),
        lambda draft, inputs: build_raw_documents(
            draft,
            name="notes",
            config=project.sources["notes"],
            folder=project.folder,
            cache_folder=project.storage_folder,
            engine=ONE,
            progress=Notes(),
        ),
        SILENT,
    )
    assert notes == ["2 of 3 parts were there already"]


def test_only_bytes_that_nothing_else_links_are_counted(folder: Path) -> None:
    first, second = night(folder, 0), night(folder, 1)
    shared = {entry.path for entry in first[RAW].manifest.files} & {entry.path for entry in second[RAW].manifest.files}
    shared -= {"report.json"}
    assert len(shared) == 2, "documents and rejects of a.txt"
    for path in (folder / "data").glob("*/*/parts/*"):
        os.utime(path)  # however long the second night took, all parts were used in it
    (raw,) = (entry for entry in waste(folder) if entry.key.stage == RAW)
    own = [path for path in first[RAW].folder.rglob("*") if path.is_file() and path.stat().st_nlink == 1]
    assert raw.num_bytes == sum(path.stat().st_size for path in own), "the parts' files are in the cache still"


def test_of_unfinished_trainings_the_newest_stays(folder: Path) -> None:
    made = [night(folder, number) for number in range(2)]
    checkpoints = folder / "data" / "checkpoints" / "gpt"
    names = ["abandoned", "newest", made[0][MODEL].ref.version, made[1][MODEL].ref.version]
    for age, name in enumerate(names):
        (checkpoints / name / "step-1").mkdir(parents=True)
        os.utime(checkpoints / name, (time.time() - 100 + (age if name != "newest" else 50),) * 2)
    remove(waste(folder))
    assert sorted(path.name for path in checkpoints.iterdir()) == sorted(["newest", made[1][MODEL].ref.version])


def test_metrics_that_no_server_has_stay(folder: Path) -> None:
    made = [night(folder, number) for number in range(3)]
    spools = folder / "data" / "spool" / "gpt"
    for one in made:
        (spools / one[MODEL].ref.version).mkdir(parents=True)
        (spools / one[MODEL].ref.version / "events.jsonl").write_text("")
    (spools / made[0][MODEL].ref.version / "events.jsonl").write_text('{"kind": "finish"}\n')
    remove(waste(folder))
    assert {path.name for path in spools.iterdir()} == {made[n][MODEL].ref.version for n in (0, 2)}


def test_damaged_versions_and_what_a_kill_left_go(folder: Path) -> None:
    made = night(folder, 0)
    store = ArtifactStore(folder / "data")
    store.set_aside(made[MODEL])
    night(folder, 0)
    (store.folder(MODEL, "gpt") / ".pruned-1234").mkdir()
    (entry,) = waste(folder)
    assert (entry.num_versions, entry.num_kept, len(entry.folders)) == (0, 1, 2)
    remove([entry])
    assert waste(folder) == []


def test_where_the_version_in_use_is_damaged_the_newest_other_stays(folder: Path) -> None:
    made = [night(folder, number) for number in range(3)]
    ArtifactStore(folder / "data").set_aside(made[2][MODEL])
    remove(waste(folder))
    assert versions(folder)[MODEL] == [made[1][MODEL].ref.version]


def test_a_folder_that_may_not_be_deleted_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    night(folder, 0)
    night(folder, 1)

    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StorageError, match="cannot be written: permission denied"):
        remove(waste(folder))
