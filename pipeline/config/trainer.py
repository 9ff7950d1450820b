"""Where training runs: on this machine, or on one of a cluster that shares the storage folder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.sections import Section

Count = Annotated[int, Field(ge=0)]


class LocalTrainer(Section):
    """Training on this machine."""

    kind: Literal["local"] = "local"
    """Where training runs."""


class RayTrainer(Section):
    """Training on a node of a Ray cluster (the extra `ray`), which has Textmill, and the storage folder at the same path."""

    kind: Literal["ray"]
    """Where training runs."""
    address: Annotated[str, Field(pattern=r"^[^\s/:]+:\d+$")] | None = None
    """The Ray cluster's host:port; null starts a Ray on this machine."""
    cpus: Annotated[int, Field(ge=1)] = 1
    """Cores that Ray keeps for the training of a model."""
    gpus: Count = 0
    """GPUs that Ray keeps for it; `train.devices` says how many of them it uses."""


class KubernetesTrainer(Section):
    """Training in a pod (the extra `kubernetes`): its image has Textmill, and it sees the storage folder at the same path."""

    kind: Literal["kubernetes"]
    """Where training runs."""
    image: Annotated[str, Field(min_length=1)]
    """The container image."""
    volume_claim: Annotated[str, Field(min_length=1)]
    """The persistent volume claim that holds the storage folder; it is mounted at that folder's path."""
    namespace: str | None = None
    """null means the one this process runs in, or `default`."""
    gpus: Count = 0
    """GPUs of the pod (`nvidia.com/gpu`); `train.devices` says how many of them it uses."""
    cpus: Count | None = None
    """Cores of the pod; null leaves it to the cluster."""
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)?([KMGT]i?)?$")] | None = None
    """Memory of the pod, such as `32Gi`; null leaves it to the cluster."""


TrainerConfig = Annotated[LocalTrainer | RayTrainer | KubernetesTrainer, Field(discriminator="kind")]
