"""The docstrings of a module, by `ast`: its own, those of its classes and functions, and those added from outside.

Private names (`_f`) are left out. Nothing is imported or run.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass

MIN_CHARACTERS = 80
"""Of a docstring that stands alone."""

_PLACEHOLDER_LINE = re.compile(r"^[ \t]*\{\w+\}[ \t]*\n?", re.MULTILINE)

Function = ast.FunctionDef | ast.AsyncFunctionDef
Entry = tuple[str, str]
"""A document's title and text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Docstring:
    """A docstring and whose it is."""

    name: str
    text: str


def module_docstrings(module: str, tree: ast.Module) -> Iterator[Docstring]:
    """Those of functions, classes and methods, and those added from outside, in the order of the file."""
    yield from _docstrings(module, tree.body)


def _docstrings(prefix: str, body: list[ast.stmt]) -> Iterator[Docstring]:
    for node in definitions(body):
        if isinstance(node, Function | ast.ClassDef):
            if node.name.startswith("_"):
                continue
            name = f"{prefix}.{node.name}"
            if text := docstring_of(node):
                yield Docstring(name=name, text=text)
            if isinstance(node, ast.ClassDef):
                yield from _docstrings(name, node.body)
        elif (added := added_docstring(node)) is not None:
            title, text = added
            yield Docstring(name=title, text=text.removeprefix(f"{title}\n\n"))


def definitions(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, those under `if`, `try` and `with` included."""
    for node in body:
        if isinstance(node, ast.If | ast.Try | ast.With):
            yield from definitions(node.body)
            if isinstance(node, ast.If | ast.Try):
                yield from definitions(node.orelse)
        else:
            yield node


def docstring_of(node: Function | ast.ClassDef | ast.Module) -> str:
    text = ast.get_docstring(node, clean=False)
    return inspect.cleandoc(text) if text else ""


def added_docstring(node: ast.stmt) -> Entry | None:
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
