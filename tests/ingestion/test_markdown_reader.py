"""Front matter goes, headings divide, code is kept or dropped."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.file_sources import MarkdownSource
from pipeline.ingestion.items import Document, FileRejected, Rejected
from pipeline.ingestion.markdown import read_markdown, split_front_matter

PAGE = """---
title: "The Moon"
tags: [a]
---
Preface.

# Near

It rose.

```python
# no heading
```

## Side

Dark.

Far
===

Gone.
"""


def read(folder: Path, text: str, **settings: Any) -> list[Document | Rejected]:
    (folder / "a.md").write_text(text)
    return list(read_markdown(folder / "a.md", MarkdownSource(reader="markdown", path="x", **settings), Counter()))


def test_a_file_is_one_document_with_the_front_matters_title(tmp_path: Path) -> None:
    (document,) = read(tmp_path, PAGE)
    assert isinstance(document, Document)
    assert document.title == "The Moon"
    assert document.text == PAGE.split("---\n")[2]
    (untitled,) = read(tmp_path, "# One\n\ntext\n")
    assert untitled == Document(index=0, title="One", text="# One\n\ntext\n")


def test_headings_divide_and_code_has_none(tmp_path: Path) -> None:
    items = read(tmp_path, PAGE, split_level=1)
    assert [(item.title, item.text.split("\n")[0]) for item in items if isinstance(item, Document)] == [
        ("The Moon", "Preface."),
        ("Near", "# Near"),
        ("Far", "Far"),
    ]
    assert len(read(tmp_path, PAGE, split_level=2)) == 4
    assert isinstance(read(tmp_path, PAGE, split_level=1, min_document_characters=30)[0], Rejected)


def test_code_is_dropped_when_asked(tmp_path: Path) -> None:
    (document,) = read(tmp_path, PAGE, code="drop")
    assert isinstance(document, Document)
    assert "no heading" not in document.text
    assert "```" not in document.text
    assert "Dark." in document.text


@pytest.mark.parametrize(
    ("text", "title", "body"),
    [
        ("+++\ntitle = 'T'\n+++\nx", "T", "x"),
        ("---\ntitle: 7\ndate: 2020-01-01\n---\nx", None, "x"),
        ("---\n\n---\nx", None, "x"),
        ("---\n- a\n---\nx", None, "---\n- a\n---\nx"),
        ("---\n: [\n---\nx", None, "---\n: [\n---\nx"),
        ("---\n\n# Intro\n\n---\nx", None, "---\n\n# Intro\n\n---\nx"),
        ("---\nIt rose: slowly,\nand set.\n---\nx", None, "---\nIt rose: slowly,\nand set.\n---\nx"),
        ("---\nnever closed", None, "---\nnever closed"),
        ("---\ntitle: !!python/object:os.system x\n---\nx", None, "x"),
        ("a\n---\nb\n---\n", None, "a\n---\nb\n---\n"),
    ],
)
def test_front_matter(text: str, title: str | None, body: str) -> None:
    assert split_front_matter(text) == (title, body)


def test_endless_nesting_and_lines_end(tmp_path: Path) -> None:
    assert len(read(tmp_path, "> " * 20_000 + "x\n")) == 1
    assert len(read(tmp_path, "[" * 50_000)) == 1
    with pytest.raises(FileRejected, match="a line of more than"):
        read(tmp_path, "x" * 1_100_000)
