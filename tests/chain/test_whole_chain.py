"""From raw text to a promoted model, as its user runs it; and again, after every kind of accident."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tiny_project import PROJECT, textmill

from pipeline.artifacts import ArtifactStore
from pipeline.config import load_project
from pipeline.plan import STAGES, build_nodes

pytestmark = pytest.mark.slow


def content_hashes(folder: Path) -> dict[str, str]:
    """Asset -> content hash of the version in use."""
    project = load_project(folder / "dagster_project.yaml")
    store = ArtifactStore(project.storage_folder)
    found = {key: store.current(key.stage, key.name) for key in build_nodes(project)}
    return {str(key): artifact.ref.content_hash for key, artifact in found.items() if artifact is not None}


def test_a_run_ends_with_a_champion_and_says_where_to_look(
    finished_project: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = finished_project
    for expected in ("gpt", "trigram", "champion", "bits per byte", "textmill ui"):
        assert expected in done.stdout, done.stdout
    assert {key.split("/")[0] for key in content_hashes(folder)} == set(STAGES)


def test_a_second_run_does_nothing_and_says_so(finished_project: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = finished_project
    before = content_hashes(folder)
    done = textmill(folder, "run")
    assert done.returncode == 0
    assert "up to date" in done.stdout
    assert content_hashes(folder) == before


@pytest.mark.parametrize("model", ["gpt", "trigram"])
def test_a_plain_client_in_a_fresh_process_finds_loads_and_asks_the_champion(
    finished_project: tuple[Path, subprocess.CompletedProcess[str]], model: str
) -> None:
    folder, _ = finished_project
    code = (
        "import mlflow, pandas as pd, sys; mlflow.set_tracking_uri(sys.argv[1]); from mlflow import MlflowClient;"
        "name = sys.argv[2]; v = MlflowClient().get_model_version_by_alias(name, 'champion');"
        "m = mlflow.pyfunc.load_model(f'models:/{name}@champion');"
        "print(v.version, len(m.predict(pd.DataFrame({'prompt': ['Return the']}), params={'max_new_tokens': 8})))"
    )
    uri = f"sqlite:///{folder / 'data' / 'mlflow' / 'mlflow.db'}"
    done = subprocess.run(
        [sys.executable, "-c", code, uri, model], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.stdout.split() == ["1", "1"], done.stderr


@pytest.mark.parametrize(("model", "file"), [("gpt", "config.json"), ("trigram", "model.arpa")])
def test_an_exported_model_is_files_for_other_tools_and_replaces_nothing(
    finished_project: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, model: str, file: str
) -> None:
    folder, _ = finished_project
    done = textmill(folder, "export", model, str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / file).stat().st_size > 100
    again = textmill(folder, "export", model, str(tmp_path / "out"))
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "not empty" in again.stderr


def test_an_exported_model_is_asked_by_the_other_librarys_own_classes(
    finished_project: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    folder, _ = finished_project
    assert textmill(folder, "export", "gpt", str(tmp_path / "out")).returncode == 0
    code = (
        "import sys; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "tokenizer, model = (c.from_pretrained(sys.argv[1]) for c in (AutoTokenizer, AutoModelForCausalLM))\n"
        "found = model.generate(**tokenizer('Return the', return_tensors='pt'), max_new_tokens=12, do_sample=False)\n"
        "print(tokenizer.decode(found[0], skip_special_tokens=True), end='')"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "out")]
    theirs = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    ours = textmill(folder, "generate", "gpt", "Return the", "--temperature", "0", "--max-tokens", "12").stdout
    assert theirs.startswith("Return the")
    assert ours.rstrip("\n") == theirs.rstrip("\n")


@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_in_any_stage_leaves_a_storage_that_the_next_run_completes_with_the_same_content(
    finished_project: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, stage: str
) -> None:
    finished, _ = finished_project
    (tmp_path / "dagster_project.yaml").write_text(PROJECT)
    shutil.copytree(finished / "data", tmp_path / "data")
    order = list(STAGES)
    for later in order[order.index(stage) :]:
        shutil.rmtree(tmp_path / "data" / later / ("trigram" if later == "trained_model" else ""))
    dies = (
        "import os, signal; from pipeline.artifacts import Draft; commit = Draft.commit\n"
        "def dying(self, **words):\n"
        f"    if self.stage == '{stage}': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return commit(self, **words)\n"
        "Draft.commit = dying"
    )
    killed = textmill(tmp_path, "run", code=dies)
    assert killed.returncode == -signal.SIGKILL
    again = textmill(tmp_path, "run")
    assert again.returncode == 0, again.stdout + again.stderr
    expected = content_hashes(finished)
    found = content_hashes(tmp_path)
    if stage == "registered_model":  # a decision names the champion it met, which differs the second time
        for model in ("gpt", "trigram"):
            expected.pop(f"registered_model/{model}"), found.pop(f"registered_model/{model}")
    assert found == expected


def test_a_flipped_byte_in_a_shard_is_noticed_and_the_shard_rebuilt(
    finished_project: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    finished, _ = finished_project
    (tmp_path / "dagster_project.yaml").write_text(PROJECT)
    shutil.copytree(finished / "data", tmp_path / "data")
    store = ArtifactStore(tmp_path / "data")
    shards = store.current("token_shards", "tokens")
    assert shards is not None
    file = shards.files("train*.tokens")[0]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.chmod(0o600)
    file.write_bytes(bytes(data))
    project = tmp_path / "dagster_project.yaml"
    project.write_text(project.read_text().replace("tokens: 100_000", "tokens: 20_000"))  # something to do
    done = textmill(tmp_path, "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "does not match its sha256" in done.stdout + done.stderr
    assert content_hashes(tmp_path)["token_shards/tokens"] == content_hashes(finished)["token_shards/tokens"]
    assert list((tmp_path / "data" / "token_shards" / "tokens").glob("damaged-*"))


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small file system of its own on the folder."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(params=["700k", "1300k", "2m"])
def full_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system so small that Dagster's history, the history while a stage runs, or the stage itself fills it."""
    with mounted(tmp_path / "small", f"size={request.param}") as folder:
        yield folder


@pytest.fixture
def forbidden_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that cannot be written: by its mode, or for root, whom no mode stops, by a read-only file system."""
    if os.geteuid() == 0:
        with mounted(tmp_path / "forbidden", "ro,size=1m") as folder:
            yield folder
        return
    folder = tmp_path / "forbidden"
    folder.mkdir(mode=0o500)
    yield folder
    folder.chmod(0o700)


def test_a_storage_that_cannot_be_written_is_one_sentence(tiny_project: Path, forbidden_folder: Path) -> None:
    file = tiny_project / "dagster_project.yaml"
    file.write_text(f"storage: {forbidden_folder}/data\n" + file.read_text())
    done = textmill(tiny_project, "run")
    assert done.returncode == 1
    assert str(forbidden_folder) in done.stderr
    assert "`storage`" in done.stderr, "it says what to change"
    assert "Traceback" not in done.stdout + done.stderr


def test_a_line_of_fifty_megabytes_is_a_reject_that_says_what_to_do(tiny_project: Path) -> None:
    line = b"the quick brown fox jumps over the lazy dog and " * (50_000_000 // 48)
    (tiny_project / "long.txt").write_bytes(line)
    file = tiny_project / "dagster_project.yaml"
    file.write_text(
        file.read_text().replace("{reader: python_docs, packages: [jinja2, click]}", "{reader: text, path: long.txt}")
    )
    done = textmill(tiny_project, "run", "raw_documents/docs")
    assert done.returncode == 0, done.stderr
    raw = ArtifactStore(tiny_project / "data").current("raw_documents", "docs")
    assert raw is not None
    (reject,) = [row for rejects in raw.files("rejects/*.parquet") for row in pq.read_table(rejects).to_pylist()]
    assert (reject["path"], reject["reason"], reject["num_bytes"]) == ("long.txt", "too_large", len(line))
    assert "`separator`" in reject["detail"]


def test_a_full_disk_is_one_sentence(full_disk: Path) -> None:
    larger = PROJECT.replace("[jinja2, click]", "[numpy, scipy, pandas]")
    (full_disk / "dagster_project.yaml").write_text(larger)
    done = textmill(full_disk, "run", "raw_documents/docs")
    assert done.returncode != 0
    assert "cannot be written: no space left on device. Free some space" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("change", "names", "sentence"),
    [
        (("packages: [jinja2, click]", "packages: [not_installed_anywhere]"), [], "not_installed_anywhere"),
        (
            ("{reader: python_docs, packages: [jinja2, click]}", "{reader: text, path: nowhere/*.txt}"),
            [],
            "nowhere/*.txt",
        ),
        (("vocab_size: 600", "vocab_size: 500000"), ["tokenizer/small"], "vocab_size"),
        (
            ("splits:", "quality: {overrides: {basic.min_characters: 9000000}}, splits:"),
            ["corpus/docs"],
            "corpora.docs",
        ),
        (("test: 0.1", "test: 0.0001"), ["corpus/docs"], "test"),
    ],
)
def test_bad_input_ends_in_one_sentence(
    tiny_project: Path, change: tuple[str, str], names: list[str], sentence: str
) -> None:
    file = tiny_project / "dagster_project.yaml"
    assert change[0] in file.read_text()
    file.write_text(file.read_text().replace(*change))
    done = textmill(tiny_project, "run", *names)
    assert done.returncode == 1
    assert sentence in done.stderr, done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_decisions_are_on_record(finished_project: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = finished_project
    registered = ArtifactStore(folder / "data").current("registered_model", "gpt")
    assert registered is not None
    decision = json.loads(registered.file("decision.json").read_text())
    assert decision["promoted"] is True
