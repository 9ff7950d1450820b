"""Ray gives what local processes give, also where a node is lost on the way."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline import part_cache
from pipeline.artifacts import ArtifactStore
from pipeline.cleaning.build import build_clean_documents
from pipeline.config import CorpusConfig, EngineConfig
from pipeline.config.data import TextSource
from pipeline.corpus import lines
from pipeline.corpus.build import build_corpus
from pipeline.corpus.near import dedup
from pipeline.engine import map_parts
from pipeline.engine.on_ray import connect
from pipeline.errors import StageError
from pipeline.ingestion import build as ingestion
from pipeline.ingestion import bundles
from pipeline.progress import SilentProgress

NUM_FILES = 12
ORIGINAL = ingestion._build_part


def slow_build_part(task: Any) -> part_cache.CachedPart:
    """Notes the node and the part before and after; on the node that will be lost it waits for that."""
    import ray

    marks, node = task.parts_folder.parents[2] / "marks", ray.get_runtime_context().get_node_id()
    name = f"{node}.{task.parts[0].path.replace('/', '_')}.{time.time_ns()}"
    (marks / f"{name}.begun").touch()
    time.sleep(120.0 if node == (marks / "to_be_lost").read_text() else 0.1)
    (marks / f"{name}.ended").touch()
    return ORIGINAL(task)


def end_at_two(number: int) -> int:
    if number == 2:
        os._exit(3)
    return number * 10


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head and one more node, one core each, on 127.0.0.1."""
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]))
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.second = cluster.add_node(**node)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def write_notes(folder: Path) -> None:
    (folder / "notes").mkdir(parents=True)
    for number in range(NUM_FILES):
        text = "\n\n".join(f"Note {number} of day {day}: the river rose by {number * day} feet." for day in range(40))
        (folder / "notes" / f"{number}.txt").write_text(text + "\n\nAll is quiet.\n")


def hashes(folder: Path, engine: EngineConfig) -> list[str]:
    """Content hashes of raw documents, clean documents and corpus, built in `folder`."""
    write_notes(folder)
    store, silent = ArtifactStore(folder / "storage"), SilentProgress()
    words: dict[str, Any] = {"name": "notes", "version": "v", "code_version": "1", "literals": {}, "inputs": {}}
    with store.draft(stage="raw_documents", **words) as draft:
        raw = ingestion.build_raw_documents(
            draft,
            name="notes",
            config=TextSource(reader="text", path="notes"),
            folder=folder,
            cache_folder=folder / "storage",
            engine=engine,
            progress=silent,
        )
    with store.draft(stage="clean_documents", **words) as draft:
        clean = build_clean_documents(draft, raw=raw, engine=engine, progress=silent)
    config = CorpusConfig.model_validate(
        {
            "sources": {"notes": 1.0},
            "splits": {"validation": 0.2, "test": 0.2},
            "deduplicate": {"near": {}, "lines": {"max_documents": 3}},
        }
    )
    with store.draft(stage="corpus", **words) as draft:
        corpus = build_corpus(draft, config=config, sources={"notes": clean}, engine=engine, progress=silent)
    return [artifact.manifest.content_hash for artifact in (raw, clean, corpus)]


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (part_cache, lines, dedup):
        monkeypatch.setattr(module, "SMALL_WORK_BYTES", 0)
    monkeypatch.setattr(bundles, "SMALL_BYTES", 0)


@pytest.mark.slow
def test_two_nodes_give_what_one_process_gives_and_a_killed_worker_is_named(
    tmp_path: Path, cluster: Any, everything_is_large: None
) -> None:
    engine = EngineConfig(kind="ray", address=cluster.address, retries=1)
    assert hashes(tmp_path / "ray", engine) == hashes(tmp_path / "local", EngineConfig(workers=1))
    with pytest.raises(StageError, match=r"1 of 4 parts .*: part 2: its worker died .*WorkerCrashedError"):
        map_parts(end_at_two, range(4), engine=engine, describe=lambda n: f"part {n}", progress=SilentProgress())


@pytest.mark.slow
def test_a_node_lost_on_the_way_changes_nothing(
    tmp_path: Path, cluster: Any, everything_is_large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = hashes(tmp_path / "local", EngineConfig(workers=1))
    monkeypatch.setattr(ingestion, "_build_part", slow_build_part)
    marks, second = tmp_path / "ray" / "storage" / "marks", cluster.second.node_id
    marks.mkdir(parents=True)
    (marks / "to_be_lost").write_text(second)

    def lose_the_second_node() -> None:
        while not any(marks.glob(f"{second}.*.begun")):
            time.sleep(0.02)
        cluster.remove_node(cluster.second, allow_graceful=False)

    loser = threading.Thread(target=lose_the_second_node, daemon=True)
    loser.start()
    found = hashes(tmp_path / "ray", EngineConfig(kind="ray", address=cluster.address))
    loser.join(timeout=30)
    assert found == expected
    assert len(list(marks.glob("*.begun"))) > len(list(marks.glob("*.ended"))) == NUM_FILES


def test_an_address_where_nobody_listens_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    with socket.socket() as held:  # bound and not listening: connections are refused
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(StageError, match=f"`engine.address` {address} cannot be joined .*refused"):
            connect(EngineConfig(kind="ray", address=address))


def test_a_missing_ray_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(StageError, match=r"Ray is not installed\. Install it with `pip install"):
        connect(EngineConfig(kind="ray"))


def test_an_address_without_ray_is_refused() -> None:
    with pytest.raises(ValidationError, match="only kind: ray uses"):
        EngineConfig(address="10.0.0.1:6379")
