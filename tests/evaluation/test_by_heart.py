"""What a model gives back of documents is counted as by hand, and documents that no training reads are not asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bigram_model import BOS, EOS, CharacterTokenizer
from test_cached import model_artifact
from test_evaluation_figures import report
from tiny_chain import chain_of, make_evaluation

from pipeline.config.by_heart import ByHeartConfig
from pipeline.config.training import EvaluateConfig
from pipeline.evaluation.by_heart import ByHeart, measure_by_heart
from pipeline.progress import SilentProgress

SETTINGS = ByHeartConfig(documents=4, prompt_tokens=3, continuation_tokens=4)


class Rote:
    """Goes on from prompts it knows; from others it writes only `a`."""

    def __init__(self, known: dict[str, str]) -> None:
        self.known = known

    def generate(self, prompts: list[list[int]], parameters: Any) -> list[list[int]]:
        assert (parameters.temperature, parameters.max_new_tokens, parameters.stop_ids) == (0.0, 4, (EOS,))
        tokenizer = CharacterTokenizer()
        assert all(prompt[0] == BOS and len(prompt) == 4 for prompt in prompts)
        return [tokenizer.encode(self.known.get(tokenizer.decode(prompt[1:]), "aaaa")) for prompt in prompts]


def write(path: Path, texts: dict[str, str], *, unread: str = "") -> Path:
    rows = [
        {"id": id_, "source": "s", "text": text, "num_bytes": len(text.encode()), "repeats": int(id_ not in unread)}
        for id_, text in texts.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def asked(tmp_path: Path) -> ByHeart:
    first = write(
        tmp_path / "a.parquet", {"1": "abbabababab", "2": "abbab", "3": "bbabbbba", "4": "babbabb"}, unread="4"
    )
    second = write(tmp_path / "b.parquet", {"5": "aabbbbb", "6": "bbbabab"})
    test = write(tmp_path / "test.parquet", {"7": "bbbaaab", "8": "a"})
    model: Any = Rote({"abb": "abab", "bba": "bba", "aab": "bbbb"})
    tokenizer: Any = CharacterTokenizer()
    progress = SilentProgress()
    return measure_by_heart(model, tokenizer, train=[first, second], test=test, settings=SETTINGS, progress=progress)


def test_the_tokens_that_agree_are_counted(tmp_path: Path) -> None:
    found = asked(tmp_path)
    # "bba" + "bba" where "bbbb" stands: two agree; "bbb" + "aaaa" where "abab" stands: one, and where "aaab" stands: three
    assert [(row["split"], row["id"], row["same_tokens"]) for row in found.rows] == [
        ("train", "1", 4),
        ("train", "3", 2),
        ("train", "5", 4),
        ("train", "6", 1),
        ("test", "7", 3),
    ]
    assert found.figures == {
        "by_heart_fraction/train": 0.5,
        "by_heart_tokens/train": 2.75,
        "by_heart_fraction/test": 0.0,
        "by_heart_tokens/test": 3.0,
    }
    assert "gives back the 4 that follow in 2 of 4 training documents word for word, and in 0 of 1 test" in found.note


def test_the_page_says_it(tmp_path: Path) -> None:
    page = report(by_heart=asked(tmp_path))
    assert "What it knows by heart" in page and "50.0 %" in page and "2.750 of 4" in page
    assert "What it knows by heart" not in report()


def test_a_split_without_a_document_that_is_long_enough_has_no_figure() -> None:
    found = ByHeart(settings=SETTINGS, rows=[])
    assert found.figures == {}
    assert "in 0 of 0 training documents" in found.note
    assert "–" in report(by_heart=found)


def test_an_evaluation_states_it_where_it_is_asked_for(tmp_path: Path) -> None:
    store, corpus, tokenizer, shards = chain_of(tmp_path)
    model = model_artifact(store, tokenizer, shards)
    asked = {"documents": 8, "prompt_tokens": 6, "continuation_tokens": 3}
    config = EvaluateConfig(num_samples=1, sample_tokens=2, by_heart=asked)  # type: ignore[arg-type]
    evaluation = make_evaluation(store, model, corpus, shards, config)
    rows = pq.read_table(evaluation.file("by_heart.parquet")).to_pylist()
    assert [row["split"] for row in rows] == ["train"] * 8 + ["test"] * 8
    same = sum(row["same_tokens"] for row in rows[:8]) / 8
    assert evaluation.manifest.counts["by_heart_tokens/train"] == same
    written = json.loads(evaluation.file("metrics.json").read_text())["by_heart"]
    assert written["settings"] == asked
    assert written["splits"]["train"]["by_heart_tokens"] == same
    assert "What it knows by heart" in evaluation.file("report.html").read_text()


def test_evaluations_that_do_not_ask_stay_what_they_are() -> None:
    assert "by_heart" not in EvaluateConfig().literals()
    literals = EvaluateConfig(by_heart={}).literals()  # type: ignore[arg-type]
    assert literals["by_heart"] == pytest.approx({"documents": 200, "prompt_tokens": 50, "continuation_tokens": 50})
