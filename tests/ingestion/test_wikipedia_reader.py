"""Dumps are streamed into prose; redirects, other namespaces, attacks and endless markup are rejects."""

from __future__ import annotations

import bz2
import time
from collections import Counter
from pathlib import Path

import pytest

from pipeline.config.file_sources import WikipediaSource
from pipeline.ingestion import wikipedia
from pipeline.ingestion.items import Document, FileRejected, Rejected
from pipeline.ingestion.killable import Died, KillableFunction, TimedOut
from pipeline.ingestion.wikipedia import read_wikipedia
from pipeline.ingestion.wikitext import Page, TooComplex, plain_text, require_simple

HEAD = "<mediawiki><siteinfo><namespaces><namespace key='6'>Datei</namespace></namespaces></siteinfo>"


def page(title: str, text: str, *, namespace: int = 0, extra: str = "") -> str:
    revision = f"<revision><text>{text}</text></revision>"
    return f"<page><title>{title}</title><ns>{namespace}</ns>{extra}{revision}</page>"


def read(folder: Path, data: str, namespaces: tuple[int, ...] = (0,)) -> list[Document | Rejected]:
    path = folder / "dump.xml"
    path.write_text(data)
    return list(read_wikipedia(path, WikipediaSource(reader="wikipedia", path="x", namespaces=namespaces)))


def test_pages_become_prose_and_others_rejects_with_their_reason(tmp_path: Path) -> None:
    dump = HEAD + page("Moon", "'''Moon''' [[Datei:M.jpg|a picture]]is &lt;b&gt;round&lt;/b&gt;.")
    dump += page("Luna", "#REDIRECT [[Moon]]", extra="<redirect title='Moon'/>")
    dump += page("Talk:Moon", "No.", namespace=1)
    dump += page("Style", "a {}", extra="<model>css</model>") + page("Bare", "{{stub}}") + "</mediawiki>"
    document, *rejects = read(tmp_path, dump)
    assert document == Document(index=0, title="Moon", text="Moon is round.")
    assert [item.reason for item in rejects if isinstance(item, Rejected)] == [
        "redirect",
        "namespace",
        "not_wikitext",
        "empty",
    ]
    assert isinstance(read(tmp_path, dump, (0, 1))[2], Document)


@pytest.mark.parametrize(
    ("wikitext", "prose"),
    [
        ("[[natural satellite|satellite]]s [[Sun]]", "satellites Sun"),
        ("a{{cite|b}}<ref>c</ref><!-- d --><ref name=x />", "a"),
        ("{|\n| cell\n|}\nafter", "after"),
        ("[[Category:X]][[de:Mond]][[:Category:Y]]", ":Category:Y"),
        ("In [[CSI: Miami]], [[Re:Zero]] and [[Re:Zero|Zero]]", "In CSI: Miami, Re:Zero and Zero"),
        ("[[ Fr:Lune]][[zh-min-nan:Goe̍h-niû]][[It: Chapter Two]] [[de:Mond|Mond]]", "It: Chapter Two Mond"),
        ("[http://x.org site] and http://y.org", "site and http://y.org"),
        ("Moon ({{IPA|x}}, ) &amp; &#x41;&nbsp;b", "Moon & A\xa0b"),
        ("== A ==\n=== B ===\n== C ==\ntext", "C\n\ntext"),
        ("== A ==\n=== B ===\ntext", "A\n\nB\n\ntext"),
        ("* one\n* ''two''", "one\ntwo"),
        ("<nowiki>[[x]]</nowiki> <math>x^2</math>__NOTOC__", "[[x]]"),
    ],
)
def test_wikitext_becomes_prose(wikitext: str, prose: str) -> None:
    assert plain_text(Page(wikitext=wikitext)) == prose


def test_entities_and_document_types_are_refused(tmp_path: Path) -> None:
    laughs = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><mediawiki>&b;</mediawiki>'
    for dump in (laughs, '<!DOCTYPE x SYSTEM "file:///etc/passwd"><mediawiki/>'):
        with pytest.raises(FileRejected) as error:
            read(tmp_path, dump)
        assert error.value.reason == "refused"


def test_broken_xml_ends_the_file_with_a_reject(tmp_path: Path) -> None:
    kept, broken = read(tmp_path, HEAD + page("A", "text") + "<page><title>B</wrong>" + page("C", "text"))
    assert isinstance(kept, Document)
    assert isinstance(broken, Rejected)
    assert broken.reason == "invalid_xml"
    assert broken.num_bytes > 40
    for other in ("", "no xml", "<html></html>", "<mediawiki " + "x" * 3_000_000):
        with pytest.raises(FileRejected):
            read(tmp_path, other)


@pytest.mark.parametrize("piece", ["{{a|", "[[a|{{b|", '<b a="', "<b>", "<ref>", "{|\n|", "<!--"])
def test_markup_that_opens_without_end_is_too_complex_at_once(tmp_path: Path, piece: str) -> None:
    start = time.monotonic()
    with pytest.raises(TooComplex):
        require_simple(piece * 5000)
    assert time.monotonic() - start < 1


def test_a_page_that_takes_too_long_is_a_reject_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wikipedia, "PAGE_SECONDS", 0.3)
    monkeypatch.setattr(wikipedia, "require_simple", lambda text: None)
    slow, good = read(tmp_path, HEAD + page("Slow", "{{a|" * 6000) + page("Good", "text") + "</mediawiki>")
    assert isinstance(slow, Rejected)
    assert slow.reason == "timeout"
    assert good == Document(index=1, title="Good", text="text")


def _crash(argument: int) -> int:
    if argument == 0:
        raise SystemExit(3)
    return 10 // (argument - 1)


def test_a_process_that_dies_is_an_error_and_the_next_call_starts_another() -> None:
    with KillableFunction(_crash, timeout_seconds=30) as function:
        assert function(3) == 5
        with pytest.raises(Died):
            function(0)
        with pytest.raises(ZeroDivisionError):
            function(1)
    with KillableFunction(time.sleep, timeout_seconds=0.1) as function, pytest.raises(TimedOut):
        function(30)


def test_a_real_dump_is_read_whole(corpora: Path, tmp_path: Path) -> None:
    path = corpora / "messy" / "enwiki_sample_a.xml.bz2"
    items = list(read_wikipedia(path, WikipediaSource(reader="wikipedia", path="x")))
    xml = bz2.decompress(path.read_bytes()).decode()
    assert len(items) == xml.count("<page>") == 31
    assert Counter(item.reason for item in items if isinstance(item, Rejected)) == {"redirect": xml.count("<redirect ")}
    documents = {item.title: item.text for item in items if isinstance(item, Document)}
    assert documents["Autism"].startswith("Autism is a neurodevelopmental disorder characterized by impaired social")
    assert not [title for title, text in documents.items() if "{{" in text or "<ref" in text or "[[" in text]
