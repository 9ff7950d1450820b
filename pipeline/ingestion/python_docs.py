"""Documentation of an installed Python package: docstrings by `ast`, and the reference texts it ships.

In: a package's files. Out: documents that read like pages of a manual, each opening with a header line:

- one for each class with a docstring: its own, then those of its methods;
- one for each function whose docstring is long enough to stand alone;
- one for each module: its docstring, then its short functions;
- one for each docstring added from outside (`add_newdoc("numpy", "abs", "...")`), as compiled modules need;
- one for each shipped text file;

or, where the source asks for them, pairs (docstring_pairs.py).

Nothing is imported or run. Private names (`_f`) are left out, modules with private names are not: that is where
packages keep what they publish. A docstring shorter than its threshold is no record; a file that does not parse is a
reject.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pipeline.ingestion.docstring_pairs import PairKind, docstring_pairs
from pipeline.ingestion.docstrings import (
    MIN_CHARACTERS,
    Entry,
    Function,
    added_docstring,
    definitions,
    docstring_of,
)
from pipeline.ingestion.encoding import decode
from pipeline.ingestion.items import MAX_DOCUMENT_BYTES, Document, FileRejected, Rejected
from pipeline.ingestion.packages import TEXT_SUFFIXES, package_files

MIN_FILE_CHARACTERS = 400
"""Of a shipped text: shorter ones are lists and markers."""
MIN_SENTENCE_WORDS = 5
"""A shipped text needs a line of so many words in lower-case letters; data tables have none."""

_PROSE = re.compile(rf"(?:\b[a-z]+,? ){{{MIN_SENTENCE_WORDS}}}")


def read_python_docs(root: Path, facts: Counter[str]) -> Iterator[Document | Rejected]:
    """The package's documents and rejects, in the order of its files' names."""
    for relative, path in package_files(root):
        data = path.read_bytes()
        facts["python files" if relative.endswith(".py") else "text files"] += 1
        try:
            if relative.endswith(TEXT_SUFFIXES):
                entries = _text_entries(relative, decode(data, encoding="detect", facts=facts))
            else:
                entries = module_entries(_module_name(relative), parse_source(data))
        except FileRejected as error:
            yield Rejected(index=0, path=relative, reason=error.reason, detail=str(error), num_bytes=len(data))
            continue
        for index, (title, text) in enumerate(entries):
            yield Document(index=index, path=relative, title=title, text=text)


def read_docstring_pairs(root: Path, kind: PairKind, facts: Counter[str]) -> Iterator[Document | Rejected]:
    """The pairs of the package's docstrings and its rejects, in the order of its files' names."""
    for relative, path in package_files(root):
        if not relative.endswith(".py"):
            continue
        data = path.read_bytes()
        facts["python files"] += 1
        try:
            tree = parse_source(data)
        except FileRejected as error:
            yield Rejected(index=0, path=relative, reason=error.reason, detail=str(error), num_bytes=len(data))
            continue
        for index, pair in enumerate(docstring_pairs(_module_name(relative), tree, kind)):
            yield Document(
                index=index, path=relative, title=pair.title, text=pair.text, target=pair.target, group=pair.group
            )


def parse_source(data: bytes) -> ast.Module:
    """The syntax tree of a source file.

    Raises:
        FileRejected: `invalid_python` or `too_large`.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise FileRejected("too_large", f"It has {len(data)} bytes; no source is read above {MAX_DOCUMENT_BYTES}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in somebody else's docstrings
            return ast.parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise FileRejected("invalid_python", f"It does not parse: {error}.") from error


def _module_name(relative: str) -> str:
    """numpy/linalg/__init__.py -> numpy.linalg"""
    return relative.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _text_entries(relative: str, text: str) -> list[Entry]:
    if len(text) < MIN_FILE_CHARACTERS or not _PROSE.search(text):
        return []
    return [(relative, text)]


def module_entries(module: str, tree: ast.Module) -> list[Entry]:
    """Titles and texts of one module's documents, the module's own first."""
    short: list[str] = []
    entries: list[Entry] = []
    for node in definitions(tree.body):
        if isinstance(node, ast.ClassDef):
            entries += _class_entries(module, node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            text = _function_text(node, prefix=f"{module}.")
            if text and len(docstring_of(node)) >= MIN_CHARACTERS:
                entries.append((f"{module}.{node.name}", text))
            elif text:
                short.append(text)
        elif added := added_docstring(node):
            entries.append(added)
    overview = "\n\n".join(filter(None, [docstring_of(tree), *short]))
    if len(overview) >= MIN_CHARACTERS:
        entries.insert(0, (module, f"{module}\n\n{overview}"))
    return entries


def _class_entries(module: str, node: ast.ClassDef) -> list[Entry]:
    if node.name.startswith("_"):
        return []
    name = f"{module}.{node.name}"
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    header = f"class {name}({bases})" if bases else f"class {name}"
    methods = [
        _function_text(child, prefix=f"{node.name}.")
        for child in definitions(node.body)
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    body = "\n\n".join(filter(None, [docstring_of(node), *methods]))
    entries = [(name, f"{header}\n\n{body}")] if len(body) >= MIN_CHARACTERS else []
    for child in definitions(node.body):
        if isinstance(child, ast.ClassDef):
            entries += _class_entries(name, child)
    return entries


def _function_text(node: Function, *, prefix: str) -> str:
    """Header with name and signature, then the docstring; nothing for what is private or undocumented."""
    docstring = docstring_of(node)
    if not docstring or (node.name.startswith("_") and node.name != "__init__"):
        return ""
    return f"{prefix}{node.name}({ast.unparse(node.args)})\n\n{docstring}"
