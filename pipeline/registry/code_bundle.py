"""The source files a registered model runs on, so that it loads where Textmill is not installed.

In: the modules the model's program imports. Out: a copy of them, and of all of this package they import in turn.
Read from the source by `ast`, so nothing is imported. Trade-off: a registered model keeps the code of its day; where
Textmill itself is already imported, the code at hand is used.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
ROOTS = (
    "pipeline.models.loading",
    "pipeline.models.interface",
    "pipeline.tokenizer.model",
    "pipeline.evaluation.continuation",
    "pipeline.evaluation.pair_model",
)


def write_code_bundle(folder: Path) -> Path:
    """Copies the modules of `ROOTS` and what they import into `folder`/pipeline and returns that path."""
    for module in needed_modules(ROOTS):
        source = _file(module)
        target = folder / source.relative_to(PACKAGE.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return folder / PACKAGE.name


def needed_modules(roots: tuple[str, ...]) -> list[str]:
    """The modules of this package reached from `roots` by imports anywhere in the source, with their packages."""
    found: set[str] = set()
    pending = list(roots)
    while pending:
        module = pending.pop()
        if module in found:
            continue
        found.add(module)
        pending += [parent for parent in _parents(module) if parent not in found]
        pending += [name for name in _imports(_file(module)) if name not in found]
    return sorted(found)


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == PACKAGE.name and _exists(name))


def _parents(module: str) -> list[str]:
    words = module.split(".")
    return [".".join(words[:length]) for length in range(1, len(words))]


def _exists(module: str) -> bool:
    return _file(module).is_file()


def _file(module: str) -> Path:
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
