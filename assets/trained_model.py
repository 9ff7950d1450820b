"""Trained model: a checkpoint, trained in a process of its own."""

from __future__ import annotations

from functools import partial

import dagster as dg

from assets.building import StageAsset, Work
from assets.checks import LEARNT
from assets.trainer import run_trainer, shipping
from pipeline.artifacts import Artifact
from pipeline.config import NgramConfig, Project
from pipeline.plan import MODEL

GPU_POOL = "gpu"


def _describe(project: Project, name: str) -> str:
    model = project.models[name]
    if isinstance(model, NgramConfig):
        return f"An n-gram model of order {model.order}, estimated from `{model.dataset}`."
    return (
        f"A model of the family {model.family}, of depth {model.depth}, trained on `{model.dataset}`. An interrupted run resumes "
        "from its checkpoint and ends with the same bits."
    )


def _build(work: Work) -> Artifact:
    from pipeline.training.spool import TrackingInfo

    shards, tokenizer = work.inputs["shards"], work.inputs["tokenizer"]
    spool = work.storage / "spool" / work.name / work.draft.version
    tracking = TrackingInfo(
        experiment=work.project.name,
        run_name=work.name,
        tags={
            "textmill.training_version": work.draft.version,
            "textmill.model": work.name,
            "textmill.dagster_run_id": work.context.run_id,
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
    config = work.project.models[work.name]
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
            )
        from pipeline.training.launch import build_trained_model

        return build_trained_model(
            work.draft,
            name=work.name,
            config=config,
            shards=shards,
            tokenizer=tokenizer,
            target_tokenizer=work.inputs.get("target_tokenizer"),
            checkpoint_folder=work.storage / "checkpoints" / work.name / work.draft.version,
            spool_folder=spool,
            tracking=tracking,
            run_trainer=partial(run_trainer, context=work.context),
            progress=work.progress,
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
