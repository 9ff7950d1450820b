"""SQL reads what the stages made, as views; it writes nothing and reaches no other file."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import threading
from pathlib import Path

import pytest

from assets.cli import main
from assets.cli.printable import plain
from pipeline.accounts.query import query
from pipeline.artifacts import ArtifactStore
from pipeline.config import Project
from pipeline.errors import ArtifactMissing, InputError

Built = tuple[Project, ArtifactStore]


def rows(built: Built, statement: str) -> list[tuple[object, ...]]:
    return query(*built, statement, limit=None).rows


def test_every_stage_is_a_view(built: Built) -> None:
    views = {row[0] for row in rows(built, "SHOW TABLES")}
    assert {
        "raw_documents_notes",
        "clean_documents_diary",
        "corpus_both",
        "rejects",
        "rejects_raw_documents_diary",
        "rejects_corpus_both",
        "corpus_stats_both_words",
        "token_shards_tokens",
    } <= views


def test_views_hold_what_the_stages_counted(built: Built) -> None:
    corpus = built[1].current("corpus", "both")
    assert corpus is not None
    ledger = corpus.manifest.counts["ledger"]
    assert rows(built, "SELECT count(*), sum(num_bytes)::BIGINT FROM corpus_both") == [
        (ledger["kept"]["documents"], sum(s["bytes"] for s in corpus.manifest.counts["splits"].values()))
    ]
    counted = dict(rows(built, "SELECT reason, count(*) FROM rejects_corpus_both GROUP BY reason"))
    assert counted == {reason: count["documents"] for reason, count in ledger["rejected"].items()}
    assert set(rows(built, "SELECT source FROM corpus_both")) == {("notes",), ("diary",)}  # and not the folder's
    (value,) = rows(built, "SELECT value, threshold FROM rejects WHERE reason = 'basic.min_characters'")
    assert value == (9.0, 12.0)
    assert rows(built, "SELECT count(*) FROM rejects WHERE stage = 'raw_documents' AND value IS NULL") == [(1,)]
    splits = dict(rows(built, "SELECT split, count(*) FROM token_shards_tokens GROUP BY split"))
    assert splits["test"] == corpus.manifest.counts["splits"]["test"]["documents"]


@pytest.mark.parametrize(
    "statement",
    [
        "COPY corpus_both TO '{storage}/stolen.parquet'",
        "COPY corpus_both TO '{inside}/stolen.parquet'",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY corpus_both TO '{inside}/x.csv'",
        "CREATE TABLE x (a INT)",
        "DROP VIEW corpus_both",
        "ATTACH '{inside}/x.db'",
        "EXPORT DATABASE '{inside}/x'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA database_list",
        "EXPLAIN ANALYZE COPY corpus_both TO '{inside}/x.csv'",
        "SELECT * FROM read_csv('{outside}')",
        "SELECT * FROM '{outside}'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM read_text('{inside}/../../../../secret.csv')",
        "SELECT * FROM read_csv('http://127.0.0.1:9/x.csv')",
        "SELECT * FROM query('DROP VIEW corpus_both')",
        "SELECT * FROM built",
        "WITH x AS (INSERT INTO corpus_both SELECT * FROM corpus_both RETURNING *) SELECT * FROM x",
        "",
        "SELECT",
        "not sql at all '",
    ],
)
def test_nothing_is_written_and_no_other_file_is_read(built: Built, statement: str) -> None:
    project, store = built
    secret = project.folder / "secret.csv"
    secret.write_text("a\n1\n")
    corpus = store.current("corpus", "both")
    assert corpus is not None

    def state() -> set[tuple[Path, int]]:
        return {(path, path.stat().st_size) for path in project.folder.rglob("*")}

    before = state()
    text = statement.format(storage=project.storage_folder, inside=corpus.folder, outside=secret)
    with pytest.raises(InputError) as caught:
        query(project, store, text.replace("it's", "it''s"), limit=None)
    assert "\n" not in str(caught.value)
    assert state() == before


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("SELECT * FROM corpus_bth", 'Table with name corpus_bth does not exist! Did you mean "corpus_both"?'),
        ("SELECT splitt FROM corpus_both", 'Candidate bindings: "split"'),
        ("SELECT * FROM read_text('/etc/passwd')", "sql: a statement may read the views alone, and no file."),
        ("COPY corpus_both TO 'x'", "and this is COPY. Write one SELECT."),
    ],
)
def test_a_mistake_is_one_sentence_with_what_is_near(built: Built, statement: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        rows(built, statement)
    assert sentence in str(caught.value)


def test_rows_are_limited_and_the_rest_is_said(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    config = ["--config", str(built[0].file)]
    assert main(["sql", "SELECT id FROM raw_documents_notes ORDER BY id", "--limit", "3", *config]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1 + 3 + 1
    assert printed[-1] == "The first 3 rows; --limit shows more."
    assert main(["sql", "SELECT 1 AS one", "--limit", "-1", *config]) == 1


def test_ctrl_c_stops_a_statement_as_it_stops_other_commands(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background are born ignoring it
    try:
        timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        assert main(["sql", "SELECT count(*) FROM range(1000000000000)", "--config", str(built[0].file)]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err.startswith("Stopped.")


def test_csv_and_json_come_back_whole(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    config = ["--config", str(built[0].file)]
    statement = "SELECT id, text, num_bytes, title FROM raw_documents_notes ORDER BY ALL"
    expected = rows(built, statement)
    assert len(expected) > 50
    main(["sql", statement, "--csv", *config])
    printed = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert printed == [["id", "text", "num_bytes", "title"], *([i, t, str(n), ""] for i, t, n, _ in expected)]
    main(["sql", statement, "--json", *config])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [tuple(line.values()) for line in lines] == expected


def test_text_of_documents_moves_no_cursor() -> None:
    assert plain("a\x1b[31mb\r\x00c\nd 月") == "a\ufffd[31mb\ufffd\ufffdc\nd 月"
    assert plain("user\u202egnp.exe \x9b2J \u2066x\u2069") == "user\ufffdgnp.exe \ufffd2J \ufffdx\ufffd"


@pytest.mark.parametrize("text", ["一\u3000二", "10\xa0%", "می\u200cخواهم", "👩\u200d👧", "a\tb"])
def test_what_people_write_is_shown_as_it_is(text: str) -> None:
    assert plain(text) == text


def test_columns_of_one_name_are_told_apart(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    main(["sql", "SELECT 1 AS a, 2 AS a, 3 AS b, 4 AS a", "--json", "--config", str(built[0].file)])
    assert json.loads(capsys.readouterr().out) == {"a": 1, "a_1": 2, "b": 3, "a_2": 4}


def test_decimals_are_numbers_and_what_is_no_number_is_null(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    statement = "SELECT 0.5 AS half, 'nan'::DOUBLE AS none, 1e300 AS large"
    main(["sql", statement, "--json", "--config", str(built[0].file)])
    line = capsys.readouterr().out
    assert "NaN" not in line
    assert json.loads(line) == {"half": 0.5, "none": None, "large": 1e300}


def test_nothing_built_is_one_sentence(built: Built, tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing, match="Nothing is built yet"):
        query(built[0], ArtifactStore(tmp_path), "SELECT 1", limit=None)
