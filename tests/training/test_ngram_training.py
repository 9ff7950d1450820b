"""An n-gram model counts each training document once, however often the corpus has it read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tiny_chain import commit, make_corpus, make_shards, make_tokenizer

from pipeline.artifacts import Artifact, ArtifactStore, Draft, Report
from pipeline.config import NgramConfig
from pipeline.corpus.layout import train_files
from pipeline.files import write_parquet
from pipeline.progress import SilentProgress
from pipeline.training.ngram import build_ngram_model
from pipeline.training.spool import TrackingInfo


def with_repeats(store: ArtifactStore, corpus: Artifact, repeats: list[int]) -> Artifact:
    """The same documents, read as often as the list says in turn."""

    def build(draft: Draft) -> Artifact:
        for path in corpus.files("documents/*.parquet"):
            table = pq.read_table(path)
            if path in train_files(corpus):
                column = pa.array((repeats * table.num_rows)[: table.num_rows], pa.int32())
                table = table.set_column(table.schema.get_field_index("repeats"), table.schema.field("repeats"), column)
            write_parquet(draft.path(f"documents/{path.name}"), table)
        return draft.commit(counts=corpus.manifest.counts, report=Report())

    return commit(store, stage="corpus", name="made_up", literals={"repeats": repeats}, inputs={}, build=build)


def trained_on(store: ArtifactStore, corpus: Artifact, tokenizer: Artifact, folder: Path) -> Artifact:
    shards = make_shards(store, corpus, tokenizer)
    config = NgramConfig.model_validate({"family": "ngram", "dataset": "tokens", "order": 3})
    return commit(
        store,
        stage="trained_model",
        name="counts",
        literals=config.training_literals(),
        inputs={"shards": shards, "tokenizer": tokenizer},
        build=lambda draft: build_ngram_model(
            draft,
            config=config,
            shards=shards,
            tokenizer=tokenizer,
            spool_folder=folder / "spool" / shards.ref.version,
            tracking=TrackingInfo(experiment="e", run_name="counts", tags={}, inputs=[]),
            progress=SilentProgress(),
        ),
    )


def test_documents_that_are_read_several_times_are_counted_once(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "data")
    corpus = make_corpus(store)
    tokenizer = make_tokenizer(store, corpus)
    once = trained_on(store, corpus, tokenizer, tmp_path)
    often = trained_on(store, with_repeats(store, corpus, [1, 3, 2]), tokenizer, tmp_path)
    weights = "model/model.safetensors"
    assert often.file(weights).read_bytes() == once.file(weights).read_bytes()
    assert often.manifest.counts["tokens"] == once.manifest.counts["tokens"]
    assert not [note for note in once.report().notes if "counted once" in note]
    (note,) = [note for note in often.report().notes if "counted once" in note]
    shards = often.manifest.inputs["shards"]
    total = store.find("token_shards", "tokens", shards.version).manifest.counts["tokens"]["train"]  # type: ignore[union-attr]
    assert f"{total - once.manifest.counts['tokens']:,} of the {total:,} training tokens" in note
