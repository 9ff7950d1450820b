"""The named rule sets in DuckDB: English documents are judged by English rules, Chinese ones are not."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cleaning.clean import clean_batch
from pipeline.config import CorpusConfig
from pipeline.corpus.rules import judging, rules_of
from pipeline.records import RAW_SCHEMA, document_id

ENGLISH = "This is a short English text of one line that nobody would take for another language at all."
CHINESE = "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。" * 4


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [({}, "gopher.min_words"), ({"gopher.min_words": 5, "c4.min_c4_sentences": 1}, None)],
)
def test_chinese_is_not_judged_by_english_rules(
    tmp_path: Path, overrides: dict[str, float], reason: str | None
) -> None:
    rows = [
        {"id": document_id(text), "source": "s", "path": "p", "index": index, "text": text, "num_bytes": 1}
        for index, text in enumerate([ENGLISH, CHINESE])
    ]
    kept, rejects = clean_batch(pa.RecordBatch.from_pylist(rows, RAW_SCHEMA))
    assert not rejects
    assert kept["language"].to_pylist() == ["en", "zh"]
    file = tmp_path / "clean.parquet"
    pq.write_table(pa.Table.from_batches([kept]), file)
    config = CorpusConfig.model_validate(
        {"sources": {"s": 1}, "quality": {"rules": ["gopher", "c4"], "overrides": overrides}}
    )
    statement, values = judging(rules_of(config))
    with duckdb.connect() as connection:
        connection.execute(statement, {"files": [str(file)], **values})
        verdicts = connection.execute('SELECT rule FROM judged ORDER BY "index"').fetchall()
    assert verdicts == [(reason,), (None,)]
