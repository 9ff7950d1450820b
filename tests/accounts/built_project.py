"""A project whose data stages are built by their own builders, without Dagster: what the accounts are asked about."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.artifacts import Artifact, ArtifactStore, Draft
from pipeline.cleaning.build import build_clean_documents
from pipeline.config import EngineConfig, Project, load_project
from pipeline.corpus.build import build_corpus
from pipeline.ingestion.build import build_raw_documents
from pipeline.plan import AGAINST, CLEAN, CORPUS, RAW, SHARDS, STATS, TOKENIZER, Node, build_nodes, find_or_build
from pipeline.progress import SilentProgress
from pipeline.shards.build import build_token_shards
from pipeline.stats.build import build_corpus_stats
from pipeline.tokenizer.build import build_tokenizer

CONFIG = """
name: tiny
sources:
  notes: {reader: text, path: "notes/*.txt", separator: "\\n\\n", min_document_characters: 5}
  diary: {reader: json, path: "diary.jsonl", redact: [email]}
corpora:
  both:
    sources: {notes: 1.0, diary: 2.0}
    quality: {overrides: {basic.min_characters: 12}}
    splits: {validation: 0.1, test: 0.1}
tokenizers:
  small: {corpus: both, vocab_size: 340}
datasets:
  tokens: {corpus: both, tokenizer: small}
"""

SILENT = SilentProgress()


def write_project(folder: Path, config: str = CONFIG) -> Project:
    (folder / "notes").mkdir(exist_ok=True)
    first = [f"This is the note of number {number}, and a door was open in it." for number in range(120)]
    first += ["0123456789 0123456789", "x", "tiny note", first[0]]
    (folder / "notes" / "a.txt").write_text("\n\n".join(first))
    (folder / "notes" / "b.txt").write_text(first[0])
    lines = [f'{{"text": "Dear diary, day {number} was like any other."}}' for number in range(60)]
    lines += ['{"text": "Write to jane.doe@example.com about the party."}', '{"text": 5']
    (folder / "diary.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "dagster_project.yaml").write_text(config)
    return load_project(folder / "dagster_project.yaml")


def build_all(project: Project) -> ArtifactStore:
    """Builds what the plan names, up to the shards."""
    store = ArtifactStore(project.storage_folder)
    for node in build_nodes(project).values():

        def build(draft: Draft, inputs: Mapping[str, Artifact], node: Node = node) -> Artifact:
            return _build(project, node, draft, inputs)

        find_or_build(node, store, build, SILENT)
    return store


def _build(project: Project, node: Node, draft: Draft, inputs: Mapping[str, Artifact]) -> Artifact:
    name = node.key.name
    match node.key.stage:
        case stage if stage == RAW:
            return build_raw_documents(
                draft,
                name=name,
                config=project.sources[name],
                folder=project.folder,
                cache_folder=project.storage_folder,
                engine=EngineConfig(workers=1),
                progress=SILENT,
            )
        case stage if stage == CLEAN:
            kinds = project.sources[name].kinds_to_redact()
            return build_clean_documents(
                draft, raw=inputs["raw"], kinds=kinds, engine=EngineConfig(workers=1), progress=SILENT
            )
        case stage if stage == CORPUS:
            config = project.corpora[name]
            return build_corpus(
                draft,
                config=config,
                sources={source: inputs[source] for source in config.sources},
                against={role: inputs[role] for role in inputs if role.startswith(AGAINST)},
                progress=SILENT,
            )
        case stage if stage == STATS:
            sources = project.corpora[name].sources
            return build_corpus_stats(
                draft,
                corpus=inputs["corpus"],
                raw={source: inputs[f"raw_{source}"] for source in sources},
                clean={source: inputs[f"clean_{source}"] for source in sources},
                progress=SILENT,
            )
        case stage if stage == TOKENIZER:
            return build_tokenizer(draft, config=project.tokenizers[name], corpus=inputs["corpus"], progress=SILENT)
        case stage if stage == SHARDS:
            return build_token_shards(
                draft,
                config=project.datasets[name],
                corpus=inputs["corpus"],
                tokenizer=inputs["tokenizer"],
                num_workers=1,
                progress=SILENT,
            )
    raise AssertionError(node.key)
