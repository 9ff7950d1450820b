"""lm-evaluation-harness drives an n-gram, a recurrent and a Transformer model offline, and its figures are ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import lstm, ngram, transformer
from tiny_chain import chain_of, default_texts

from pipeline.config.benchmarks import BenchmarkConfig
from pipeline.errors import InputError
from pipeline.evaluation.benchmarks.running import run_benchmark
from pipeline.evaluation.pair_model import PairModel, TextModel
from pipeline.evaluation.scoring import score_documents
from pipeline.progress import SilentProgress
from pipeline.tokenizer.model import Tokenizer

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed (the extra lm_eval)")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of the harness and of datasets, which are not ours
]

NOUNS = ["fox", "door", "river", "lamp", "child", "song"]

ROLLING = """
task: novels
dataset_path: json
dataset_kwargs: {data_files: {test: TEXTS}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte}, {metric: byte_perplexity}]
"""

CHOICES = """
task: nouns
dataset_path: json
dataset_kwargs: {data_files: {test: QUESTIONS}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{query}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{gold}}"
target_delimiter: " "
metric_list: [{metric: acc}, {metric: acc_norm}]
"""


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    _, _, tokenizer, _ = chain_of(tmp_path_factory.mktemp("chain"))
    return tokenizer.file("tokenizer.model")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rolling perplexity task and a multiple-choice task, on local files."""
    folder = tmp_path_factory.mktemp("tasks")
    texts = [*default_texts()["test"][:12], "Ein Satz, den es dort nicht gibt: 春望.", "x"]
    (folder / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    draw = np.random.default_rng(0)
    lines = []
    for number in range(40):
        choices = [str(noun) for noun in draw.choice(NOUNS, size=2 + number % 3, replace=False)]
        lines.append({"query": f"the red fox sees {number} a small", "choices": choices, "gold": number % len(choices)})
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "novels.yaml").write_text(ROLLING.replace("TEXTS", str(folder / "texts.jsonl")))
    (folder / "nouns.yaml").write_text(CHOICES.replace("QUESTIONS", str(folder / "questions.jsonl")))
    return folder


@pytest.fixture(autouse=True, scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_DATASETS_OFFLINE", "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        yield


@pytest.mark.parametrize("family", [ngram, lstm, transformer])
def test_the_harness_and_we_agree(family: Any, tokenizer_file: Path, tasks: Path, tmp_path: Path) -> None:
    from pipeline.serving.generate import load_any
    from pipeline.serving.harness import HarnessModel, run_harness

    tokenizer = Tokenizer.load(tokenizer_file)
    model = family(tokenizer)
    model.save(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.model").write_bytes(tokenizer_file.read_bytes())
    loaded = load_any(str(tmp_path / "model"), "no server is asked")
    found = run_harness(HarnessModel(loaded), include=tasks, tasks=["novels", "nouns"])

    texts = [json.loads(line)["text"] for line in (tasks / "texts.jsonl").read_text().splitlines()]
    bits = score_documents(model, tokenizer, texts).bits.sum()
    ours = bits / sum(len(text.encode()) for text in texts)
    assert found["novels"]["bits_per_byte"] == pytest.approx(ours, rel=1e-9)
    assert round(found["novels"]["bits_per_byte"], 6) == round(ours, 6)
    assert found["novels"]["byte_perplexity"] == pytest.approx(2**ours, rel=1e-9)

    config = BenchmarkConfig(path="questions.jsonl", kind="choices")
    path = tasks / "questions.jsonl"
    figures = run_benchmark(loaded, "nouns", config, path=path, progress=SilentProgress()).figures
    assert found["nouns"]["acc"] == pytest.approx(figures["accuracy"])
    assert found["nouns"]["acc_stderr"] == pytest.approx(figures["accuracy_stderr"])
    assert found["nouns"]["acc_norm"] == pytest.approx(figures["normalised_accuracy"])
    assert 0 < figures["accuracy"] < 1


def test_greedy_continuations_stop_at_the_tasks_marks(tokenizer_file: Path) -> None:
    from lm_eval.api.instance import Instance

    from pipeline.serving.harness import HarnessModel

    tokenizer = Tokenizer.load(tokenizer_file)
    harness = HarnessModel(TextModel(model=ngram(tokenizer), tokenizer=tokenizer))

    def ask(settings: dict[str, Any]) -> str:
        request = Instance(request_type="generate_until", doc={}, arguments=("the red", settings), idx=0)
        return harness.generate_until([request])[0]

    whole = ask({"max_gen_toks": 24})
    assert "." in whole
    assert ask({"max_gen_toks": 24, "until": ["."]}) == whole.split(".")[0]


def test_models_of_pairs_write_as_far_as_they_can_and_say_where_they_cannot_answer(tokenizer_file: Path) -> None:
    from lm_eval.api.instance import Instance

    from pipeline.serving.harness import HarnessModel

    tokenizer = Tokenizer.load(tokenizer_file)
    model = transformer(tokenizer)
    words = {"text": "{text}\n{target}", "prefix_ids": [], "middle_ids": tokenizer.encode("\n")}
    index = {"task": "translation", "keep_source": "beginning", "template": words}
    pairs = PairModel(model, tokenizer, tokenizer, index)
    harness = HarnessModel(pairs)
    wanted = {"max_gen_toks": 4 * model.context_tokens}  # as files have it that were written for larger models
    written = harness.generate_until([Instance("generate_until", doc={}, arguments=("the red", wanted), idx=0)])
    assert written == pairs.answer(["the red"], {"temperature": 0.0, "max_new_tokens": model.context_tokens // 2})
    model.is_encoder_decoder = True
    for ask in (harness.loglikelihood, harness.loglikelihood_rolling):
        with pytest.raises(InputError, match="answers tasks that have it write"):
            ask([Instance("loglikelihood", doc={}, arguments=("the", " red"), idx=0)])


@pytest.mark.parametrize("settings", ["", "fewshot_config: {sampler: first_n}\n"])
def test_more_examples_than_there_are_is_one_sentence(
    tokenizer_file: Path, tasks: Path, tmp_path: Path, settings: str
) -> None:
    from pipeline.serving.harness import HarnessModel, run_harness

    (tmp_path / "nouns.yaml").write_text((tasks / "nouns.yaml").read_text() + "fewshot_split: test\n" + settings)
    tokenizer = Tokenizer.load(tokenizer_file)
    model = HarnessModel(TextModel(model=ngram(tokenizer), tokenizer=tokenizer))
    with pytest.raises(InputError, match=r"fewer examples .* than --few-shot asks for\. Lower it with --few-shot\."):
        run_harness(model, include=tmp_path, tasks=["nouns"], num_fewshot=50, limit=2)


def test_outside_a_repository_git_says_nothing_and_only_metrics_are_shown(
    tokenizer_file: Path,
    tasks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from pipeline.serving.harness import HarnessModel, run_harness

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    tokenizer = Tokenizer.load(tokenizer_file)
    model = HarnessModel(TextModel(model=ngram(tokenizer), tokenizer=tokenizer))
    found = run_harness(model, include=tasks, tasks=["nouns"], limit=2)
    assert set(found["nouns"]) == {"acc", "acc_norm", "acc_stderr", "acc_norm_stderr"}
    assert "not a git repository" not in capfd.readouterr().err


def test_a_task_that_no_file_defines_is_one_sentence(tokenizer_file: Path, tasks: Path) -> None:
    from pipeline.serving.harness import HarnessModel, run_harness

    tokenizer = Tokenizer.load(tokenizer_file)
    with pytest.raises(InputError, match="defines no task 'piqa'; it defines nouns, novels"):
        run_harness(HarnessModel(TextModel(model=ngram(tokenizer), tokenizer=tokenizer)), include=tasks, tasks=["piqa"])
