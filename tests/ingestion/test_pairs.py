"""Aligned files and SQuAD's questions give pairs; real ones of both are read whole."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sacrebleu.utils import smart_open

from pipeline.config.data import JsonSource, ParquetSource
from pipeline.config.file_sources import CsvSource, ParallelSource, SquadSource
from pipeline.errors import InputError
from pipeline.ingestion.csv_documents import read_csv
from pipeline.ingestion.items import Document, FileRejected, Rejected
from pipeline.ingestion.json_documents import read_json
from pipeline.ingestion.parallel import read_parallel
from pipeline.ingestion.parquet import read_parquet
from pipeline.ingestion.parts import list_parts
from pipeline.ingestion.squad import read_squad
from pipeline.records import document_id

PARALLEL = ParallelSource(reader="parallel", path="a", target_path="b")


def squad(folder: Path, value: Any, documents: str = "contexts") -> list[Document | Rejected]:
    path = folder / "squad.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return list(read_squad(path, SquadSource(reader="squad", path="x", documents=documents)))


def test_line_n_is_the_pair_of_line_n(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"A dog.\r\nTwo.")
    (tmp_path / "b").write_bytes(gzip.compress(b"Ein Hund.\nZwei.\n"))
    assert list(read_parallel(tmp_path / "a", tmp_path / "b", PARALLEL, Counter())) == [
        Document(index=0, text="A dog.", target="Ein Hund."),
        Document(index=1, text="Two.", target="Zwei."),
    ]


def test_a_return_within_a_line_parts_no_pairs_as_sacrebleu_reads_them(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("One.\rStill one.\nTwo.\r\nThree.\n".encode("utf-16"))
    (tmp_path / "b").write_bytes(b"Eins.\nZwei.\n\rDrei.\n")
    items = list(read_parallel(tmp_path / "a", tmp_path / "b", PARALLEL, Counter()))
    found = [(item.text, item.target) for item in items if isinstance(item, Document)]
    assert found == [("One.\rStill one.", "Eins."), ("Two.", "Zwei."), ("Three.", "\rDrei.")]
    with smart_open(str(tmp_path / "b")) as file:
        assert [target for _, target in found] == [line.rstrip("\n") for line in file]


def test_files_of_returns_alone_have_lines_too(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"One.\rTwo.\r")
    (tmp_path / "b").write_bytes(b"Eins.\nZwei.\n")
    items = list(read_parallel(tmp_path / "a", tmp_path / "b", PARALLEL, Counter()))
    assert [item.text for item in items if isinstance(item, Document)] == ["One.", "Two."]


def test_unequal_files_are_one_sentence_with_both_counts(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n2\n3\n")
    (tmp_path / "b").write_text("1\n2\n")
    with pytest.raises(FileRejected, match="a has 3 lines and b has 2;") as error:
        list(read_parallel(tmp_path / "a", tmp_path / "b", PARALLEL, Counter()))
    assert error.value.reason == "unequal_lines"


def test_unequal_numbers_of_files_are_an_error(tmp_path: Path) -> None:
    for name in ("a.en", "b.en", "a.de"):
        (tmp_path / name).write_text("x\n")
    source = ParallelSource(reader="parallel", path="*.en", target_path="*.de")
    with pytest.raises(InputError, match="path names 2 files and target_path 1"):
        list_parts(source, folder=tmp_path, cache_folder=tmp_path / "data")


def test_either_file_is_in_the_key(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("x\n")
    (before,) = list_parts(PARALLEL, folder=tmp_path, cache_folder=tmp_path / "data")
    (tmp_path / "b").write_text("y\n")
    (after,) = list_parts(PARALLEL, folder=tmp_path, cache_folder=tmp_path / "data")
    assert before.key != after.key


def test_fields_and_columns_give_pairs_and_a_missing_half_is_a_reject(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"en": "Hi.", "zh": "嗨。"}\n{"en": "Run!"}\n')
    pair, alone = read_json(path, JsonSource(reader="json", path="x", text="en", target="zh"), Counter())
    assert pair == Document(index=0, text="Hi.", target="嗨。")
    assert isinstance(alone, Rejected)
    assert alone.reason == "missing_text"
    pq.write_table(pa.table({"en": ["Hi."], "zh": ["嗨。"]}), tmp_path / "x.parquet")
    source = ParquetSource(reader="parquet", path="x", text="en", target="zh")
    assert list(read_parquet(tmp_path / "x.parquet", source)) == [pair]
    with pytest.raises(FileRejected, match="no column 'de'; it has en, zh"):
        list(read_parquet(tmp_path / "x.parquet", ParquetSource(reader="parquet", path="x", text="en", target="de")))


def groups(items: Iterable[Document | Rejected]) -> list[str | None]:
    return [item.group if isinstance(item, Document) else item.reason for item in items]


def test_equal_values_of_the_field_that_groups_are_one_group_in_every_format(tmp_path: Path) -> None:
    contexts = ["It is far.", "It is near.", "It is far.", None]
    rows = [{"q": f"Q{number}", "a": "A", "of": {"c": context}} for number, context in enumerate(contexts)]
    settings: dict[str, Any] = {"path": "x", "text": "q", "target": "a"}
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = groups(read_json(tmp_path / "x.jsonl", JsonSource(reader="json", group="of.c", **settings), Counter()))
    first, second, third, missing = found
    assert first == third != second
    assert missing == "missing_group"
    pq.write_table(pa.table({"q": ["Q"] * 4, "a": ["A"] * 4, "c": contexts}), tmp_path / "x.parquet")
    source = ParquetSource(reader="parquet", group="c", **settings)
    assert groups(read_parquet(tmp_path / "x.parquet", source)) == found
    with pytest.raises(FileRejected, match="no column 'd'; it has q, a, c"):
        list(read_parquet(tmp_path / "x.parquet", ParquetSource(reader="parquet", group="d", **settings)))
    (tmp_path / "x.csv").write_text("q,a,c\n" + "".join(f"Q,A,{context or ''}\n" for context in contexts))
    source_of_rows = CsvSource(reader="csv", group="c", **settings)
    assert groups(read_csv(tmp_path / "x.csv", source_of_rows, Counter())) == found


def test_pairs_of_one_text_and_two_targets_differ_and_halves_do_not_run_together() -> None:
    ids = {document_id("a"), document_id("a", "b"), document_id("a", "c"), document_id("ab", ""), document_id("", "ab")}
    assert len(ids) == 5


def test_paths_into_records(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"page": {"title": "T", "turns": [{"say": "a"}, {"say": "b"}]}, "x.y": "dotted"}\n')
    source = JsonSource(reader="json", path="x", text=("page.turns.say", "x.y"), title="page.title")
    assert list(read_json(path, source, Counter())) == [Document(index=0, text="a\nb\ndotted", title="T")]


SQUAD = {
    "data": [
        {
            "title": "Moon",
            "paragraphs": [
                {
                    "context": "It is far.",
                    "qas": [
                        {"question": "How far?", "answers": [{"text": "far"}, {"text": "very"}, {"text": "far "}]},
                        {"question": "Why?", "answers": []},
                    ],
                },
                {"qas": []},
            ],
        },
        7,
    ]
}


def test_contexts_with_or_without_questions_or_as_pairs(tmp_path: Path) -> None:
    context, *rejects = squad(tmp_path, SQUAD)
    assert context == Document(index=0, text="It is far.", title="Moon")
    assert [item.reason for item in rejects if isinstance(item, Rejected)] == ["missing_text", "wrong_type"]
    asked, *_ = squad(tmp_path, SQUAD, "contexts_and_questions")
    assert asked == Document(index=0, text="It is far.\n\nHow far?\nfar", title="Moon")
    *pairs, unanswered = squad(tmp_path, SQUAD, "pairs")[:3]
    group, text = document_id("It is far."), "It is far.\n\nHow far?"
    assert pairs == [
        Document(index=number, text=text, target=answer, title="Moon", group=group)
        for number, answer in enumerate(("far", "very"))
    ]
    assert isinstance(unanswered, Rejected)
    assert (unanswered.index, unanswered.reason) == (2, "no_answer")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"data": 1}', "[" * 100_000, '{"data": NaN}', "\ufeff{"])
def test_what_is_no_squad_file_is_rejected(tmp_path: Path, text: str) -> None:
    with pytest.raises(FileRejected):
        squad(tmp_path, text)


def test_xquad_and_cmrc_have_their_published_sizes(corpora: Path) -> None:
    """XQuAD: 240 paragraphs and 1190 questions (Artetxe et al. 2020, arXiv 1910.11856), each with an answer."""
    for language in ("en", "de", "zh"):
        path = corpora / "xquad" / f"{language}.json"
        contexts = list(read_squad(path, SquadSource(reader="squad", path="x")))
        pairs = list(read_squad(path, SquadSource(reader="squad", path="x", documents="pairs")))
        assert (len(contexts), len(pairs)) == (240, 1190)
        assert all(isinstance(item, Document) and item.target for item in pairs)
    cmrc = list(
        read_squad(corpora / "cmrc2018" / "trial.json", SquadSource(reader="squad", path="x", documents="pairs"))
    )
    assert len(cmrc) == 1002
    assert all(isinstance(item, Document) and item.target for item in cmrc)


def test_multi30k_and_tatoeba_are_read_whole(corpora: Path) -> None:
    """Multi30k: 29,000 training pairs (Elliott et al. 2016, arXiv 1605.00459)."""
    folder = corpora / "multi30k"
    pairs = list(read_parallel(folder / "train.en.gz", folder / "train.de.gz", PARALLEL, Counter()))
    assert len(pairs) == 29_000
    assert all(isinstance(item, Document) and item.text.strip() and item.target for item in pairs)
    path = corpora / "translation" / "tatoeba_en_zh.jsonl"
    items = list(read_json(path, JsonSource(reader="json", path="x", text="en", target="zh"), Counter()))
    assert len(items) == len(path.read_text().splitlines())
    assert all(isinstance(item, Document) and item.target for item in items)
