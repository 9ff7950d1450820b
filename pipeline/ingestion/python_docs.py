"""Documentation of an installed Python package: docstrings by `ast`, and the reference texts it ships.

In: a package's files. Out: documents that read like pages of a manual, each opening with a header line:

- one for each class with a docstring: its own, then those of its methods;
- one for each function whose docstring is long enough to stand alone;
- one for each module: its docstring, then its short functions;
- one for each docstring added from outside (`add_newdoc("numpy", "abs", "...")`), as compiled modules need;
- one for each shipped text file.

Nothing is imported or run. Private names (`_f`) are left out, modules with private names are not: that is where
packages keep what they publish. A docstring shorter than its threshold is no record; a file that does not parse is a
reject.
"""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pipeline.ingestion.encoding import decode
from pipeline.ingestion.items import MAX_DOCUMENT_BYTES, Document, FileRejected, Rejected
from pipeline.ingestion.packages import TEXT_SUFFIXES, package_files

MIN_CHARACTERS = 80
"""Of a docstring that stands alone."""
MIN_FILE_CHARACTERS = 400
"""Of a shipped text: shorter ones are lists and markers."""
MIN_SENTENCE_WORDS = 5
"""A shipped text needs a line of so many words in lower-case letters; data tables have none."""

_PLACEHOLDER_LINE = re.compile(r"^[ \t]*\{\w+\}[ \t]*\n?", re.MULTILINE)
_PROSE = re.compile(rf"(?:\b[a-z]+,? ){{{MIN_SENTENCE_WORDS}}}")

_Function = ast.FunctionDef | ast.AsyncFunctionDef
Entry = tuple[str, str]
"""A document's title and text."""


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
    for node in _definitions(tree.body):
        if isinstance(node, ast.ClassDef):
            entries += _class_entries(module, node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            text = _function_text(node, prefix=f"{module}.")
            if text and len(_docstring(node)) >= MIN_CHARACTERS:
                entries.append((f"{module}.{node.name}", text))
            elif text:
                short.append(text)
        elif added := _added_docstring(node):
            entries.append(added)
    overview = "\n\n".join(filter(None, [_docstring(tree), *short]))
    if len(overview) >= MIN_CHARACTERS:
        entries.insert(0, (module, f"{module}\n\n{overview}"))
    return entries


def _definitions(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, those under `if`, `try` and `with` included."""
    for node in body:
        if isinstance(node, ast.If | ast.Try | ast.With):
            yield from _definitions(node.body)
            if isinstance(node, ast.If | ast.Try):
                yield from _definitions(node.orelse)
        else:
            yield node


def _class_entries(module: str, node: ast.ClassDef) -> list[Entry]:
    if node.name.startswith("_"):
        return []
    name = f"{module}.{node.name}"
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    header = f"class {name}({bases})" if bases else f"class {name}"
    methods = [
        _function_text(child, prefix=f"{node.name}.")
        for child in _definitions(node.body)
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    body = "\n\n".join(filter(None, [_docstring(node), *methods]))
    entries = [(name, f"{header}\n\n{body}")] if len(body) >= MIN_CHARACTERS else []
    for child in _definitions(node.body):
        if isinstance(child, ast.ClassDef):
            entries += _class_entries(name, child)
    return entries


def _function_text(node: _Function, *, prefix: str) -> str:
    """Header with name and signature, then the docstring; nothing for what is private or undocumented."""
    docstring = _docstring(node)
    if not docstring or (node.name.startswith("_") and node.name != "__init__"):
        return ""
    return f"{prefix}{node.name}({ast.unparse(node.args)})\n\n{docstring}"


def _docstring(node: _Function | ast.ClassDef | ast.Module) -> str:
    text = ast.get_docstring(node, clean=False)
    return inspect.cleandoc(text) if text else ""


def _added_docstring(node: ast.stmt) -> Entry | None:
    """The entry of `add_newdoc("numpy", "abs", "...")` or `add_docstr(torch.abs, "...")`."""
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return None
    call = node.value
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if "add_" not in function or "doc" not in function or len(call.args) < 2:
        return None
    *targets, last = call.args
    formatted = isinstance(last, ast.Call) and isinstance(last.func, ast.Attribute) and last.func.attr == "format"
    text = _constant(last.func.value if formatted else last)  # type: ignore[attr-defined]
    if text is None or len(text) < MIN_CHARACTERS:
        return None
    if formatted:  # the values are made when the package runs; a line that is one of them alone goes
        text = _PLACEHOLDER_LINE.sub("", text).replace("{{", "{").replace("}}", "}")
    title = ".".join(_constant(target) or ast.unparse(target) for target in targets)
    return title, f"{title}\n\n{inspect.cleandoc(text)}"


def _constant(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
