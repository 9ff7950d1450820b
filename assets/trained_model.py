"""Trained model: a checkpoint, trained in a process of its own."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from assets.building import StageAsset, Work
from assets.checks import LEARNT
from assets.trainer import run_trainer, shipping
from pipeline.artifacts import Artifact
from pipeline.config import NgramConfig, Project
from pipeline.config.starting import StartSettings
from pipeline.plan import MODEL

if TYPE_CHECKING:
    from pipeline.training.starting import StartingPoint

GPU_POOL = "gpu"


def _describe(project: Project, name: str) -> str:
    model = project.models[name]
    if isinstance(model, NgramConfig) and model.init_from is not None:
        return f"An n-gram model as its ARPA file has it, over the tokenizer of `{model.dataset}`."
    if isinstance(model, NgramConfig):
        return f"An n-gram model of order {model.order}, estimated from `{model.dataset}`."
    return (
        f"A model of the family {model.family}, of depth {model.depth}, trained on `{model.dataset}`. An interrupted run resumes "
        "from its checkpoint and ends with the same bits."
    )


def _build(work: Work) -> Artifact:
    from pipeline.training.spec import RANDOM_WEIGHTS
    from pipeline.training.spool import TrackingInfo

    shards, tokenizer = work.inputs["shards"], work.inputs["tokenizer"]
    config = work.project.models[work.name]
    checkpoints = work.storage / "checkpoints" / work.name / work.draft.version
    start = _find_start(work, config, checkpoints / "start") if isinstance(config, StartSettings) else None
    origin = start.origin if start is not None else RANDOM_WEIGHTS
    arpa = None
    if isinstance(config, NgramConfig) and config.init_from is not None:
        from pipeline.training.ngram import arpa_origin

        arpa = work.project.folder / config.init_from
        origin = arpa_origin(arpa)
    spool = work.storage / "spool" / work.name / work.draft.version
    tracking = TrackingInfo(
        experiment=work.project.name,
        run_name=work.name,
        tags={
            "textmill.dagster_run_id": work.context.run_id,
            "textmill.started_from": origin,
        },
        inputs=[
            {
                "name": ref.name,
                "digest": ref.content_hash,
                "source": f"{ref.stage}/{ref.name}/{ref.version}",
                "context": "training",
            }
            for ref in (shards.ref, tokenizer.ref)
        ],
    )
    with shipping(work.storage, spool, work.progress):
        if isinstance(config, NgramConfig):
            from pipeline.training.ngram import build_ngram_model

            return build_ngram_model(
                work.draft,
                config=config,
                shards=shards,
                tokenizer=tokenizer,
                spool_folder=spool,
                tracking=tracking,
                progress=work.progress,
                arpa=arpa,
            )
        from pipeline.training.launch import build_trained_model

        return build_trained_model(
            work.draft,
            name=work.name,
            config=config,
            shards=shards,
            tokenizer=tokenizer,
            target_tokenizer=work.inputs.get("target_tokenizer"),
            checkpoint_folder=checkpoints,
            spool_folder=spool,
            tracking=tracking,
            run_trainer=partial(run_trainer, context=work.context, project=work.project),
            progress=work.progress,
            start=start,
        )


def _find_start(work: Work, config: StartSettings, folder: Path) -> StartingPoint | None:
    if config.init_from is None and config.start == "fresh":
        return None
    from pipeline.registry.connection import tracking_uri
    from pipeline.registry.starting import find_start

    return find_start(
        config,
        name=work.name,
        uri=tracking_uri(work.storage),
        literals=work.draft.literals,
        inputs=work.inputs,
        project_folder=work.project.folder,
        folder=folder,
    )


TRAINED_MODEL = StageAsset(
    stage=MODEL,
    group="training",
    kinds={"pytorch", "safetensors"},
    describe=_describe,
    build=_build,
    checks=(LEARNT,),
    owners=lambda project, name: project.models[name].owners,
    pool=GPU_POOL,
    retry_policy=dg.RetryPolicy(max_retries=2, delay=5),
)
