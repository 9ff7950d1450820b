"""A good file loads; every kind of mistake is one sentence with the key, the value and the mend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import (
    DatasetConfig,
    NgramConfig,
    RecurrentConfig,
    Seq2SeqTransformerConfig,
    TransformerConfig,
    load_project,
)
from pipeline.config.families import misfit
from pipeline.config.reference import render
from pipeline.errors import ConfigurationError

GOOD = """
name: demo
sources:
  notes: {reader: text, path: "notes/*.txt"}
corpora:
  english: {sources: {notes: 1.0}}
tokenizers:
  small: {corpus: english, vocab_size: 512}
datasets:
  tokens: {corpus: english, tokenizer: small}
models:
  gpt: {family: transformer, dataset: tokens, train: {tokens: 1000}}
schedules:
  nightly: {cron: "0 2 * * *", models: [gpt]}
"""
GPT = "gpt: {family: transformer, dataset: tokens, train: {tokens: 1000}}"


def load(tmp_path: Path, text: str) -> object:
    file = tmp_path / "dagster_project.yaml"
    file.write_text(text)
    return load_project(file)


def test_a_good_file_loads_with_its_defaults_and_paths_relative_to_itself(tmp_path: Path) -> None:
    project = load(tmp_path, GOOD)
    assert project.storage_folder == tmp_path / "data"
    assert project.tokenizers["small"].kind == "bpe"
    assert project.models["gpt"].depth == 4


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("schedules:", "schedule:", "schedule is unknown. Did you mean 'schedules'?"),
        ("reader: text,", "reader: text, encodin: x,", "sources.notes.encodin is unknown. Did you mean 'encoding'?"),
        ("tokens: 1000", "tokns: 1000", "models.gpt.train.tokns is unknown. Did you mean 'tokens'?"),
        ("reader: text", "reader: txt", "sources.notes.reader is 'txt'; known are 'text', 'json', 'parquet', "),
        ("reader: text, ", "", "sources.notes.reader is missing. Add one of text, json, parquet, "),
        (', path: "notes/*.txt"', "", "sources.notes.path is missing. Add it."),
        ("vocab_size: 512", "vocab_size: 200", "tokenizers.small has vocab_size 200; control symbols and byte fallback need 272."),
        ("tokens: 1000", "tokens: 0", "models.gpt.train.tokens is 0; input should be greater than or equal to 1."),
        ("tokenizer: small", "tokenizer: smal", "datasets.tokens.tokenizer names 'smal', which `tokenizers` does not define."),
        ("tokenizer: small", "tokenizer: small, task: translate", "datasets.tokens.task is 'translate'; allowed are 'language_model', 'translation', "),
        ("tokenizer: small", "tokenizer: small, task: dialogue, template: '{text}'", "datasets.tokens.template is '{text}'; it holds {text} once, and ends with {target}"),
        ("tokenizer: small", "tokenizer: small, template: '{text}{target}'", "datasets.tokens has template, but its task is language_model, which has no targets."),
        (GPT, "gpt: {family: seq2seq_transformer, dataset: tokens, num_heads: 3}", "has width 256, which 3 heads do not divide"),
        (GPT, "gpt: {family: transformer, dataset: tokens, width: 130}", "models.gpt has width 130, which 2 heads do not divide into even parts. Change width or num_heads."),
        (GPT, "gpt: {family: transformer, dataset: tokens, num_heads: 3}", "has width 256, which 3 heads do not divide"),
        ("tokenizer: small", "tokenizer: small, task: dialogue, target_tokenizer: small, template: '{text}{target}'", "both sides as one text needs one vocabulary."),
        (GPT, "gpt: {family: seq2seq_transformer, dataset: tokens, num_heads: 3}", "has width 256, which 3 heads do not divide"),
        (GPT, "gpt: {family: transformer, dataset: tokens, width: 130}", "models.gpt has width 130, which 2 heads do not divide into even parts. Change width or num_heads."),
        (GPT, "gpt: {family: transformer, dataset: tokens, num_heads: 3}", "has width 256, which 3 heads do not divide"),
        ("tokenizer: small", "tokenizer: small, task: dialogue, target_tokenizer: smal", "datasets.tokens.target_tokenizer names 'smal', which `tokenizers` does not"),
        ("dataset: tokens", "dataset: other", "models.gpt.dataset names 'other', which `datasets` does not define."),
        ("models: [gpt]", "models: [gpd]", "schedules.nightly.models names 'gpd', which `models` does not define. Did you mean 'gpt'?"),
        ("family: transformer", "family: bert", "models.gpt.family is 'bert'; known are 'transformer', 'rnn', 'gru', 'lstm', 'seq2seq_transformer', 'seq2seq_rnn', 'ngram'. Write one of them."),
        ("gpt: {", "g/t: {", "'g/t'; it must match"),
        ("notes/*.txt", "${TEXTMILL_NOT_SET}/x", "sources.notes.path names the environment variable TEXTMILL_NOT_SET, which is not set."),
        ('"notes/*.txt"', '["a.txt", "${TEXTMILL_NOT_SET}/x"]', "sources.notes.path.1 names the environment variable TEXTMILL_NOT_SET, which is not set."),
        ("0 2 * * *", "at two", "schedules.nightly.cron has no five cron fields"),
        ("0 2 * * *", "61 2 * * *", "schedules.nightly.cron has the minute '61'. Write numbers from 0 to 59, ranges such as 1-3 or steps"),
        ("0 2 * * *", "0 2 * * sun-8", "schedules.nightly.cron has the weekday 'sun-8'. Write numbers from 0 to 7,"),
        ("0 2 * * *", "0 2 feb * *", "schedules.nightly.cron has the day 'feb'. Write numbers from 1 to 31,"),
        ("0 2 * * *", "*/90 2 * * *", "schedules.nightly.cron has the minute '*/90'."),
        ("0 2 * * *", "0 2 30 2 *", "schedules.nightly.cron is '0 2 30 2 *', and no such month has such a day. Correct the day or the month."),
        ("0 2 * * *", "0 2 31 APR,jun *", "and no such month has such a day."),
        ("models: [gpt]", "models: [gpt], timezone: Europe/Berln", "schedules.nightly.timezone is 'Europe/Berln', which is no time zone. Write one such as UTC or Europe/Berlin."),
        ("models: [gpt]", "models: [gpt], timezone: Europe", "schedules.nightly.timezone is 'Europe', which is no time zone."),
        ("nightly:", "source_files:", "schedules has the name 'source_files', which is that of a sensor. Rename that schedule."),
        ("nightly:", "config:", "schedules has the name 'config', which Dagster keeps for itself. Rename that schedule."),
        (GPT, "unigram: {family: ngram, dataset: tokens}", "models has the name 'unigram', by which must_beat means counting words alone. Rename that model."),
        ("train: {tokens: 1000}", "owners: [not an owner]", "models.gpt.owners.0 is 'not an owner'; write an e-mail address, or team:NAME."),
        ("train: {tokens: 1000}", "evaluate: {max_documents: 4}", "models.gpt has evaluate.max_documents 4 and promote.min_documents 5, so it would never be promoted. Raise the first or lower the second."),
        ("tokens: 1000", "spike_sigma: .inf", "models.gpt.train.spike_sigma is inf; input should be a finite number. Correct the value."),
        ("tokens: 1000", "gradient_clip: .inf", "models.gpt.train.gradient_clip is inf; input should be a finite number."),
        ("train: {tokens: 1000}", "rope_theta: .inf", "models.gpt.rope_theta is inf; input should be a finite number."),
        ("{notes: 1.0}", "{notes: 1.0}, quality: {overrides: {basic.min_characters: .nan}}", "quality.overrides.basic.min_characters is nan; input should be a finite number."),
        ("{notes: 1.0}", "{notes: 1.0}, mixture: {weights: {notes: .inf}}", "mixture.weights.notes is inf; input should be a finite number."),
        ("{notes: 1.0}", "{notes: 1.0}, mixture: {buckets: {by: letter_fraction, edges: [.inf], factors: [1, 1]}}", "mixture.buckets.edges.0 is inf; input should be a finite number."),
        ("name: demo", "? [a]\n: 1\nname: demo", "line 2, column 3: a key is one value, and no list or mapping. Correct the YAML."),
        ("name: demo", "name: 2024-13-45", "line 2, column 7: '2024-13-45' is no timestamp (month must be in 1..12). Correct the YAML."),
        ("name: demo", "name: !!map x", "line 2, column 7: expected a mapping node, but found scalar. Correct the YAML."),
        ("name: demo", "name: demo\nname: demo", "line 3, column 1: the key 'name' is given twice. Correct the YAML."),
        ("name: demo", "name: !!python/object:os.system x", "could not determine a constructor"),
        ("name: demo", "name: \x00", "special characters are not allowed at position "),
        ("name: demo", "name: [", "line 4, column 8: while parsing a flow sequence, expected ',' or ']', but got ':'."),
        ("train: {tokens: 1000}", "promote: {must_beat: gpt}", "models must beat each other in a circle (gpt > gpt)."),
        ("{notes: 1.0}", "{notes: 1.0}, quality: {overrides: {basic.min_chars: 3}}", "overrides 'basic.min_chars', which no chosen rule set has."),
        ("reader: text,", "reader: text, heading: '(',", "sources.notes.heading is no regular expression"),
        ("reader: text,", "reader: text, redact: [emial],", "sources.notes.redact.0 is 'emial'; allowed are 'email', 'ip', "),
        ("reader: text,", "reader: text, redact: 5,", "sources.notes.redact is 5; input should be a valid boolean"),
        (GPT, "gpt: {family: seq2seq_rnn, dataset: tokens}", "models.gpt.family is seq2seq_rnn, which learns from pairs, but datasets.tokens has the task language_model. Set a task of pairs."),
        (GPT, "gpt: {family: seq2seq_rnn, dataset: tokens, train: {compile: 'on'}}", "batches of pairs have many shapes"),
        (GPT, "gpt: {family: seq2seq_transformer, dataset: tokens, width: 100, num_heads: 3}", "has width 100, which 3 heads do not divide"),
        (GPT, "gpt: {family: seq2seq_transformer, dataset: tokens, num_heads: 3}", "has width 256, which 3 heads do not divide"),
        (GPT, "gpt: {family: transformer, dataset: tokens, width: 130}", "models.gpt has width 130, which 2 heads do not divide into even parts. Change width or num_heads."),
        (GPT, "gpt: {family: transformer, dataset: tokens, num_heads: 3}", "has width 256, which 3 heads do not divide"),
        ("tokenizer: small", "tokenizer: small, task: dialogue, target_tokenizer: small", "models.gpt.family is transformer, which reads both sides as one text, but datasets.tokens has a target_tokenizer."),
        (GPT, "gpt: {family: transformer, dataset: tokens, train: {averaged_sgd: {}}}", "models.gpt.train.averaged_sgd is set, which is for recurrent models of running text (rnn, gru, lstm). Remove it."),
        (GPT, "gpt: {family: ngram, dataset: tokens, evaluate: {generation: {num_beams: 2}}}", "models.gpt.evaluate.generation is set, but datasets.tokens has the task language_model, without pairs. Remove it."),
        (GPT, "gpt: {family: ngram, dataset: tokens, evaluate: {generation: {min_new_tokens: 9, max_new_tokens: 8}}}", "models.gpt.evaluate.generation has min_new_tokens above max_new_tokens. Swap them."),
        (GPT, "gpt: {family: ngram, dataset: tokens, evaluate: {cache: {}}}", "models.gpt.evaluate.cache is set, which is for recurrent models of running text (rnn, gru, lstm). Remove it."),
        (GPT, "gpt: {family: lstm, dataset: tokens, train: {averaged_sgd: {}, ema_decay: 0.9}}", "models.gpt.train sets ema_decay, which averaged_sgd has no use for or sets itself. Remove one of the two."),
        (GPT, "gpt: {family: lstm, dataset: tokens, train: {averaged_sgd: {patience: 0}}}", "train.averaged_sgd.patience is 0; input should be greater than or equal to 1."),
        (GPT, "gpt: {family: transformer, dataset: tokens, context_tokens: 64, evaluate: {by_heart: {}}}", "models.gpt.evaluate.by_heart asks for 50 + 50 tokens of a model whose context_tokens is 64. Lower them."),
        (GPT, "gpt: {family: lstm, dataset: tokens, evaluate: {cache: {tokens: 5000}}}", "evaluate.cache.tokens is 5000; input should be less than or equal to 2000."),
        (GPT, "gpt: {family: ngram}", "models.gpt.dataset is missing. Add it."),
        (GPT, "ngram: {family: ngram}", "models.ngram.dataset is missing. Add it."),
        (GPT, "lstm: {family: lstm, dataset: tokens, num_head: 3}", "models.lstm.num_head is unknown. "),
        (GPT, "lstm: {family: lstm, dataset: tokens, train: {tokns: 3}}", "models.lstm.train.tokns is unknown. Did you mean 'tokens'?"),
        (GPT, "five: {family: ngram, dataset: tokens, train: {tokens: 3}}", "models.five.train is unknown. Known: dataset, evaluate, family, "),
        ('"notes/*.txt"', "[]", "sources.notes.path is []; tuple should have at least 1 item"),
        (GPT, "gpt: {family: ngram, dataset: tokens, order: 0}", "models.gpt.order is 0; input should be greater than or equal to 1."),
        (GPT, "gpt: {family: ngram, dataset: tokens, prune: [1]}", "models.gpt has prune [1]; it begins with 0 and does not fall, such as [0, 0, 1]"),
        (GPT, "gpt: {family: ngram, dataset: tokens, prune: [0, 2, 1]}", "has prune [0, 2, 1]; it begins with 0"),
        (GPT, "gpt: {family: ngram, dataset: tokens, order: 2, prune: [0, 0, 1]}", "has 3 values in prune and order 2."),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigurationError) as error:
        load(tmp_path, GOOD.replace(old, new, 1))
    message = str(error.value)
    assert message.startswith("dagster_project.yaml: ")
    assert sentence in message
    assert "\n" not in message


def test_lists_without_end_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^dagster_project\.yaml nests its lists or keys too deeply[^\n]*$"):
        load(tmp_path, "name: " + "[" * 3000 + "]" * 3000)


def test_a_model_must_beat_one_of_its_own_task(tmp_path: Path) -> None:
    datasets = (
        "tokens: {corpus: english, tokenizer: small}\n  pairs: {corpus: english, tokenizer: small, task: dialogue}"
    )
    models = "gpt: {family: lstm, dataset: pairs, promote: {must_beat: base}}\n  base: {family: lstm, dataset: pairs}"
    text = GOOD.replace("tokens: {corpus: english, tokenizer: small}", datasets).replace(GPT, models)
    load(tmp_path, text)
    with pytest.raises(ConfigurationError) as error:
        load(tmp_path, text.replace("base: {family: lstm, dataset: pairs}", "base: {family: lstm, dataset: tokens}"))
    assert str(error.value).endswith(
        "models.gpt.promote.must_beat names 'base', whose dataset has another task. Name a model of the same task."
    )


def test_a_missing_file_names_the_flag(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml does not exist\. Name a project file with --config\."):
        load_project(tmp_path / "nowhere.yaml")


def test_variables_are_expanded_in_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTMILL_BOOKS", "/library")
    project = load(tmp_path, GOOD.replace("notes/*.txt", "${TEXTMILL_BOOKS}/*.txt"))
    assert project.sources["notes"].path == "/library/*.txt"


def test_where_and_how_fast_are_not_in_the_fingerprint(tmp_path: Path) -> None:
    project = load(tmp_path, GOOD)
    assert "path" not in project.sources["notes"].literals()
    assert "device" not in project.models["gpt"].training_literals()["train"]
    assert "promote" not in project.models["gpt"].training_literals()


def test_the_reference_in_the_docs_is_what_the_models_say() -> None:
    assert (Path(__file__).parents[2] / "docs" / "configuration.md").read_text() == render(), "run `make docs`"


def test_importing_the_configuration_stays_light() -> None:
    code = (
        "import sys, pipeline.config; print([m for m in ('torch', 'dagster', 'mlflow', 'duckdb') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_families_and_datasets_that_do_not_fit_are_told_apart() -> None:
    pairs = {"corpus": "c", "tokenizer": "a", "task": "translation"}
    one, two = DatasetConfig(**pairs), DatasetConfig(**pairs, target_tokenizer="b")
    shared = Seq2SeqTransformerConfig(family="seq2seq_transformer", dataset="d", share_vocabulary=True)
    assert misfit(shared, one) is None
    assert "share_vocabulary is true, but datasets.d has a target_tokenizer" in str(misfit(shared, two))
    assert misfit(Seq2SeqTransformerConfig(family="seq2seq_transformer", dataset="d"), two) is None
    assert "counts text alone, but datasets.d has the task translation" in str(
        misfit(NgramConfig(family="ngram", dataset="d"), one)
    )


def test_settings_of_windows_are_refused_for_pairs() -> None:
    pairs = DatasetConfig(corpus="c", tokenizer="t", task="translation")
    for key, value in (("packing", "best_fit"), ("batch_warmup_fraction", 0.1)):
        model = TransformerConfig(family="transformer", dataset="d", train={key: value})
        assert f"train.{key} is set, which is for windows of text" in str(misfit(model, pairs))
    assert "attend is set" in str(
        misfit(TransformerConfig(family="transformer", dataset="d", attend="document"), pairs)
    )
    assert misfit(TransformerConfig(family="transformer", dataset="d", init_from="base"), pairs) is None


def test_only_a_decoder_of_pairs_learns_whole_pairs() -> None:
    train = {"loss_on": "whole_pairs"}
    pairs, text = DatasetConfig(corpus="c", tokenizer="t", task="translation"), DatasetConfig(corpus="c", tokenizer="t")
    decoder = TransformerConfig(family="transformer", dataset="d", train=train)
    assert misfit(decoder, pairs) is None
    assert "has the task language_model, without pairs. Remove it" in str(misfit(decoder, text))
    both = Seq2SeqTransformerConfig(family="seq2seq_transformer", dataset="d", train=train)
    assert "whose encoder reads texts and predicts none. Remove it" in str(misfit(both, pairs))


def test_of_pairs_no_running_text_is_asked_for() -> None:
    pairs = DatasetConfig(corpus="c", tokenizer="t", task="translation")
    model = RecurrentConfig(family="lstm", dataset="d", evaluate={"by_heart": {}})
    assert misfit(model, DatasetConfig(corpus="c", tokenizer="t")) is None
    assert "asks for running text, but datasets.d has the task translation. Remove it" in str(misfit(model, pairs))


def test_a_recurrent_model_of_pairs_has_no_cache() -> None:
    model = RecurrentConfig(family="lstm", dataset="d", evaluate={"cache": {}}, train={"averaged_sgd": {}})
    assert misfit(model, DatasetConfig(corpus="c", tokenizer="t")) is None
    pairs = DatasetConfig(corpus="c", tokenizer="t", task="translation")
    assert str(misfit(model, pairs)).startswith("evaluate.cache is set, which is for recurrent models of running text")
