"""Every family of models goes the whole way: killed in training and resumed, registered, asked, and trained anew by the clock."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from pair_chain import number_pairs
from test_interrupted_training import trainers
from test_retraining import decision, versions
from tiny_project import command, environment, running_ui, textmill, wait_until

pytestmark = pytest.mark.slow

SETTINGS = """
    context_tokens: 32
    train: {batch_tokens: 256, tokens: 20_000, compile: "off", checkpoint_every_steps: 5, validation_tokens: 256}
    evaluate: {max_documents: 20, num_samples: 1, sample_tokens: 10}
"""
NETWORKS = ("transformer", "lstm", "gru", "rnn")
OF_PAIRS = ("seq2seq_transformer", "seq2seq_rnn")
FAMILIES = ("ngram", *NETWORKS, *OF_PAIRS)
PROJECT = """
name: families
sources:
  numbers: {reader: json, path: "numbers/*.jsonl"}
  pairs: {reader: json, path: "numbers/*.jsonl", target: target}
corpora:
  numbers: {sources: {numbers: 1.0}, quality: {rules: []}, splits: {validation: 0.1, test: 0.1}}
  pairs: {sources: {pairs: 1.0}, quality: {rules: []}, splits: {validation: 0.1, test: 0.1}}
tokenizers:
  words: {corpus: pairs, vocab_size: 320}
datasets:
  texts: {corpus: numbers, tokenizer: words}
  translations: {corpus: pairs, tokenizer: words, task: translation}
models:
  ngram: {family: ngram, dataset: texts, order: 3, evaluate: {max_documents: 20, num_samples: 1, sample_tokens: 10}}
"""


def write_project(folder: Path) -> None:
    text = PROJECT
    for family in (*NETWORKS, *OF_PAIRS):
        dataset = "translations" if family in OF_PAIRS else "texts"
        width = 64 if "transformer" in family else 32
        text += f"  {family}:\n    family: {family}\n    dataset: {dataset}\n    depth: 1\n    width: {width}"
        text += SETTINGS
    models = ", ".join(FAMILIES)
    text += f'schedules: {{every_minute: {{cron: "* * * * *", models: [{models}]}}}}\n'
    (folder / "dagster_project.yaml").write_text(text)
    (folder / "numbers").mkdir()
    write_numbers(folder, "first", 1000, 1800)


def write_numbers(folder: Path, name: str, start: int, stop: int) -> None:
    lines = [json.dumps({"text": text, "target": target}) for text, target in number_pairs(start, stop)]
    (folder / "numbers" / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def kill_each_trainer(folder: Path, run: subprocess.Popen[bytes]) -> set[str]:
    """Ends the training of every model without warning once it has a checkpoint; the names of the killed."""
    killed: set[str] = set()

    def over() -> bool:
        for process in trainers(folder):
            with suppress(psutil.NoSuchProcess):  # it may end before it is looked at
                specs = [Path(word) for word in process.cmdline() if word.endswith("spec.json")]
                for spec in specs:
                    name = spec.parents[1].name
                    if name not in killed and any(spec.parent.glob("step-*/manifest.json")):
                        process.kill()
                        killed.add(name)
        return run.poll() is not None

    wait_until(over, seconds=400)
    return killed


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, set[str], str]:
    """The project after a run whose trainings were all killed; who was killed, and what the run printed."""
    folder = tmp_path_factory.mktemp("families")
    write_project(folder)
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command("run"), cwd=folder, env=environment(), stdout=log, stderr=subprocess.STDOUT) as run,
    ):
        killed = kill_each_trainer(folder, run)
    said = (folder / "log").read_text()
    assert run.returncode == 0, said
    return folder, killed, said


def tracking(folder: Path) -> str:
    return f"sqlite:///{folder / 'data' / 'mlflow' / 'mlflow.db'}"


def test_a_killed_training_is_started_again_and_goes_on_from_its_checkpoint(built: tuple[Path, set[str], str]) -> None:
    _, killed, said = built
    assert killed == set(NETWORKS) | set(OF_PAIRS)
    assert said.count("goes on from the checkpoint at step") == len(killed)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_registry_gives_back_what_the_command_line_writes(
    built: tuple[Path, set[str], str], family: str, tmp_path: Path
) -> None:
    folder, _, _ = built
    assert versions(folder, family) == ["1"]
    written = textmill(folder, "generate", family, "one", "--temperature", "0", "--max-tokens", "8")
    assert written.returncode == 0, written.stderr
    code = (
        "import mlflow, pandas as pd, sys; mlflow.set_tracking_uri(sys.argv[1]);"
        "settings = {'temperature': 0.0, 'num_beams': 1};"  # what is left out is that of the model's task: translations have 5 beams
        "m = mlflow.pyfunc.load_model(f'models:/{sys.argv[2]}@champion');"
        "print(m.predict(pd.DataFrame({'prompt': ['one']}), params={**settings, 'max_new_tokens': 8})[0])"
    )
    asked = subprocess.run(
        [sys.executable, "-c", code, tracking(folder), family],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment(),
    )
    assert asked.stdout.strip(), asked.stderr
    assert asked.stdout.strip() in written.stdout


def test_the_clock_makes_a_new_version_of_every_family_that_meets_its_champion(
    built: tuple[Path, set[str], str], tmp_path: Path
) -> None:
    finished, _, _ = built
    folder = tmp_path / "families"
    shutil.copytree(finished, folder)
    with running_ui(folder):
        write_numbers(folder, "second", 1800, 1900)
        wait_until(lambda: all(versions(folder, family) == ["1", "2"] for family in FAMILIES), seconds=500)
        wait_until(lambda: all(decision(folder, family)["champion"] is not None for family in FAMILIES), seconds=60)
    for family in FAMILIES:
        comparison = decision(folder, family)["champion"]
        assert comparison["challenger_bits_per_byte"] > 0
        assert 0 <= comparison["confidence"] <= 1
