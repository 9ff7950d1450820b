"""Training in a Kubernetes pod: the same command in a container, through Dagster's own Pipes client.

The pod sees the storage folder at the same path, through a volume claim, so that the spec's paths, and the sentence with which
training ended, are the same on both sides. Its messages and what it prints come through its log.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg

from pipeline.config import KubernetesTrainer
from pipeline.errors import ConfigurationError, TrainingError
from pipeline.training.launch import GRACE_SECONDS, check_exit
from pipeline.training.stopping import read_last_words

_POLL_SECONDS = 5.0
_VOLUME = "storage"


def run_on_kubernetes(
    spec_path: Path, *, context: dg.AssetExecutionContext, trainer: KubernetesTrainer, storage: Path
) -> None:
    """Trains in a pod, which is deleted in the end; a stop of this process deletes it too, with time to save a checkpoint.

    Raises:
        ConfigurationError: the extra is not installed, or there is no cluster to talk to.
        TrainingError: see `check_exit`, or the pod failed.
    """
    try:
        from dagster_k8s import PipesK8sClient
        from dagster_k8s.client import DagsterK8sError
        from kubernetes.config import ConfigException
    except ImportError as error:
        raise ConfigurationError(
            "`trainer.kind` is kubernetes, and dagster-k8s is not installed. Install it with `pip install -c constraints.txt "
            '-e ".[kubernetes]"`, or set `trainer.kind` to local.'
        ) from error
    try:
        PipesK8sClient(poll_interval=_POLL_SECONDS).run(
            context=context,
            image=trainer.image,
            command=["python", "-m", "pipeline.training", str(spec_path)],
            namespace=trainer.namespace,
            base_pod_spec=pod_spec(trainer, storage=storage),
            pod_wait_timeout=0,
        )
    except ConfigException as error:
        raise ConfigurationError(
            f"`trainer.kind` is kubernetes, and no cluster is known here ({error}). Set KUBECONFIG, or `trainer.kind` to local."
        ) from error
    except DagsterK8sError as error:
        said = read_last_words(spec_path)
        if said is None:
            raise TrainingError(
                f"The training pod failed: {' '.join(str(error).split())} Running again goes on from the last checkpoint."
            ) from error
        check_exit(said[0], spec_path)


def pod_spec(trainer: KubernetesTrainer, *, storage: Path) -> dict[str, Any]:
    """The pod as Kubernetes describes it: one container, the storage folder, and what it asks for."""
    limits = {"nvidia.com/gpu": trainer.gpus or None, "cpu": trainer.cpus, "memory": trainer.memory}
    return {
        "restartPolicy": "Never",  # Dagster tries again, and training goes on
        "terminationGracePeriodSeconds": int(GRACE_SECONDS),
        "volumes": [{"name": _VOLUME, "persistentVolumeClaim": {"claimName": trainer.volume_claim}}],
        "containers": [
            {
                "volumeMounts": [{"name": _VOLUME, "mountPath": str(storage)}],
                "resources": {"limits": {key: str(value) for key, value in limits.items() if value is not None}},
            }
        ],
    }
