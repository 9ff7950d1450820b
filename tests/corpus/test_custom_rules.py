"""Rules of the user's own: which conditions are taken, what they reject, and that nothing else of SQL gets through."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus_building import build_from, clean_row, documents_of, rejects_of

from pipeline.config.columns import RULE_COLUMNS
from pipeline.config.custom_rules import parse_rule
from pipeline.errors import StageError
from pipeline.records import CLEAN_SCHEMA

SPLITS = {"validation": 0.2, "test": 0.2}
TEXTS = [f"A note of some length about the number {number}, written to be kept." for number in range(40)]


def test_the_columns_are_those_of_clean_documents() -> None:
    assert set(RULE_COLUMNS) == set(CLEAN_SCHEMA.names) - {"text_hash", "source_hash", "target_hash"}


@pytest.mark.parametrize(
    ("text", "column", "threshold"),
    [
        ("stop_words < 2", "stop_words", 2.0),
        ("letter_fraction < 0.6 and language = 'en'", None, None),
        ("text like '%lorem ipsum%' or num_words between 3 and 5", None, None),
        ("regexp_matches(text, '(?i)cookie policy')", None, None),
        ("redactions['email'] > 3", None, None),
        ("coalesce(target, '') = ''", None, None),
        ("case when source = 'web' then num_words < 100 else false end", None, None),
        ('"index" % 2 = 0 -- every second', None, None),
    ],
)
def test_conditions_over_one_document_are_taken(text: str, column: str | None, threshold: float | None) -> None:
    rule = parse_rule(text)
    assert (rule.column, rule.threshold) == (column, threshold)
    assert parse_rule(rule.sql).sql == rule.sql


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("(select count(*) from read_csv('/etc/passwd')) > 0", "holds a subquery"),
        ("exists (select 1 from documents)", "holds a subquery"),
        ("read_text('/etc/passwd') is not null", "read_text is no function"),
        ("stop_words < 2; drop table documents", "cannot read"),
        ("stop_words < 2) from read_csv('/etc/passwd') where (1 = 1", "more than one condition"),
        ("1 = 1), (2 = 2", "more than one condition"),
        ("random() < 0.5", "random is no function"),
        ("now() > '2026-01-01'", "now is no function"),
        ("getenv('HOME') = ''", "getenv is no function"),
        ("count(*) > 3", "is no function"),
        ("row_number() over () > 3", "holds a window"),
        ("stop_words < $limit", "holds a parameter"),
        ("stopwords < 2", "no column 'stopwords'. There are stop_words"),
        ("documents.stop_words < 2", "no column"),
        ("num_words + 1", "and not true or false"),
        ("num_words <", "cannot read"),
        ("list_filter([1], x -> x > 0) is null", "holds a lambda"),
    ],
)
def test_everything_else_is_refused_in_a_sentence(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=r"^is ") as error:
        parse_rule(text)
    assert says in str(error.value)
    assert "\n" not in str(error.value).replace(text, "")


def test_a_rule_rejects_with_value_and_threshold(tmp_path: Path) -> None:
    rows = [clean_row(text, index, stop_words=index) for index, text in enumerate(TEXTS)]
    rows[7]["stop_words"] = None
    artifact = build_from(
        tmp_path,
        {"notes": rows},
        splits=SPLITS,
        quality={"reject_when": {"few_stop_words": "stop_words < 3", "odd_end": "text like '%number 39,%'"}},
    )
    found = {(row["reason"], row["value"], row["threshold"], row["detail"]) for row in rejects_of(artifact)}
    assert found == {
        ("reject_when.few_stop_words", 0.0, 3.0, "(stop_words < 3), and it is 0"),
        ("reject_when.few_stop_words", 1.0, 3.0, "(stop_words < 3), and it is 1"),
        ("reject_when.few_stop_words", 2.0, 3.0, "(stop_words < 3), and it is 2"),
        ("reject_when.odd_end", None, None, "(\"text\" ~~ '%number 39,%')"),
    }
    assert TEXTS[7] in {row["text"] for row in documents_of(artifact)}


def test_a_condition_that_fails_on_a_document_names_its_rule(tmp_path: Path) -> None:
    rows = [clean_row(text, index) for index, text in enumerate(TEXTS)]
    quality = {"reject_when": {"fine": "num_words < 0", "strange": "cast(text as integer) < 3"}}
    with pytest.raises(StageError, match=r"corpora\.english\.quality\.reject_when\.strange"):
        build_from(tmp_path, {"notes": rows}, splits=SPLITS, quality=quality)


def test_documents_that_a_rule_set_is_not_written_for_are_reported(tmp_path: Path) -> None:
    rows = [clean_row(text, index, language="zh" if index < 15 else "en") for index, text in enumerate(TEXTS)]
    quality = {"rules": ["gopher"], "overrides": {"gopher.min_words": 0}}
    artifact = build_from(tmp_path, {"notes": rows}, splits=SPLITS, quality=quality)
    report = artifact.report()
    (row,) = report.tables["Not judged, being in another language"]
    assert row == {"rule_set": "gopher", "language": "zh", "documents": 15}
    assert any("did not judge 15 documents" in note for note in report.notes)
