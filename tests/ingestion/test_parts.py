"""A source's parts are found by path, refused where they leave the source, and known again by content."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pipeline.config.data import JsonSource, TextSource
from pipeline.errors import InputError
from pipeline.ingestion import paths, stat_cache
from pipeline.ingestion.parts import Part, list_parts
from pipeline.ingestion.paths import find_files


def parts_of(folder: Path, *paths: str, **settings: str) -> list[Part]:
    config = TextSource(reader="text", path=paths, **settings)
    return list_parts(config, folder=folder, cache_folder=folder.parent / "storage")


def found(folder: Path, *paths: str) -> list[str]:
    return [part.path for part in parts_of(folder, *paths)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for name in ("a.txt", "b.md", "deep/c.txt", "deep/er/d.txt", ".hidden/x.txt", "deep/.y.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_files_folders_and_globs(folder: Path) -> None:
    assert found(folder, "a.txt") == ["a.txt"]
    assert found(folder, ".") == ["a.txt", "b.md", "deep/c.txt", "deep/er/d.txt"]
    assert found(folder, "*.txt") == ["a.txt"]
    assert found(folder, "**/*.txt") == ["a.txt", "deep/c.txt", "deep/er/d.txt"]
    assert found(folder, "deep/**") == ["c.txt", "er/d.txt"]
    assert found(folder, "*/[a-c].txt") == ["deep/c.txt"]
    assert found(folder, "deep/*.txt", "a.txt", "a.*") == ["a.txt", "deep/c.txt"]


@pytest.mark.parametrize(
    ("glob", "names"),
    [
        ("**/x?y.txt", ["x-y.txt"]),
        ("**/x[!a]y.txt", ["x-y.txt"]),
        ("**/[.*x]-y.txt", ["x-y.txt"]),
        ("x-y.t[xs]t", ["x-y.txt"]),
        ("**/x+[[]1].txt", ["x+[1].txt"]),
        ("x[+].txt", ["x+.txt"]),
        ("*[]]*", ["x+[1].txt"]),
        ("x[+][", ["x+["]),
    ],
)
def test_a_wildcard_matches_no_slash_and_a_set_only_its_characters(tmp_path: Path, glob: str, names: list[str]) -> None:
    for name in ("x-y.txt", "x/y.txt", "xx-y.txt", "x+[1].txt", "x+.txt", "xx.txt", "x+["):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert list(find_files([glob], folder=tmp_path)) == names


def test_folders_that_begin_like_one_of_the_system_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("proc", "processed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("a")
    monkeypatch.setattr(paths, "_SYSTEM_FOLDERS", (str(tmp_path / "proc"),))
    assert list(find_files(["processed"], folder=tmp_path)) == ["a.txt"]
    for path in ("proc", "proc/a.txt"):
        with pytest.raises(InputError, match="part of the system"):
            find_files([path], folder=tmp_path)


@pytest.mark.parametrize("path", ["none.txt", "*.none", "nowhere/*.txt"])
def test_a_path_that_matches_nothing_is_named(folder: Path, path: str) -> None:
    with pytest.raises(InputError, match=rf"path is '{path.replace('*', '[*]')}', which matches no file"):
        parts_of(folder, "a.txt", path)


def test_a_source_that_moved_has_the_same_keys(folder: Path, tmp_path: Path) -> None:
    before = [part.key for part in parts_of(folder, ".")]
    moved = folder.rename(tmp_path / "elsewhere")
    assert [part.key for part in parts_of(moved, ".")] == before


def test_content_path_and_settings_are_in_the_key(folder: Path) -> None:
    (key,) = [part.key for part in parts_of(folder, "a.txt")]
    assert parts_of(folder, "a.txt", separator="\n")[0].key != key
    (folder / "a.txt").write_text("A.txt")
    assert parts_of(folder, "a.txt")[0].key != key


def test_a_change_of_equal_size_and_time_is_noticed(folder: Path) -> None:
    """Only a file that has settled is remembered, and a remembered one by its inode's change time too."""
    path = folder / "a.txt"
    os.utime(path, (1, 1))
    before = parts_of(folder, "a.txt")[0].key
    path.write_text("b.txt")
    os.utime(path, (1, 1))
    assert parts_of(folder, "a.txt")[0].key != before


def test_settled_files_are_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stat_cache, "_SETTLED_SECONDS", -1.0)
    before = parts_of(folder, ".")
    monkeypatch.setattr(stat_cache, "sha256_file", lambda path: pytest.fail(f"{path} was read"))
    assert parts_of(folder, ".") == before


def test_a_damaged_cache_costs_only_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stat_cache, "_SETTLED_SECONDS", -1.0)
    before = parts_of(folder, ".")
    for damage in ("", "[]", '{"a": 7}'):
        for file in (folder.parent / "storage").rglob("*.json"):
            file.write_text(damage)
        assert parts_of(folder, ".") == before


def test_links_out_of_the_source_and_pipes_are_refused_and_the_rest_is_read(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("not for the corpus")
    (folder / "out.txt").symlink_to(secret)
    (folder / "in.txt").symlink_to(folder / "a.txt")
    (folder / "loop").symlink_to(folder)
    (folder / "gone.txt").symlink_to(folder / "nothing")
    (folder / "circle.txt").symlink_to(folder / "circle.txt")
    os.mkfifo(folder / "pipe.txt")
    refusals = {part.path: part.refusal for part in parts_of(folder, ".")}
    assert {path for path, refusal in refusals.items() if refusal is None} == {
        "a.txt",
        "b.md",
        "deep/c.txt",
        "deep/er/d.txt",
        "in.txt",
    }
    assert "link out of the source" in (refusals["out.txt"] or "")
    assert "link to a folder" in (refusals["loop"] or "")
    for name in ("gone.txt", "circle.txt"):
        assert refusals[name] == "It is a link to nothing."
    assert "a pipe" in (refusals["pipe.txt"] or "")


def test_a_circle_of_links_and_a_closed_folder_are_refused_and_the_rest_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "one.txt").symlink_to(folder / "other.txt")
    (folder / "other.txt").symlink_to(folder / "one.txt")
    scandir = os.scandir

    def refuse(path: str) -> object:
        """The superuser, whom tests may run as, is refused nothing."""
        if Path(path).name == "deep":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    expected = {"a.txt": None, "deep": "It is a folder that cannot be listed: Permission denied."}
    expected |= dict.fromkeys(("one.txt", "other.txt"), "It is a link to nothing.")
    assert {part.path: part.refusal for part in parts_of(folder, "**/*.txt")} == expected
    with pytest.raises(InputError, match="deep, which cannot be listed: Permission denied"):
        parts_of(folder, "deep")


def test_a_named_pipe_device_or_system_file_is_an_error(folder: Path) -> None:
    os.mkfifo(folder / "pipe.txt")
    for path in ("pipe.txt", "/dev/zero", "/proc/self/environ"):
        with pytest.raises(InputError, match="path is"):
            parts_of(folder, path)


@pytest.mark.parametrize("target", ["nothing", "gone"])
def test_a_named_link_to_nothing_is_an_error_that_says_where_it_leads(folder: Path, target: str) -> None:
    (folder / "gone").symlink_to(target)
    with pytest.raises(InputError, match=f"path is 'gone', a link to '{target}', which is not there"):
        parts_of(folder, "gone")


def test_a_name_that_is_no_utf8_is_listed(folder: Path) -> None:
    with open(os.fsencode(folder) + b"/caf\xe9.txt", "w") as file:  # noqa: PTH123 - bytes are no Path
        file.write("x")
    assert found(folder, "caf*") == ["caf\\xe9.txt"]


def test_an_unknown_encoding_is_named(folder: Path) -> None:
    for name in ("utf-9", "base64", "zip"):
        with pytest.raises(InputError, match=f"encoding is '{name}', which Python does not know"):
            parts_of(folder, "a.txt", encoding=name)


def test_readers_of_the_same_file_have_different_keys(folder: Path) -> None:
    (text,) = parts_of(folder, "a.txt")
    (as_json,) = list_parts(JsonSource(reader="json", path="a.txt"), folder=folder, cache_folder=folder)
    assert text.key != as_json.key
