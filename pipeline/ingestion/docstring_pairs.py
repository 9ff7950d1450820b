"""Pairs out of docstrings: a body with its summary line, and a question about a parameter with its description.

In: the syntax tree of a module. Out, for each function, method, class and docstring added from outside:

- `summaries`: the docstring without its first paragraph, and that paragraph on one line, where both are long enough to mean
  something and the body does not repeat it;
- `parameters`: for each parameter of a numpy-style docstring, the summary and the parameter sections with the question "What does
  parameter `x` of `f` mean?", and its description on one line. The questions of one docstring are a group.

Source of the format: numpydoc 1.9, "Style guide", sections "Short summary" and "Parameters".
Trade-off: of a docstring only what can answer is read (notes and examples are left out), so that it fits a context.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.ingestion.docstrings import Docstring, module_docstrings
from pipeline.records import document_id

PairKind = Literal["summaries", "parameters"]

MIN_BODY_CHARACTERS = 200
MAX_BODY_CHARACTERS = 6_000
SUMMARY_CHARACTERS = range(20, 201)
DESCRIPTION_CHARACTERS = range(20, 401)
MAX_CONTEXT_CHARACTERS = 3_000
"""Of the summary and the parameter sections; what is longer is left out."""

_UNDERLINE = re.compile(r"[-=~]{3,}\s*$")
_PARAMETER = re.compile(r"(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?$")
_NO_PROSE = re.compile(r">>>|::|\(.*\)\s*(?:->|$)|^\W|[{}|]")
"""What summaries of generated or compiled functions hold: signatures, markup, tables."""
_PARAMETER_SECTIONS = ("Parameters", "Other Parameters")


@dataclass(frozen=True, slots=True, kw_only=True)
class DocstringPair:
    """A pair and where it comes from."""

    title: str
    text: str
    target: str
    group: str


def docstring_pairs(module: str, tree: ast.Module, kind: PairKind) -> Iterator[DocstringPair]:
    """The module's pairs, in the order of the file."""
    for docstring in module_docstrings(module, tree):
        if kind == "parameters":
            yield from parameter_pairs(docstring)
        elif (pair := summary_pair(docstring)) is not None:
            yield pair


def summary_pair(docstring: Docstring) -> DocstringPair | None:
    """The body and the summary line of a docstring, or None."""
    summary, _, body = docstring.text.partition("\n\n")
    summary, body = one_line(summary), body.strip()
    if len(summary) not in SUMMARY_CHARACTERS or not summary.endswith(".") or _NO_PROSE.search(summary):
        return None
    if not MIN_BODY_CHARACTERS <= len(body) <= MAX_BODY_CHARACTERS or summary in one_line(body):
        return None
    return DocstringPair(title=docstring.name, text=body, target=summary, group=document_id(body))


def parameter_pairs(docstring: Docstring) -> Iterator[DocstringPair]:
    """A question about each parameter that a numpy-style docstring describes."""
    parts = sections(docstring.text)
    described = {
        name: description
        for section in _PARAMETER_SECTIONS
        for name, description in parameters(parts.get(section, [])).items()
        if len(description) in DESCRIPTION_CHARACTERS
    }
    if not described:
        return
    listed = "\n\n".join(
        f"{section}\n" + "\n".join(parts[section]).strip("\n") for section in _PARAMETER_SECTIONS if section in parts
    )
    context = f"{docstring.name}\n\n{one_line(docstring.text.partition(chr(10) * 2)[0])}\n\n{listed}"
    if len(context) > MAX_CONTEXT_CHARACTERS:
        return
    function = docstring.name.rpartition(".")[2]
    for name, description in described.items():
        question = f"What does parameter {name} of {function} mean?"
        yield DocstringPair(
            title=docstring.name, text=f"{context}\n\n{question}", target=description, group=document_id(context)
        )


def sections(text: str) -> dict[str, list[str]]:
    """The lines below each underlined title of a docstring.

    "Sum.\\n\\nParameters\\n----------\\nx : int\\n    One." -> {"Parameters": ["x : int", "    One."]}
    """
    found: dict[str, list[str]] = {}
    lines = text.split("\n")
    current: list[str] | None = None
    for number, line in enumerate(lines):
        after = lines[number + 1] if number + 1 < len(lines) else ""
        if line.strip() and not line.startswith(" ") and _UNDERLINE.match(after):
            current = found.setdefault(line.strip(), [])
        elif current is not None and not _UNDERLINE.match(line):
            current.append(line)
    return found


def parameters(lines: list[str]) -> dict[str, str]:
    """Name -> description of the parameters in a section; several that share one are named together.

    ["x, y : int", "    Both", "    sides."] -> {"x, y": "Both sides."}
    """
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        header = _PARAMETER.match(line)
        if header is not None:
            current = found.setdefault(" ".join(header[1].split()), [])
        elif line.startswith(" ") or not line.strip():
            current.append(line)
        else:  # a line that is neither: what follows belongs to no parameter
            current = []
    return {name: one_line("\n".join(description)) for name, description in found.items()}


def one_line(text: str) -> str:
    """A text without line breaks and repeated blanks."""
    return " ".join(text.split())
