"""Token shards: a corpus in a tokenizer's ids."""

from __future__ import annotations

from assets.building import StageAsset, Work
from assets.checks import DIGESTS
from pipeline.artifacts import Artifact
from pipeline.config import Project
from pipeline.plan import SHARDS


def _describe(project: Project, name: str) -> str:
    config = project.datasets[name]
    if config.is_pairs:
        tokenizers = f"`{config.tokenizer}`" + (f" and `{config.target_tokenizer}`" if config.target_tokenizer else "")
        return f"The pairs of `{config.corpus}` in the tokens of {tokenizers}, for {config.task}: two parallel series of shards."
    return f"The corpus `{config.corpus}` in the tokens of `{config.tokenizer}`: binary shards by split, with document offsets."


def _build(work: Work) -> Artifact:
    from pipeline.shards.build import build_token_shards
    from pipeline.shards.pair_build import build_pair_shards

    config = work.project.datasets[work.name]
    if config.is_pairs:
        return build_pair_shards(
            work.draft,
            config=config,
            corpus=work.inputs["corpus"],
            tokenizer=work.inputs["tokenizer"],
            target_tokenizer=work.inputs.get("target_tokenizer"),
            num_workers=work.project.engine.workers,
            progress=work.progress,
        )
    return build_token_shards(
        work.draft,
        config=config,
        corpus=work.inputs["corpus"],
        tokenizer=work.inputs["tokenizer"],
        num_workers=work.project.engine.workers,
        progress=work.progress,
    )


TOKEN_SHARDS = StageAsset(
    stage=SHARDS, group="shards", kinds={"numpy", "binary"}, describe=_describe, build=_build, checks=(DIGESTS,)
)
