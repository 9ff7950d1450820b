"""An n-gram model out of an ARPA file is the model that was written, and a file that does not fit is one sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_chain import chain_of, commit, make_evaluation, make_registered

from pipeline.artifacts import Artifact, ArtifactStore
from pipeline.config import NgramConfig
from pipeline.errors import TextmillError
from pipeline.models.loading import load_model
from pipeline.models.ngram.arpa import write_arpa
from pipeline.models.ngram.model import NgramModel
from pipeline.progress import SilentProgress
from pipeline.tokenizer.model import Tokenizer
from pipeline.training.ngram import build_ngram_model
from pipeline.training.spool import TrackingInfo


@dataclass
class Chain:
    store: ArtifactStore
    corpus: Artifact
    tokenizer: Artifact
    shards: Artifact
    folder: Path

    @property
    def pieces(self) -> list[str]:
        own = Tokenizer.load(self.tokenizer.file("tokenizer.model"))
        return own.pieces(list(range(own.vocab_size)))

    def train(self, config: NgramConfig, arpa: Path | None = None, *, name: str = "counts") -> Artifact:
        return commit(
            self.store,
            stage="trained_model",
            name=name,
            literals={**config.training_literals(), "arpa": str(arpa)},
            inputs={"shards": self.shards, "tokenizer": self.tokenizer},
            build=lambda draft: build_ngram_model(
                draft,
                config=config,
                shards=self.shards,
                tokenizer=self.tokenizer,
                spool_folder=self.folder / "spool" / name,
                tracking=TrackingInfo(experiment="e", run_name=name, tags={}, inputs=[]),
                progress=SilentProgress(),
                arpa=arpa,
            ),
        )


def config_of(**words: Any) -> NgramConfig:
    return NgramConfig.model_validate({"family": "ngram", "dataset": "tokens", **words})


def model_of(artifact: Artifact) -> NgramModel:
    model = load_model(artifact.file("model/textmill.json").parent)
    assert isinstance(model, NgramModel)
    return model


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    folder = tmp_path_factory.mktemp("chain")
    return Chain(*chain_of(folder / "data"), folder=folder)


@pytest.fixture(scope="module")
def counted(chain: Chain) -> Artifact:
    return chain.train(config_of(order=3))


@pytest.fixture(scope="module")
def arpa(chain: Chain, counted: Artifact) -> Path:
    write_arpa(model_of(counted).table, chain.folder / "model.arpa", pieces=chain.pieces)
    return chain.folder / "model.arpa"


@pytest.mark.slow
def test_what_export_wrote_is_imported_to_the_same_scores_and_evaluated_to_the_same_bits(
    chain: Chain, counted: Artifact, tmp_path: Path, tracking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.serving.export import export_model

    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    evaluation = make_evaluation(chain.store, counted, chain.corpus, chain.shards)
    make_registered(chain.store, evaluation, counted, chain.corpus, chain.shards)
    export_model("counts", tracking, tmp_path / "exported")
    imported = chain.train(config_of(), tmp_path / "exported" / "model.arpa", name="imported")
    first, second = model_of(counted), model_of(imported)
    assert second.table.num_ngrams == first.table.num_ngrams
    rows = np.random.default_rng(0).integers(4, first.table.vocab_size, size=(50, 12))
    rows[:, 0] = first.bos_id
    assert second.table.score(rows) == pytest.approx(first.table.score(rows), abs=1e-4)
    counts = imported.manifest.counts
    assert (counts["steps"], counts["tokens"], counts["started_from"]) == (3, 0, "the file model.arpa")
    again = make_evaluation(chain.store, imported, chain.corpus, chain.shards)
    assert again.manifest.counts["bits_per_byte"] == pytest.approx(
        evaluation.manifest.counts["bits_per_byte"], abs=1e-5
    )


def test_the_order_is_the_files_and_losses_stand_beside_it(chain: Chain, counted: Artifact, arpa: Path) -> None:
    imported = chain.train(config_of(), arpa, name="imported")
    losses = counted.manifest.counts["final_validation_loss"], imported.manifest.counts["final_validation_loss"]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    report = imported.report()
    assert [row["order"] for row in report.tables["Orders"]] == [1, 2, 3]
    assert report.notes == ["Nothing was counted: the model is the file model.arpa."]


def test_what_memory_does_not_hold_is_estimated_on_disk_into_the_same_model(
    chain: Chain, counted: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.training import ngram

    monkeypatch.setattr(ngram, "ESTIMATED_BYTES", 2**40)
    on_disk = chain.train(config_of(order=3, memory_bytes=100_000_000), name="on_disk")
    files = {path.relative_to(on_disk.folder): path.read_bytes() for path in on_disk.folder.glob("model/*")}
    assert files == {path.relative_to(counted.folder): path.read_bytes() for path in counted.folder.glob("model/*")}
    assert on_disk.manifest.content_hash == counted.manifest.content_hash
    assert not (on_disk.folder / "scratch").exists()
    assert config_of(memory_bytes=100_000_000).training_literals() == config_of().training_literals()


def lines_without(text: str, piece: str) -> str:
    """An ARPA text without a token and every n-gram that has it, and with the counts that are left."""
    kept = [line for line in text.split("\n") if "\t" not in line or piece not in line.split("\t")[1].split(" ")]
    for order in (1, 2, 3):
        size = sum("\t" in line and len(line.split("\t")[1].split(" ")) == order for line in kept)
        kept = [f"ngram {order}={size}" if line.startswith(f"ngram {order}=") else line for line in kept]
    return "\n".join(kept)


def test_pieces_that_the_file_does_not_list_share_the_probability_of_unk(chain: Chain, arpa: Path) -> None:
    file = chain.folder / "few.arpa"
    file.write_text(lines_without(lines_without(arpa.read_text(), "▁red"), "<0x41>"))
    table = model_of(chain.train(config_of(), file, name="few")).table
    whole = np.exp(table.orders[0].log_probabilities.astype(np.float64))
    unknown = [chain.pieces.index(piece) for piece in ("<unk>", "▁red", "<0x41>")]
    listed = next(line for line in file.read_text().split("\n") if line.split("\t")[1:2] == ["<unk>"])
    assert whole[unknown] == pytest.approx([10 ** float(listed.split("\t")[0]) / 3] * 3, rel=1e-5)
    assert 0.9 < whole.sum() < 1  # what the two had is gone with their lines


@pytest.mark.parametrize(
    ("change", "settings", "sentence"),
    [
        (
            lambda text: text,
            {"order": 4},
            r"models\.bad\.order is 4, but bad\.arpa has n-grams of up to 3 tokens\. Write 3",
        ),
        (lambda text: text.replace("▁red", "zebra"), {}, "'zebra' is no piece of the tokenizer. Take the tokenizer"),
        (lambda text: text[: len(text) // 2], {}, "it is cut short. Write it again"),
        (
            lambda text: lines_without(lines_without(text, "<unk>"), "<0x41>"),
            {},
            "2 of the tokenizer's 330 pieces no prob",
        ),
        (lambda text: re.sub(r"(?m)^-\S+(\t▁red\t)", r"0.5\1", text), {}, "of order 1 has the log10 probability 0.5"),
        (lambda text: re.sub(r"(?m)^(\S+\t)<0x41>\t", r"\1<0x42>\t", text), {}, "lists a token twice"),
        (
            lambda text: re.sub(r"(?m)^(\S+\t▁red\t)\S+$", r"\1nan", text),
            {},
            "a back-off weight of order 1 is not finite",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_one_sentence(
    chain: Chain, arpa: Path, change: Callable[[str], str], settings: dict[str, Any], sentence: str
) -> None:
    file = chain.folder / "bad.arpa"
    file.write_text(change(arpa.read_text()))
    with pytest.raises(TextmillError, match=sentence) as caught:
        chain.train(config_of(**settings), file, name="bad")
    assert "\n" not in str(caught.value)
