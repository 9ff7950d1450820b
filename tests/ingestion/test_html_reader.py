"""Main text of web pages: against text that people marked, by declared and undeclared encodings, and on hostile pages."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trafilatura

from pipeline.config.web_sources import HtmlSource
from pipeline.ingestion import html
from pipeline.ingestion.extraction import Extracted, Page, extract
from pipeline.ingestion.extraction_precise import extract_precisely
from pipeline.ingestion.html import read_html
from pipeline.ingestion.items import Document, FileRejected, Rejected
from pipeline.ingestion.killable import KillableFunction

SENTENCES = [
    "The ship sailed at dawn, and nobody on the quay waved to those who stood at its rail and looked back.",
    "By noon the wind had turned to the north, and the captain ordered the sails to be taken in again.",
    "In the evening a lighthouse was seen far off, and those who could not sleep watched it until morning.",
]
PARAGRAPHS = "".join(f"<p>{sentence} Grüße.</p>" for sentence in SENTENCES)
ARTICLE = (
    "<!doctype html><html><head><title>Moon - The Site</title><meta property='og:title' content='The  Moon'></head>"
    "<body><nav><a href=/>Home</a> <a href=/b>Archive of everything</a></nav><article><h1>The Moon</h1>"
    f"{PARAGRAPHS}</article><div class='comments'><p>First! I was here before everybody else was.</p></div>"
    "<footer>Copyright, all rights reserved by the owners of the site</footer><script>var x = 1;</script></body></html>"
)


def read(folder: Path, data: bytes, extraction: str = "fast", **settings: Any) -> Document | Rejected:
    (folder / "a.html").write_bytes(data)
    config = HtmlSource.model_validate({"reader": "html", "path": "x", "extraction": extraction} | settings)
    (item,) = read_html(folder / "a.html", config, Counter())
    return item


@pytest.mark.parametrize("extraction", ["fast", "precise"])
def test_the_article_is_kept_and_what_surrounds_it_is_not(tmp_path: Path, extraction: str) -> None:
    item = read(tmp_path, ARTICLE.encode(), extraction)
    assert isinstance(item, Document)
    assert item.title == "The Moon"
    assert all(sentence in item.text for sentence in SENTENCES)
    assert not any(words in item.text for words in ("Archive", "First!", "Copyright", "var x"))


@pytest.mark.parametrize("name", ["share-wide", "promo social", "comments-open"])
def test_a_page_whose_text_has_the_class_of_its_surroundings(name: str) -> None:
    page = ARTICLE.replace("<article>", f"<article class='{name}'>")
    assert page != ARTICLE
    text = extract(Page(data=page.encode())).text
    assert all(sentence in text for sentence in SENTENCES)
    assert "Archive" not in text and "Copyright" not in text


def test_a_page_in_which_no_main_part_is_found_keeps_its_words(corpora: Path) -> None:
    data = (corpora / "web_pages" / "changelog.blog.zwischenbilanz.html").read_bytes()
    assert "Der stationäre Handel steckt in der Krise" in extract(Page(data=data)).text


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("", "utf-8"),
        ("<meta charset=iso-8859-1>", "latin-1"),
        ("<meta http-equiv=Content-Type content='text/html; charset=windows-1252'>", "cp1252"),
        ("", "utf-8-sig"),
        ("", "utf-16"),
    ],
)
def test_encodings(tmp_path: Path, declared: str, encoding: str) -> None:
    item = read(tmp_path, ARTICLE.replace("<head>", f"<head>{declared}").encode(encoding))
    assert isinstance(item, Document)
    assert item.text.count("Grüße") == 3


def test_the_server_is_believed_before_the_page() -> None:
    data = ARTICLE.replace("<head>", "<head><meta charset=utf-8>").encode("latin-1")
    assert "Grüße" in extract(Page(data=data, charset="ISO-8859-1")).text
    assert extract(Page(data=ARTICLE.encode(), charset="no-such-charset")).text.count("Grüße") == 3


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b" \0\n", "empty"),
        (b"<html><body><script>alert(1)</script></body></html>", "no_main_text"),
    ],
)
def test_pages_without_text_are_rejects(tmp_path: Path, data: bytes, reason: str) -> None:
    item = read(tmp_path, data)
    assert isinstance(item, Rejected)
    assert item.reason == reason


def wait_for_ever(page: Page) -> Extracted:
    time.sleep(600)
    raise AssertionError("it was killed")


@pytest.mark.parametrize(("extraction", "advice"), [("fast", ""), ("precise", " `extraction: fast` may read it.")])
def test_a_page_that_takes_too_long_is_a_reject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extraction: str, advice: str
) -> None:
    with KillableFunction(wait_for_ever, timeout_seconds=0.05) as slow:
        monkeypatch.setattr(html, "_extractor", lambda extraction: slow)
        item = read(tmp_path, ARTICLE.encode(), extraction)
    assert isinstance(item, Rejected)
    assert (item.reason, item.detail) == ("timeout", f"It took longer than 0.05 seconds.{advice}")


def test_a_process_left_open_ends_with_an_owner_that_ignores_stops() -> None:
    program = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "from pipeline.ingestion.killable import KillableFunction\n"
        "kept = KillableFunction(abs, timeout_seconds=30)\n"
        "print(kept(-3))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (0, "3\n")


def test_short_pages_can_be_rejected(tmp_path: Path) -> None:
    item = read(tmp_path, ARTICLE.encode(), min_document_characters=10_000)
    assert isinstance(item, Rejected)
    assert (item.reason, item.threshold) == ("too_short", 10_000)


@pytest.mark.slow
@pytest.mark.parametrize("extraction", ["fast", "precise"])
@pytest.mark.parametrize(
    "data",
    [
        b"<div>" * 200_000 + b"deep",
        b"<p>" + b"<b><i>" * 50_000 + b"x",
        b"<table>" * 20_000 + b"x",
        b"<a href='" + b"x" * 5_000_000,
        b"<p>text &#xD800; &#0; \0 \xed\xa0\x80 \xff\xfe</p>" * 50,
        ARTICLE.encode()[:-200] + ARTICLE.encode("utf-16") + ARTICLE.encode("latin-1"),
        b"<!--" * 100_000,
        b"<p>" + b"a " * 3_000_000,
    ],
    ids=["nested", "formats", "tables", "attribute", "characters", "mixed", "comments", "long"],
)
def test_hostile_pages_end_in_time(tmp_path: Path, extraction: str, data: bytes) -> None:
    read(tmp_path, ARTICLE.encode(), extraction)  # the process is up
    started = time.monotonic()
    read(tmp_path, data, extraction)
    assert time.monotonic() - started < 5
    assert isinstance(read(tmp_path, ARTICLE.encode(), extraction), Document)


def test_a_page_of_200_megabytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.html.gz").write_bytes(gzip.compress(b"<p>" + b"word " * 5_000_000, 1))
    with pytest.raises(FileRejected, match="more than 20000000 bytes"):
        list(read_html(tmp_path / "a.html.gz", HtmlSource(reader="html", path="x"), Counter()))


def test_word_f1_on_annotated_pages(corpora: Path) -> None:
    """28 pages of the article extraction benchmark; trafilatura's own mean there is 0.948."""
    folder = corpora / "messy" / "html_aeb"
    truth = json.loads((folder / "ground-truth.json").read_text())
    pages = {name: Page(data=gzip.decompress((folder / f"{name}.html.gz").read_bytes())) for name in truth}
    means = {}
    ways: dict[str, Callable[[Page], str]] = {
        "fast": lambda page: extract(page).text,
        "precise": lambda page: extract_precisely(page).text,
        "trafilatura": lambda page: trafilatura.extract(page.data, include_comments=False) or "",
    }
    for name, way in ways.items():
        scores = [word_f1(way(page), truth[key]["articleBody"]) for key, page in pages.items()]
        means[name] = sum(scores) / len(scores)
    assert len(pages) == 28
    assert means["precise"] >= max(means["trafilatura"], 0.947)
    assert means["fast"] >= means["precise"] - 0.05


def word_f1(found: str, wanted: str) -> float:
    """Twice the words in common over the words of both, as bags."""
    one, other = (Counter(re.findall(r"\w+", text)) for text in (found, wanted))
    return 2 * (one & other).total() / max(one.total() + other.total(), 1)
