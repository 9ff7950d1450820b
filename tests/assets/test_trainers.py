"""Training on Ray and in a Kubernetes pod gives what training here gives, and is stopped as there."""

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import psutil
import pytest
from pydantic import ValidationError

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from tiny_run import spec_of, tiny_data

from assets.trainer import run_trainer
from assets.trainer_on_kubernetes import pod_spec
from pipeline.config import KubernetesTrainer, LocalTrainer, RayTrainer
from pipeline.errors import ConfigurationError, TrainingDiverged

__all__ = ["tiny_data"]

pytestmark = pytest.mark.filterwarnings("ignore")  # of Dagster and Ray about themselves


def train(spec: Any, trainer: Any, folder: Path) -> list[str]:
    """Trains from an asset whose project says `trainer`; returns what the training process told Dagster's log."""
    spec.write(folder / "spec.json")
    project: Any = SimpleNamespace(trainer=trainer, storage_folder=folder)

    @dg.asset
    def model(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        run_trainer(folder / "spec.json", context=context, project=project)
        return dg.MaterializeResult()

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([model], instance=instance)
        assert result.success
        return [entry.user_message for entry in instance.all_logs(result.run_id)]


def content(folder: Path) -> dict[str, str]:
    files = [*(folder / "output" / "model").iterdir(), folder / "output" / "history.jsonl"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def here(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("here")
    told = train(spec_of(tiny_data, folder), LocalTrainer(), folder)
    assert any("step 12/12: validation loss" in line for line in told)
    return content(folder)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    module = pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    yield module
    module.shutdown()


@pytest.mark.slow
def test_training_on_ray_gives_the_same_bits_and_a_stop_saves_a_checkpoint(
    tiny_data: Path, tmp_path: Path, here: dict[str, str], ray: Any
) -> None:
    trainer = RayTrainer(kind="ray", cpus=1)
    folder = tmp_path / "whole"
    told = train(spec_of(tiny_data, folder), trainer, folder)
    assert any("step 12/12: validation loss" in line for line in told)
    assert content(folder) == here

    folder = tmp_path / "stopped"
    spec = spec_of(tiny_data, folder, num_steps=100_000, checkpoint_every_steps=None)

    def stop() -> None:
        events = folder / "spool" / "events.jsonl"
        while not (events.is_file() and '"step"' in events.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), 2)  # as Dagster stops a step

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises((KeyboardInterrupt, dg.DagsterExecutionInterruptedError)):
        train(spec, trainer, folder)
    assert list((folder / "checkpoints").glob("step-*/manifest.json"))
    assert not [process for process in psutil.process_iter(["cmdline"]) if str(folder) in str(process.info["cmdline"])]


class FakeCluster:
    """Runs a pod's container as a process of this machine, and answers as the API server does about its log and its end."""

    def __init__(self) -> None:
        self.core_api = self
        self.deleted: list[str] = []

    def create_namespaced_pod(self, namespace: str, pod: Any) -> None:
        (container,) = pod.spec.containers
        self.pod = pod
        own = {variable.name: variable.value for variable in container.env}
        words = [sys.executable, *container.command[1:]]
        self.process = subprocess.Popen(
            words, env={**os.environ, **own}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def wait_for_pod(self, name: str, namespace: str, *, wait_for_state: Any, **words: Any) -> None:
        from dagster_k8s.client import DagsterK8sError, WaitForPodState

        if wait_for_state is WaitForPodState.Terminated and self.process.wait() != 0:
            raise DagsterK8sError(
                f"Pod {name} failed: container dagster-pipes-execution exited with {self.process.returncode}"
            )

    def read_namespaced_pod_log(self, name: str, namespace: str, **words: Any) -> Iterator[bytes]:
        assert self.process.stderr is not None
        for number, line in enumerate(self.process.stderr):
            yield f"2026-01-01T00:00:00.{number:09d}Z ".encode() + line

    def delete_namespaced_pod(self, name: str, namespace: str) -> None:
        self.process.terminate()
        self.process.wait()
        self.process.stderr.close()
        self.deleted.append(name)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    pipes = pytest.importorskip("dagster_k8s.pipes", reason="dagster-k8s is not installed")
    fake = FakeCluster()
    monkeypatch.setattr(pipes.PipesK8sClient, "_load_k8s_config", lambda self: None)
    monkeypatch.setattr(pipes.DagsterKubernetesClient, "production_client", lambda: fake)
    root = str(Path(__file__).parents[2])
    monkeypatch.setenv("PYTHONPATH", root)
    return fake


POD = {"kind": "kubernetes", "image": "textmill:1", "volume_claim": "models"}


@pytest.mark.slow
def test_training_in_a_pod_gives_the_same_bits_and_its_sentence_where_it_fails(
    tiny_data: Path, tmp_path: Path, here: dict[str, str], cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = KubernetesTrainer(**POD, gpus=2, memory="32Gi")
    folder = tmp_path / "whole"
    told = train(spec_of(tiny_data, folder), trainer, folder)
    assert any("step 12/12: validation loss" in line for line in told)
    assert content(folder) == here
    assert len(cluster.deleted) == 1
    (container,) = cluster.pod.spec.containers
    assert container.resources.limits == {"nvidia.com/gpu": "2", "memory": "32Gi"}
    assert container.volume_mounts[0].mount_path == str(folder)
    assert cluster.pod.spec.volumes[0].persistent_volume_claim.claim_name == "models"

    folder = tmp_path / "diverged"
    settings = {"matrix_learning_rate": 1e30, "checkpoint_every_steps": None}
    with pytest.raises(TrainingDiverged, match="twice on the same data. Lower the learning rates"):
        train(spec_of(tiny_data, folder, **settings), trainer, folder)
    assert len(cluster.deleted) == 2


def test_without_the_package_or_a_cluster_there_is_one_sentence(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, trainer = spec_of(tiny_data, tmp_path), KubernetesTrainer(**POD)
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "dagster_k8s", None)
        with pytest.raises(
            ConfigurationError, match="is kubernetes, and dagster-k8s is not installed. Install it with `pip"
        ):
            train(spec, trainer, tmp_path)
    pytest.importorskip("dagster_k8s")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigurationError, match="is kubernetes, and no cluster is known here .* Set KUBECONFIG, or"):
        train(spec, trainer, tmp_path)


def test_a_trainer_is_read_by_its_kind_and_what_it_lacks_is_named() -> None:
    with pytest.raises(ValidationError, match="volume_claim"):
        KubernetesTrainer(kind="kubernetes", image="textmill:1")
    limits = pod_spec(KubernetesTrainer(**POD), storage=Path("/data"))["containers"][0]["resources"]
    assert limits == {"limits": {}}
