"""Question answering in SQuAD's JSON (XQuAD, CMRC 2018 and others share it): contexts, questions, answers.

In: a file with `data[].paragraphs[]`. Out: a document for each context or each question, as the source asks, with the
article's title. RAW_SCHEMA has no place for questions, so they are lines of the text, or the answer is the pair's
target; the questions of one context are a group. A question with several different answers is a pair with each, since it
is judged by the nearest of them, as SQuAD's evaluation does. Rejects are counted as their own positions, in the file's order.
Source: Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text", arXiv 1606.05250.
Trade-off: the file is parsed in one piece; SQuAD's own training set has 40 MB.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.config.file_sources import SquadSource
from pipeline.ingestion.decompress import read_chunks
from pipeline.ingestion.items import Document, FileRejected, Rejected
from pipeline.ingestion.json_values import JsonParser, OddJson
from pipeline.records import document_id

MAX_FILE_BYTES = 128_000_000


def read_squad(path: Path, config: SquadSource) -> Iterator[Document | Rejected]:
    """The file's documents and rejects.

    Raises:
        FileRejected: it cannot be decompressed, is no JSON or too large, or has no list `data`.
    """
    value = _parse(path)
    articles = value.get("data") if isinstance(value, dict) else None
    if not isinstance(articles, list):
        raise FileRejected("wrong_type", "It is no SQuAD file: it has no list `data` at its top.")
    numbers = itertools.count()
    for number, article in enumerate(articles, start=1):
        where = f"data[{number - 1}]"
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        if not isinstance(paragraphs, list):
            yield _rejected(next(numbers), "wrong_type", f"{where} has no list `paragraphs`.", article)
            continue
        title = article.get("title")
        for place, paragraph in enumerate(paragraphs):
            for item in _from_paragraph(paragraph, f"{where}.paragraphs[{place}]", config):
                yield _numbered(item, next(numbers), title if isinstance(title, str) else None)


def _parse(path: Path) -> Any:
    pieces, num_bytes = [], 0
    for chunk in read_chunks(path):
        pieces.append(chunk)
        num_bytes += len(chunk)
        if num_bytes > MAX_FILE_BYTES:
            raise FileRejected("too_large", f"It holds more than {MAX_FILE_BYTES} bytes in one piece. Split the file.")
    try:
        return JsonParser().parse(b"".join(pieces).decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise FileRejected("invalid_utf8", f"It is no UTF-8 at its byte {error.start}: {error.reason}.") from error
    except OddJson as error:
        raise FileRejected(error.reason, str(error)) from error
    except RecursionError as error:
        raise FileRejected("too_deep", "It nests deeper than the parser goes.") from error
    except ValueError as error:
        raise FileRejected("invalid_json", f"It is no JSON: {error}.") from error


def _from_paragraph(paragraph: Any, where: str, config: SquadSource) -> Iterator[Document | Rejected]:
    context = paragraph.get("context") if isinstance(paragraph, dict) else None
    if not isinstance(context, str):
        yield _rejected(0, "missing_text", f"{where} has no text `context`.", paragraph)
        return
    questions = paragraph.get("qas", [])
    asked = [question for question in questions if isinstance(question, dict)] if isinstance(questions, list) else []
    if config.documents == "contexts":
        yield Document(index=0, text=context)
    elif config.documents == "contexts_and_questions":
        lines = [context]
        for question in asked:
            answers = _answers(question)
            if isinstance(question.get("question"), str) and answers:
                lines += ["", question["question"], answers[0]]
        yield Document(index=0, text="\n".join(lines))
    else:
        if not asked:
            yield _rejected(0, "missing_text", f"{where} has no questions.", paragraph)
        for place, question in enumerate(asked):
            text, answers = question.get("question"), _answers(question)
            if not isinstance(text, str):
                yield _rejected(0, "missing_text", f"{where}.qas[{place}] has no text `question`.", question)
            elif not answers:
                yield _rejected(0, "no_answer", f"{where}.qas[{place}] has no answer.", question)
            else:
                group = document_id(context)
                yield from (
                    Document(index=0, text=f"{context}\n\n{text}", target=answer, group=group) for answer in answers
                )


def _answers(question: dict[str, Any]) -> list[str]:
    """The different ones, in their order."""
    answers = question.get("answers")
    found: dict[str, str] = {}
    for answer in answers if isinstance(answers, list) else ():
        text = answer.get("text") if isinstance(answer, dict) else None
        if isinstance(text, str) and text.strip():
            found.setdefault(text.strip(), text)
    return list(found.values())


def _rejected(index: int, reason: str, detail: str, value: Any) -> Rejected:
    shown = str(value)
    num_bytes = len(shown.encode("utf-8", "surrogatepass"))
    return Rejected(index=index, reason=reason, detail=detail, num_bytes=num_bytes, excerpt=shown[:200])


def _numbered(item: Document | Rejected, index: int, title: str | None) -> Document | Rejected:
    if isinstance(item, Document):
        return Document(index=index, text=item.text, target=item.target, title=title, group=item.group)
    return Rejected(index=index, reason=item.reason, detail=item.detail, num_bytes=item.num_bytes, excerpt=item.excerpt)
