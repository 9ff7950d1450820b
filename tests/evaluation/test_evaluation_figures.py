"""Figures from totals, against hand computation; and what is drawn and written of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bigram_model import BigramModel, CharacterTokenizer, bits_by_hand

from pipeline.artifacts import ArtifactRef
from pipeline.evaluation import html, plots
from pipeline.evaluation.baseline import unigram_bits_per_token
from pipeline.evaluation.measured import documents_table
from pipeline.evaluation.metrics.totals import Documents, expected_calibration_error, summarise, summarise_sources
from pipeline.evaluation.samples import opening, pick_openings
from pipeline.evaluation.scoring import DocumentScores, score_documents
from pipeline.evaluation.test_split import describe

TEXTS = ["ab", "bba", "aaaa"]


@pytest.fixture
def documents() -> Documents:
    return Documents(
        ids=["1", "2", "3"],
        text_hashes=["x", "y", "z"],
        sources=np.array(["left", "right", "left"], dtype=object),
        num_bytes=np.array([2, 3, 4]),
        num_words=np.array([1, 1, 1]),
    )


@pytest.fixture
def scores() -> DocumentScores:
    return score_documents(BigramModel(), CharacterTokenizer(), TEXTS, bits_per_token=np.ones(6))


def test_bits_per_byte_is_total_bits_over_total_bytes(documents: Documents, scores: DocumentScores) -> None:
    figures = summarise(documents, scores)
    total = sum(map(bits_by_hand, TEXTS))
    assert figures["bits_per_byte"] == pytest.approx(total / 9)
    assert figures["byte_perplexity"] == pytest.approx(2 ** (total / 9))
    assert figures["token_perplexity"] == pytest.approx(2 ** (total / 9))
    assert figures["word_perplexity"] == pytest.approx(2 ** (total / 3))
    assert figures["unigram_bits_per_byte"] == pytest.approx(1.0)


def test_what_a_document_hangs_together_with_stands_beside_its_bits(tmp_path: Path, scores: DocumentScores) -> None:
    groups = ["talk", None, "talk"]
    rows = [
        {
            "id": f"{number}",
            "text_hash": "x",
            "source": "s",
            "num_bytes": 4,
            "num_words": 1,
            "text": text,
            "group_id": group,
        }
        for number, (text, group) in enumerate(zip(TEXTS, groups, strict=True))
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    found, _ = describe(tmp_path / "test.parquet", {"0", "1", "2"}, num_openings=0)
    assert documents_table(found, scores)["group_id"].to_pylist() == groups


def test_sources_are_summed_apart(documents: Documents, scores: DocumentScores) -> None:
    figures = summarise_sources(documents, scores)
    assert list(figures) == ["left", "right"]
    assert figures["left"]["bits_per_byte"] == pytest.approx((bits_by_hand("ab") + bits_by_hand("aaaa")) / 6)
    assert figures["right"]["num_documents"] == 1


def test_a_perplexity_beyond_every_float_is_none(documents: Documents, scores: DocumentScores) -> None:
    heavy = DocumentScores(**{**{name: getattr(scores, name) for name in scores.__slots__}, "bits": scores.bits * 1e6})
    assert summarise(documents, heavy)["word_perplexity"] is None


def test_calibration_error_is_the_weighted_distance_of_confidence_and_accuracy() -> None:
    bins = np.zeros((15, 3))
    bins[3] = [4, 1.0, 2]  # confidence 0.25, accuracy 0.5
    bins[14] = [6, 5.7, 6]  # confidence 0.95, accuracy 1
    assert expected_calibration_error(bins) == pytest.approx(0.4 * 0.25 + 0.6 * 0.05)
    assert expected_calibration_error(np.zeros((15, 3))) is None


def test_the_unigram_baseline_is_add_one_over_the_tokens_of_texts(tmp_path: Path) -> None:
    table = tmp_path / "token_counts.parquet"
    pq.write_table(pa.table({"id": [2, 4, 5], "count": [100, 2, 1]}), table)
    bits = unigram_bits_per_token(table, vocab_size=6, not_text=(0, 2, 3))
    assert bits[[1, 4, 5]] == pytest.approx(-np.log2(np.array([1, 3, 2]) / 6))
    assert np.isinf(bits[[0, 2, 3]]).all()


def test_a_count_outside_the_vocabulary_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [9], "count": [1]}), tmp_path / "token_counts.parquet")
    with pytest.raises(ValueError, match="token 9, outside the vocabulary of 6"):
        unigram_bits_per_token(tmp_path / "token_counts.parquet", vocab_size=6, not_text=())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It was the best of times, it was the worst of times, it was the age of wisdom", "It was the best of"),
        ("床前明月光，疑是地上霜。举头望明月，低头思故乡。", "床前明月光，"),
        ("ab", "a"),
        ("A sailor slept.\nHe had walked far, and nobody knew where to.", "A sailor slept"),
        ("床前明月光。疑是地上霜。举头望明月。低头思故乡。", "床前明月光"),
        ("... " * 9, "... ..."),
        ("one " * 100, ("one " * 15).strip()),
    ],
)
def test_a_prompt_is_the_opening_words_of_a_document(text: str, expected: str) -> None:
    assert opening(text) == expected


def test_openings_come_from_each_source_in_turn() -> None:
    texts = {"b": ["bbbb", "BBBB"], "a": ["aaaa"]}
    assert pick_openings(texts, count=3) == ["a", "b", "B"]
    assert pick_openings({}, count=3) == []


def test_words_are_those_between_white_space_whatever_a_signal_counts(tmp_path: Path) -> None:
    texts = {"1": "Hallo, schöne Welt!", "2": "床前明月光\n疑是地上霜", "3": "left out"}
    rows = [
        {"id": id_, "text_hash": id_, "source": "s", "num_bytes": 1, "num_words": 9, "text": text, "group_id": None}
        for id_, text in texts.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    documents, _ = describe(tmp_path / "test.parquet", {"1", "2"}, num_openings=1)
    assert documents.num_words.tolist() == [3, 2]


def report(**changes: object) -> str:
    figures = {
        "bits_per_byte": 1.9,
        "unigram_bits_per_byte": 3.8,
        "byte_perplexity": 3.7,
        "token_perplexity": 50.0,
        "word_perplexity": None,
        "top1_accuracy": 0.3,
        "top5_accuracy": 0.5,
        "expected_calibration_error": 0.02,
        "num_documents": 12,
        "num_bytes": 1_234_567,
    }
    ref = ArtifactRef(stage="corpus", name="poems", version="v", content_hash="c0ffee")
    known = {
        "name": "gpt",
        "family": "transformer",
        "training": {"num_parameters": 5_000_000, "tokens": 2_000_000},
        "figures": figures,
        "sources": {"tang": {**figures, "num_documents": 12}},
        "cached": {},
        "by_heart": None,
        "task": "language_model",
        "task_metric": "bits_per_byte",
        "task_rows": [],
        "benchmarks": {},
        "samples": [{"prompt": "床前", "continuation": "明月光"}],
        "plots": {"Curve": b"png"},
        "lineage": {"corpus": ref},
        "notes": [],
    }
    return html.render_report(**{**known, **changes})  # type: ignore[arg-type]


def test_the_page_names_the_model_its_figures_and_its_origin() -> None:
    page = report()
    for expected in (
        "5.0 million parameters",
        "1.900",
        "3.800",
        "50.0 % fewer",
        "床前",
        "明月光",
        "corpus/poems",
        "c0ffee",
    ):
        assert expected in page


def test_of_a_task_its_own_metric_comes_first_and_what_was_not_measured_stays_away() -> None:
    def row(metric: str, by: str, value: float) -> dict[str, object]:
        return {
            "metric": metric,
            "by": by,
            "value": value,
            "low": value - 1,
            "high": value + 1,
            "signature": "measured so",
        }

    rows = [
        row("bits_per_byte", "model", 1.9),
        row("ter", "model", 41.07),
        row("ter", "copy", 98.0),
        row("ter", "lead", 97.5),
    ]
    page = report(task="translation", task_metric="ter", task_rows=rows)
    (main,) = re.findall(r'<div class="card main"><b>(.*?)</b>(.*?)<span>(.*?)</span>', page)
    assert main == ("41.07", "TER", "95 % between 40.07 and 42.07; lead 97.50")  # fewer edits are better
    assert "model for translation" in page
    assert "perplexity per token" in page
    assert "perplexity per word" not in page  # it is None
    (main,) = re.findall(r'<div class="card main"><b>(.*?)</b>(.*?)<span>', report())
    assert main[0] == "1.900"


@pytest.mark.parametrize("attack", ["<img src=x onerror=alert(1)>", "<script>alert(1)</script>", "</blockquote><b>"])
def test_text_of_the_model_or_the_corpus_stays_text(attack: str) -> None:
    page = report(samples=[{"prompt": attack, "continuation": attack}], notes=[attack])
    assert attack not in page
    assert attack.replace("<", "&lt;").replace(">", "&gt;") in page
    assert "<script" not in page


def test_the_page_fetches_nothing() -> None:
    page = report()
    assert re.findall(r"(?:src|href)=[\"'](?!data:)", page) == []
    assert "default-src 'none'" in page


def test_plots_are_images_and_the_same_twice() -> None:
    history = pa.table(
        {
            "tokens": [1, 2, 3],
            "train_loss": [3.0, 2.0, 1.5],
            "validation_loss": pa.array([None, 2.1, None], pa.float64()),
        }
    )
    bins = np.zeros((15, 3))
    bins[3] = [4, 1.0, 2]
    sources = {"a": {"bits_per_byte": 1.0, "unigram_bits_per_byte": 2.0}}
    for draw in (
        lambda: plots.learning_curve(history),
        lambda: plots.reliability(bins),
        lambda: plots.bits_per_source(sources),
    ):
        assert draw().startswith(b"\x89PNG")
        assert draw() == draw()


def test_every_figure_is_json(documents: Documents, scores: DocumentScores) -> None:
    json.dumps(summarise(documents, scores), allow_nan=False)
