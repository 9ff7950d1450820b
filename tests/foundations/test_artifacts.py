"""A version is there whole or not at all, is trusted only when it matches, and is built once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pipeline.artifacts import Artifact, ArtifactStore, Report
from pipeline.errors import ArtifactDamaged, ArtifactMissing, StorageError


def build(store: ArtifactStore, version: str = "v1", text: str = "hello", log: str = "10:00") -> Artifact:
    with store.draft(
        stage="corpus", name="english", version=version, code_version="1", literals={}, inputs={}
    ) as draft:
        draft.path("documents/a.txt").write_text(text)
        draft.path("log.txt").write_text(log)
        return draft.commit(counts={"n": 1}, report=Report(figures={"n": 1}), volatile=("log.txt",))


def test_a_committed_version_is_found_with_its_manifest(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    committed = build(store)
    found = store.find("corpus", "english", "v1")
    assert found is not None
    assert found.manifest == committed.manifest
    assert found.files("documents/*") == [tmp_path / "corpus/english/v1/documents/a.txt"]
    assert found.report().figures == {"n": 1}
    with pytest.raises(ArtifactMissing, match="holds no file 'b'"):
        found.file("b")


def test_the_columns_of_a_reports_tables_stand_as_the_stage_has_them(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    rows = [{"word": "the", "count": 3, "fraction": 0.5}]
    with store.draft(stage="corpus", name="english", version="v1", code_version="1", literals={}, inputs={}) as draft:
        draft.commit(counts={}, report=Report(tables={"Words": rows}))
    found = store.find("corpus", "english", "v1")
    assert found is not None
    assert [list(row) for row in found.report().tables["Words"]] == [["word", "count", "fraction"]]


def test_the_content_hash_covers_names_and_bytes_but_not_volatile_files(tmp_path: Path) -> None:
    first = build(ArtifactStore(tmp_path / "1")).ref.content_hash
    assert build(ArtifactStore(tmp_path / "2"), log="another time").ref.content_hash == first
    assert build(ArtifactStore(tmp_path / "3"), text="hellp").ref.content_hash != first


def test_an_exception_leaves_nothing_behind(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    with (
        pytest.raises(RuntimeError),
        store.draft(stage="corpus", name="english", version="v1", code_version="1", literals={}, inputs={}) as draft,
    ):
        draft.path("x").write_text("x")
        raise RuntimeError
    assert store.find("corpus", "english", "v1") is None
    assert list((tmp_path / "corpus/english").iterdir()) == []


def test_of_two_builders_of_one_version_both_end_with_the_first_one_committed(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    with store.draft(stage="corpus", name="english", version="v1", code_version="1", literals={}, inputs={}) as draft:
        draft.path("documents/a.txt").write_text("hello")
        first = build(store)
        assert draft.commit(counts={}, report=Report()).manifest == first.manifest
    assert store.current("corpus", "english") is None
    assert [artifact.ref for artifact in store.versions("corpus", "english")] == [first.ref]


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda file: file.write_bytes(b"hellq"), "does not match its sha256"),
        (lambda file: file.write_bytes(b"hell"), "has 4 bytes where its manifest says 5"),
        (lambda file: file.unlink(), "is missing"),
    ],
)
def test_a_damaged_version_is_refused_kept_as_evidence_and_rebuilt(
    tmp_path: Path, damage: object, problem: str
) -> None:
    store = ArtifactStore(tmp_path)
    artifact = build(store)
    store.set_current(artifact)
    damage(artifact.folder / "documents/a.txt")  # type: ignore[operator]
    with pytest.raises(ArtifactDamaged, match=problem):
        store.verify(artifact)
    assert store.find("corpus", "english", "v1") is None
    assert [path.name for path in (tmp_path / "corpus/english").glob("damaged-*")]
    assert store.versions("corpus", "english") == []
    assert build(store).ref == artifact.ref


def test_requiring_what_was_never_built_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing, match="run `textmill run corpus/english` first"):
        ArtifactStore(tmp_path).require("corpus", "english")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; the read-only mount test covers root")
def test_a_folder_without_write_permission_is_one_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="cannot be written: permission denied"):
        build(ArtifactStore(tmp_path / "data"))


_BUILDER = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from pipeline.artifacts import ArtifactStore, Report

    # counts the calls that change the disk and dies before the n-th
    left = int(sys.argv[2])

    def dying(function):
        def call(*args, **kwargs):
            global left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        return call

    for name in ("fsync", "rename", "replace", "mkdir"):
        setattr(os, name, dying(getattr(os, name)))
    store = ArtifactStore(Path(sys.argv[1]))
    with store.draft(stage="corpus", name="english", version="v1", code_version="1", literals={}, inputs={}) as draft:
        draft.path("documents/a.txt").write_text("hello")
        draft.path("documents/b.txt").write_text("world")
        artifact = draft.commit(counts={}, report=Report())
    store.set_current(artifact)
    """
)


@pytest.mark.slow
def test_a_kill_at_any_step_of_a_publish_leaves_the_old_state_or_the_new(tmp_path: Path) -> None:
    hashes = set()
    for step in range(60):
        root = tmp_path / str(step)
        root.mkdir()
        killed = subprocess.run([sys.executable, "-c", _BUILDER, str(root), str(step)], check=False)
        store = ArtifactStore(root)
        found = store.find("corpus", "english", "v1")
        if found is not None:
            store.verify(found)
        again = subprocess.run([sys.executable, "-c", _BUILDER, str(root), "1000"], check=False)
        assert again.returncode == 0
        current = store.current("corpus", "english")
        assert current is not None
        hashes.add(current.ref.content_hash)
        assert not list((root / "corpus/english").glob(".draft-*")), "the next draft removes what a kill left"
        if killed.returncode == 0:
            break
        assert killed.returncode == -signal.SIGKILL
    assert step > 10, "the publish has more steps than that"
    assert len(hashes) == 1


def test_manifests_hold_any_script_in_any_locale(tmp_path: Path) -> None:
    script = """
        import locale, sys
        from pathlib import Path
        from pipeline.artifacts import ArtifactStore, Report
        from pipeline.part_cache import Tables, load_part, write_tables
        from pipeline.records import Ledger

        assert locale.getpreferredencoding(False) in ("ANSI_X3.4-1968", "US-ASCII")
        folder, word = Path(sys.argv[1]), "\\u4eca\\u5929"
        with ArtifactStore(folder).draft(
            stage="corpus", name="english", version="v", code_version="1", literals={}, inputs={}
        ) as draft:
            draft.commit(counts={word: 1}, report=Report(notes=[word]))
        found = ArtifactStore(folder).find("corpus", "english", "v")
        assert found.manifest.counts == {word: 1}
        assert found.report().notes == [word]
        account = {word: 1}
        write_tables(folder, "part", where="here", write=lambda _: Tables(rows={}, ledger=Ledger(), account=account))
        assert load_part(folder / "part").account == account
    """
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    done = subprocess.run(command, env=os.environ | ascii_only, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version"'])
def test_a_damaged_pointer_is_none(tmp_path: Path, text: str) -> None:
    store = ArtifactStore(tmp_path)
    store.set_current(build(store))
    assert store.current("corpus", "english") is not None
    (tmp_path / "corpus/english/current.json").write_text(text)
    assert store.current("corpus", "english") is None


def test_a_clock_that_is_set_back_takes_no_time_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1_800_000_000.0 - 3600 * hour for hour in range(100)])
    monkeypatch.setattr("pipeline.artifacts.time.time", lambda: next(clock))
    assert build(ArtifactStore(tmp_path)).manifest.seconds >= 0


def test_what_a_killed_builder_on_a_host_of_another_name_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "corpus" / "english" / ".draft-v1-the-container-before-1-0123abcd"
    of_another_version = left.with_name(".draft-v2-another-host-1-0123abcd")
    for folder in (left, of_another_version):
        folder.mkdir(parents=True)
        (folder / "half.parquet").write_text("x")
    with ArtifactStore(tmp_path).building("corpus", "english", "v1"):
        assert not left.exists()
        assert of_another_version.exists(), "it may be at work"
