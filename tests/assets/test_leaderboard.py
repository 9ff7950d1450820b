"""The leaderboard's table fits a terminal of 80 columns and orders models by what their task goes by."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from assets.cli.leaderboard import duration, leaderboard_table, short
from pipeline.accounts.leaderboard import Row, _rank, leaderboard
from pipeline.artifacts import ArtifactStore
from pipeline.config import load_project
from pipeline.errors import ConfigurationError

ROW = {
    "model": "a_translator_with_a_long_name",
    "family": "seq2seq_transformer",
    "dataset": "multi30k_pairs",
    "task": "translation",
    "metric": "bleu",
    "quality": 35.21,
    "quality_low": 34.0,
    "quality_high": 36.4,
    "bits_per_byte": 0.812,
    "unigram_bits_per_byte": 2.474,
    "accuracy": 0.123,
    "num_parameters": 7_412_000,
    "training_tokens": 20_000_000,
    "training_seconds": 5_400.0,
    "training_tokens_per_second": 3_712.0,
    "scoring_tokens_per_second": 1_234_567.0,
    "version": "12",
    "is_champion": True,
}


def row(**changes: Any) -> Row:
    return Row(**{**ROW, **changes})


def printed(rows: list[Row]) -> str:
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    console.print(leaderboard_table(rows))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("accuracy", [0.123, None])
def test_the_table_fits_80_columns_with_every_figure_whole(accuracy: float | None) -> None:
    text = printed(
        [
            row(accuracy=accuracy),
            row(model="five_gram", family="ngram", dataset="novels", metric="bits_per_byte", accuracy=accuracy),
        ]
    )
    assert max(map(len, text.splitlines())) <= 80
    for figure in ("35.2", "BLEU", "0.812", "2.474", "7.4M", "20M", "90m", "3.7k", "1.2M"):
        assert figure in text
    assert "…" not in text
    assert ("0.123" in text) == (accuracy is not None)


def test_a_name_of_seventeen_letters_stands_on_one_line_with_its_family_below() -> None:
    lines = [line.rstrip() for line in printed([row(model="encoder_decoder", accuracy=None)]).splitlines()]
    place = next(number for number, line in enumerate(lines) if line.startswith("encoder_decoder *"))
    assert lines[place + 1].startswith("  seq2seq transformer")


def test_without_figures_of_a_task_the_family_has_a_column_of_its_own() -> None:
    text = printed([row(model="gpt", family="transformer", metric="bits_per_byte")])
    assert any(line.startswith("gpt * transformer") for line in text.splitlines())


def test_the_best_comes_first_whichever_way_its_metric_points() -> None:
    def order(metric: str, *values: float | None) -> list[float | None]:
        return [found.quality for found in sorted((row(metric=metric, quality=value) for value in values), key=_rank)]

    assert order("bleu", 20.0, None, 35.0) == [35.0, 20.0, None]
    assert order("bits_per_byte", 2.0, 1.5) == [1.5, 2.0]
    assert order("ter", 50.0, 40.0) == [40.0, 50.0]
    assert order("repetition", 0.4, 0.1, None, 0.2) == [0.1, 0.2, 0.4, None]


def test_a_share_is_told_by_three_digits() -> None:
    assert "0.042" in printed([row(metric="repetition", quality=0.0417)])


@pytest.mark.parametrize(
    ("value", "shown"), [(7, "7"), (999.7, "1.0k"), (9_960, "10k"), (5_312_000, "5.3M"), (20e6, "20M"), (None, "")]
)
def test_counts_are_short(value: float | None, shown: str) -> None:
    assert short(value) == shown


def test_times_are_short() -> None:
    assert [duration(seconds) for seconds in (3.2, 99.9, 5_400, 200_000, None)] == ["3s", "100s", "90m", "56h", ""]


PROJECT = """
name: p
sources: {s: {reader: text, path: "*.txt"}}
corpora: {c: {sources: {s: 1.0}}}
tokenizers: {t: {corpus: c}}
datasets: {d: {corpus: c, tokenizer: t, task: TASK}}
models: {m: {family: lstm, dataset: d, evaluate: {metrics: [chrf, METRIC]}}}
"""


@pytest.mark.parametrize(("task", "metric"), [("translation", "f1"), ("summarisation", "bleu")])
def test_a_metric_that_does_not_fit_the_task_is_one_sentence(tmp_path: Any, task: str, metric: str) -> None:
    file = tmp_path / "project.yaml"
    file.write_text(PROJECT.replace("TASK", task).replace("METRIC", metric))
    with pytest.raises(
        ConfigurationError,
        match=rf"models\.m\.evaluate\.metrics names '{metric}', which does not fit the task {task} of datasets\.d\. Choose",
    ):
        load_project(file)
    file.write_text(PROJECT.replace("TASK", "translation").replace("METRIC", "ter"))
    assert load_project(file).models["m"].evaluate.metrics == ("chrf", "ter")


def test_a_name_that_is_no_model_is_one_sentence(tmp_path: Any) -> None:
    file = tmp_path / "project.yaml"
    file.write_text(PROJECT.replace("TASK", "translation").replace("METRIC", "ter"))
    project = load_project(file)
    assert leaderboard(project, ArtifactStore(tmp_path), ["m"]) == []
    with pytest.raises(ConfigurationError, match=r"^'n' is no model of this project\. Known: m\.$"):
        leaderboard(project, ArtifactStore(tmp_path), ["m", "n"])
