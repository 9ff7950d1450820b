"""The named rule sets in DuckDB: English documents are judged by English rules, Chinese ones are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.cleaning.clean import clean_batch
from pipeline.config import CorpusConfig
from pipeline.corpus.rules import judging, rules_of
from pipeline.records import RAW_SCHEMA, document_id

ENGLISH = "This is a short English text of one line that nobody would take for another language at all."
PROSE = (
    "昨天下午我和朋友去了城东的图书馆，那里的人很多，但是非常安静。我们在二楼找到了两个靠窗的座位，"
    "一边看书一边喝茶。窗外有一棵很大的银杏树，叶子已经变成了金黄色，风吹过的时候，叶子就慢慢地落下来。"
    "管理员是一位头发花白的老人，他告诉我们，这座图书馆是一百年前建成的，战争中被炸毁，后来由市民捐款重建。"
    "傍晚离开的时候，天空下起了小雨，我们没有带伞，只好在门口的屋檐下等了半个小时。"
)
CHINESE = "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。" * 4


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [({}, "gopher.min_words"), ({"gopher.min_words": 5, "c4.min_c4_sentences": 1}, None)],
)
def test_chinese_is_not_judged_by_english_rules(
    tmp_path: Path, overrides: dict[str, float], reason: str | None
) -> None:
    verdicts = _verdicts(tmp_path, [ENGLISH, CHINESE], {"rules": ["gopher", "c4"], "overrides": overrides})
    assert verdicts == [reason, None]


def test_chinese_rules_keep_prose_and_reject_lists(tmp_path: Path) -> None:
    menu = "首页 新闻 体育 财经\n娱乐 科技 汽车 房产\n教育 健康 旅游 军事\n" * 6 + "的 是 关于我们"
    verdicts = _verdicts(tmp_path, [PROSE, menu, ENGLISH], {"rules": ["fineweb2_zh"]})
    assert verdicts == [None, "fineweb2_zh.max_line_repeat_fraction", None]


def test_chinese_rules_decide_as_datatrove_does(tmp_path: Path, corpora: Path) -> None:
    """Datatrove 0.10.1 with FineWeb-2's settings of `cmn_Hani` and words by jieba 0.42.1 keeps 162 of these 256.

    It rejects six more of them than we: its segmenter cuts `zh-cn` and `formula_1` in three, and counts the marks.
    """
    articles = json.loads((corpora / "cmrc2018" / "trial.json").read_text(encoding="utf-8"))["data"]
    texts = [paragraph["context"] for article in articles for paragraph in article["paragraphs"]]
    verdicts = _verdicts(tmp_path, texts, {"rules": ["fineweb2_zh"]})
    assert len(texts) == 256
    assert verdicts.count(None) == 162 + 6


def _verdicts(folder: Path, texts: list[str], quality: dict[str, Any]) -> list[str | None]:
    """The first rule that each text breaks."""
    rows = [
        {"id": document_id(text), "source": "s", "path": "p", "index": index, "text": text, "num_bytes": 1}
        for index, text in enumerate(texts)
    ]
    kept, rejects = clean_batch(pa.RecordBatch.from_pylist(rows, RAW_SCHEMA))
    assert not rejects
    file = folder / "clean.parquet"
    pq.write_table(pa.Table.from_batches([kept]), file)
    config = CorpusConfig.model_validate({"sources": {"s": 1}, "quality": quality})
    statement, values = judging(rules_of(config))
    with duckdb.connect() as connection:
        connection.execute(statement, {"files": [str(file)], **values})
        return [rule for (rule,) in connection.execute('SELECT rule FROM judged ORDER BY "index"').fetchall()]
