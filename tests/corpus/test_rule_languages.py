"""The named rule sets in DuckDB: each document is judged by the rules of its own language, or by none."""

from __future__ import annotations

import importlib
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

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ENGLISH = "This is a short English text of one line that nobody would take for another language at all."
PROSE = (
    "昨天下午我和朋友去了城东的图书馆，那里的人很多，但是非常安静。我们在二楼找到了两个靠窗的座位，"
    "一边看书一边喝茶。窗外有一棵很大的银杏树，叶子已经变成了金黄色，风吹过的时候，叶子就慢慢地落下来。"
    "管理员是一位头发花白的老人，他告诉我们，这座图书馆是一百年前建成的，战争中被炸毁，后来由市民捐款重建。"
    "傍晚离开的时候，天空下起了小雨，我们没有带伞，只好在门口的屋檐下等了半个小时。"
)
GERMAN = (
    "Am Morgen ging der alte Gärtner mit dem Hund durch das Dorf, und die Kinder liefen hinter den beiden her. Er sprach "
    "von dem Garten, den er als junger Mann für die Stadt angelegt hatte, und von den Bäumen, die im Winter erfroren waren. "
    "Niemand wusste, wer das Haus am Ende des Weges gebaut hatte."
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
    verdicts = _verdicts(tmp_path, [PROSE, menu, ENGLISH], {"rules": ["fineweb2"]})
    assert verdicts == [None, "fineweb2.max_line_repeat_fraction", None]


def test_chinese_rules_decide_as_datatrove_does(tmp_path: Path, corpora: Path) -> None:
    """Datatrove 0.10.1 with FineWeb-2's settings of `cmn_Hani` and words by jieba 0.42.1 keeps 162 of these 256.

    It rejects six more of them than we: its segmenter cuts `zh-cn` and `formula_1` in three, and counts the marks.
    """
    articles = json.loads((corpora / "cmrc2018" / "trial.json").read_text(encoding="utf-8"))["data"]
    texts = [paragraph["context"] for article in articles for paragraph in article["paragraphs"]]
    verdicts = _verdicts(tmp_path, texts, {"rules": ["fineweb2"]})
    assert len(texts) == 256
    assert verdicts.count(None) == 162 + 6


def test_a_document_is_judged_by_the_figures_of_its_language(tmp_path: Path) -> None:
    """The German text has 55 words, 5 commas and 3 full stops; at their ends it falls into 8 lines.

    7 line ends in 63 words and marks are 0.1 a word, of which deu_Latn allows 0.152; a line end after every word
    is too many. English text is judged by no figure of another language.
    """
    lines = GERMAN.replace(", ", ",\n").replace(". ", ".\n")
    texts = [GERMAN, lines, GERMAN.replace(" ", "\n"), ENGLISH]
    found = _judged(tmp_path, texts, {"rules": ["fineweb2"]})
    assert [row[0] for row in found] == [None, None, "fineweb2.max_newlines_per_word", None]
    _, detail, value, threshold = found[2]
    assert (value, threshold) == (pytest.approx(54 / 63), 0.152)
    assert detail == "newlines per word 0.857143, at most 0.152 in de"


def test_a_threshold_is_set_for_all_languages_or_for_one(tmp_path: Path) -> None:
    texts = [GERMAN, PROSE, ENGLISH]
    everywhere = {"fineweb2.min_words": 1000}
    quality = {"rules": ["fineweb2"], "overrides": everywhere}
    assert _verdicts(tmp_path, texts, quality) == ["fineweb2.min_words", "fineweb2.min_words", None]
    quality = {"rules": ["fineweb2"], "overrides": {"fineweb2.de.min_words": 20, **everywhere}}
    assert _verdicts(tmp_path, texts, quality) == [None, "fineweb2.min_words", None]


@pytest.mark.parametrize("key", ["fineweb2.en.min_words", "fineweb2.de.min_word", "gopher.en.min_words"])
def test_an_override_of_what_no_language_has_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="which no chosen rule set has"):
        CorpusConfig.model_validate(
            {"sources": {"s": 1}, "quality": {"rules": ["gopher", "fineweb2"], "overrides": {key: 1}}}
        )


def test_decisions_are_those_of_datatrove_in_every_language(
    tmp_path: Path, corpora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On pieces of the Declaration of Human Rights and worsened copies; benchmarks/languages.py asked datatrove 0.10.1."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    languages = importlib.import_module("languages")
    expected = json.loads((BENCHMARKS / "results" / "languages.json").read_text(encoding="utf-8"))["declarations"]
    found: dict[str, str] = {}
    for language, rule in languages.judge(tmp_path, languages.declaration_texts(corpora)).values():
        found[language] = found.get(language, "") + "01"[rule is None]
    assert found.keys() == expected.keys() == languages.DECLARATIONS.keys()
    apart = {
        language: sum(ours != theirs for ours, theirs in zip(verdicts, expected[language], strict=True))
        for language, verdicts in found.items()
    }
    assert max(apart.values()) <= 1
    assert sum(apart.values()) <= 0.005 * sum(map(len, found.values()))
    assert all("0" in verdicts for verdicts in expected.values())


def _verdicts(folder: Path, texts: list[str], quality: dict[str, Any]) -> list[str | None]:
    """The first rule that each text breaks."""
    return [rule for rule, *_ in _judged(folder, texts, quality)]


def _judged(folder: Path, texts: list[str], quality: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The first rule that each text breaks, the detail, the value and the threshold."""
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
        statement = 'SELECT rule, rule_detail, value, threshold FROM judged ORDER BY "index"'
        return connection.execute(statement).fetchall()
