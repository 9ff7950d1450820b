"""A small project and the Dagster definitions of it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from pipeline.config import Project, load_project

PROJECT = """
name: demo
sources:
  notes: {reader: text, path: "notes/*.txt"}
corpora:
  english: {sources: {notes: 1.0}, expect: {min_kept_fraction: 0.5, min_documents: 2}}
tokenizers:
  small: {corpus: english, vocab_size: 512}
  words: {corpus: english, vocab_size: 512, kind: word}
datasets:
  tokens: {corpus: english, tokenizer: small}
models:
  gpt: {family: transformer, dataset: tokens, owners: ["team:language"]}
schedules:
  nightly: {cron: "0 2 * * *", models: [gpt], timezone: Europe/Berlin}
watch: {models: [gpt], interval_seconds: 30}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("a note")
    (tmp_path / "dagster_project.yaml").write_text(PROJECT)
    return load_project(tmp_path / "dagster_project.yaml")


@pytest.fixture
def definitions(project: Project, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    monkeypatch.setenv("TEXTMILL_CONFIG", str(project.file))
    from assets.definitions import make_definitions

    return make_definitions(project)
