"""Benchmarks: every published format is read, figures are those of hand computation, and nothing is left out in silence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bigram_model import BigramModel, CharacterTokenizer

from pipeline.config import load_project
from pipeline.config.benchmarks import BenchmarkConfig
from pipeline.errors import ConfigurationError, InputError
from pipeline.evaluation.benchmarks.examples import read_examples
from pipeline.evaluation.benchmarks.running import run_benchmark, with_solved_examples
from pipeline.evaluation.pair_model import TextModel
from pipeline.plan import EVALUATION, Key, build_nodes
from pipeline.progress import SilentProgress


def config(kind: str = "choices", **words: Any) -> BenchmarkConfig:
    return BenchmarkConfig(path="x.jsonl", kind=kind, **{"separator": "", **words})


def written(folder: Path, *records: Any) -> Path:
    path = folder / "x.jsonl"
    path.write_text("\n".join(record if isinstance(record, str) else json.dumps(record) for record in records))
    return path


def answer(folder: Path, *records: Any, **words: Any) -> Any:
    path = written(folder, *records)
    tokenizer: Any = CharacterTokenizer()
    asked = TextModel(model=BigramModel(context_tokens=64), tokenizer=tokenizer)
    return run_benchmark(asked, "x", config(**words), path=path, progress=SilentProgress())


def test_accuracy_chance_and_standard_error_are_those_of_hand_computation(tmp_path: Path) -> None:
    # after b the table gives a 13/16 and b 1/8; after a it gives a 1/2 and b 7/16
    found = answer(
        tmp_path,
        {"query": "b", "choices": ["a", "b"], "gold": 0},  # right
        {"query": "b", "choices": ["a", "b"], "gold": 1},  # wrong
        {"query": "a", "choices": ["b", "a"], "gold": 1},  # right
        {"query": "a", "choices": ["b", "a", "ab", "bb"], "gold": 2},  # wrong: 1/2 against 1/2 * 7/16
    )
    figures = found.figures
    assert [row["chosen"] for row in found.rows] == [0, 0, 1, 1]
    assert figures["accuracy"] == 0.5
    assert figures["accuracy_stderr"] == pytest.approx(np.sqrt((4 * 0.25 / 3) / 4))
    assert figures["chance"] == pytest.approx((3 / 2 + 1 / 4) / 4)
    assert figures["centred_accuracy"] == pytest.approx((0.5 - 0.4375) / 0.5625)


def test_normalised_accuracy_divides_by_the_characters_of_the_answer(tmp_path: Path) -> None:
    # after a: b costs log2(16/7) = 1.19 bits; aaaa costs 4 bits, so 1 a character
    found = answer(tmp_path, {"query": "a", "choices": ["b", "aaaa"], "gold": 1})
    assert (found.figures["accuracy"], found.figures["normalised_accuracy"]) == (0.0, 1.0)


def test_equally_likely_answers_share_the_point(tmp_path: Path) -> None:
    found = answer(tmp_path, {"query": "a", "choices": ["b", "b", "ab"], "gold": 0})
    assert found.figures["accuracy"] == 0.5


def test_a_last_word_is_right_where_the_model_would_have_written_it(tmp_path: Path) -> None:
    lines = [{"context": "b", "continuation": "aa"}, {"context": "b", "continuation": "ab"}]
    found = answer(tmp_path, *lines, kind="last_word")
    assert [row["right"] for row in found.rows] == [1.0, 0.0]
    assert (found.figures["chance"], found.figures["normalised_accuracy"]) == (0.0, None)


def test_lines_that_hold_no_example_are_told_by_number_and_reason(tmp_path: Path) -> None:
    good = {"query": "b", "choices": ["a", "b"], "gold": 0}
    found = answer(tmp_path, good, {**good, "gold": 7}, "", "{", {"query": "b", "gold": 0}, {**good, "choices": ["a"]})
    assert found.figures["num_incomplete"] == 4
    assert found.figures["num_examples"] == 1
    assert found.notes == [
        "x: 4 of 5 lines hold no complete example (line 2: the right answer is 7, outside 0..1), so its figures are over 1."
    ]


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"holds no example of the kind contexts; line 1: 'context_options' is missing"
    ):
        answer(tmp_path, {"query": "b", "choices": ["a", "b"], "gold": 0}, kind="contexts")


def test_solved_examples_are_others_of_the_file_and_the_same_ones_every_time(tmp_path: Path) -> None:
    lines = [{"query": f"q{number}", "choices": ["no", "yes"], "gold": 1} for number in range(6)]
    settings = config(few_shot=3, separator=" ")
    examples, _ = read_examples(written(tmp_path, *lines), settings)
    before = with_solved_examples(examples[2], examples, settings)
    solved = re.findall(r"(q\d) yes\n\n", before)
    assert len(set(solved)) == 3
    assert "q2" not in solved
    assert before == with_solved_examples(examples[2], examples, settings)
    assert before != with_solved_examples(examples[2], examples, config(few_shot=3, separator=" ", seed=1))


def test_questions_of_a_dev_split_are_shown_and_never_asked(tmp_path: Path) -> None:
    def line(split: str, subject: str, question: str) -> dict[str, Any]:
        return {"subject": subject, "split": split, "question": question, "choices": ["a", "b"], "answer": "B"}

    lines = [line("dev", "law", "d1"), line("test", "law", "t1"), line("dev", "art", "d2")]
    settings = config("lettered", few_shot=2)
    examples, _ = read_examples(written(tmp_path, *lines), settings)
    assert with_solved_examples(examples[1], examples, settings) == "d1\nA. a\nB. bB\n\n"
    assert answer(tmp_path, *lines, kind="lettered").figures["num_examples"] == 1


PUBLISHED = {
    # file: kind, separator, the first example's prompts and answers, examples, to be shown only
    "piqa": ("choices", "\nAnswer: ", "it's new occupants?", "\nAnswer: Provide the guinea pig", 1000, 0),
    "arc_easy": ("choices", "\nAnswer: ", "most food webs?", "\nAnswer: Sunlight is", 1000, 0),
    "copa": ("choices", " ", "turned on the faucet, therefore", " the toilet filled with water.", 100, 0),
    "boolq": ("choices", "\nAnswer: ", "?", "\nAnswer: no", 300, 0),
    "winogrande": ("contexts", " ", "than Maria so Sarah", " always got the easier cases.", 800, 0),
    "lambada_openai": ("last_word", " ", "I don't care about", " signs", 800, 0),
    "blimp_15x67": ("minimal_pair", "", "", "Who should Derek hug after shocking Richard?", 1005, 0),
    "cmmlu_4_subjects": ("lettered", "\n答案：", "\nD. 后台管事", "\n答案：A", 726, 20),
    "xcopa_zh_val": ("cause_effect", "", "那人打开水龙头，所以", "厕所里满是水。", 100, 0),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_are_read_to_the_last_line(corpora: Path, name: str) -> None:
    kind, separator, prompt, first_answer, count, shown = PUBLISHED[name]
    settings = BenchmarkConfig(path="x", kind=kind, separator=separator)
    examples, incomplete = read_examples(corpora / "multiple_choice" / f"{name}.jsonl", settings)
    assert (len(examples), incomplete) == (count, [])
    assert sum(example.is_for_showing for example in examples) == shown
    assert examples[0].prompts[0].endswith(prompt)
    assert examples[0].answers[0].startswith(first_answer)


PROJECT = """
name: p
sources: {s: {reader: text, path: "*.txt"}}
corpora: {c: {sources: {s: 1.0}}}
tokenizers: {t: {corpus: c}}
datasets: {d: {corpus: c, tokenizer: t}}
models:
  m: {family: ngram, dataset: d, evaluate: {benchmarks: {quiz: BENCHMARK}}}
"""


def project(folder: Path, benchmark: str) -> Any:
    file = folder / "project.yaml"
    file.write_text(PROJECT.replace("BENCHMARK", benchmark))
    return load_project(file)


def test_an_evaluation_is_made_anew_when_the_questions_change_and_not_when_the_file_moves(tmp_path: Path) -> None:
    def literals(benchmark: str) -> dict[str, Any]:
        return build_nodes(project(tmp_path, benchmark))[Key(EVALUATION, "m")].literals()

    (tmp_path / "a.jsonl").write_text("one")
    (tmp_path / "b.jsonl").write_text("one")
    before = literals("{path: a.jsonl, kind: choices}")
    assert literals("{path: b.jsonl, kind: choices}") == before
    (tmp_path / "a.jsonl").write_text("two")
    assert literals("{path: a.jsonl, kind: choices}") != before


@pytest.mark.parametrize(
    ("benchmark", "sentence"),
    [
        ("{path: x, kind: quiz}", r"models\.m\.evaluate\.benchmarks\.quiz\.kind is 'quiz'; allowed are 'choices'"),
        ("{path: x, kind: minimal_pair, few_shot: 5}", "has few_shot 5, but a minimal pair is two whole sentences"),
        ("{path: x, kind: choices, few_shot: -1}", "few_shot is -1"),
    ],
)
def test_a_mistake_in_the_settings_is_one_sentence(tmp_path: Path, benchmark: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        project(tmp_path, benchmark)


def test_a_missing_file_is_named_before_anything_runs(tmp_path: Path) -> None:
    found = project(tmp_path, "{path: gone.jsonl, kind: choices}")
    with pytest.raises(InputError, match=r"models\.m\.evaluate\.benchmarks\.quiz\.path is 'gone\.jsonl', which cannot"):
        build_nodes(found)[Key(EVALUATION, "m")].literals()
