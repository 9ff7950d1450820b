"""Writes what of the documentation is made from the code: the configuration reference and the README's file tree.

Run from anywhere: `python docs/make.py`. Tests compare both with what the code says.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.config.reference import render  # noqa: E402 - the path comes first

BEGIN, END = "<!-- tree: made by `make docs` -->\n", "<!-- end of tree -->"


def tree() -> str:
    """One line a file of pipeline/ and assets/: its path and the first sentence of its docstring."""
    listed = subprocess.check_output(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "pipeline", "assets"],
        text=True,
    )
    lines = []
    folder = ""
    for name in sorted(listed.split(), key=lambda path: (Path(path).parent.as_posix(), Path(path).name)):
        path = ROOT / name
        if path.suffix != ".py" or not path.is_file():
            continue
        caption = ast.get_docstring(ast.parse(path.read_text())) or ""
        caption = " ".join(caption.split("\n\n")[0].split()).split(". ")[0].removesuffix(".")
        if path.parent.relative_to(ROOT).as_posix() != folder:
            folder = path.parent.relative_to(ROOT).as_posix()
            lines.append(f"{folder}/")
        if path.name == "__init__.py":
            lines[-1] = f"{folder + '/':<34}{caption}"
        else:
            lines.append(f"  {path.name:<32}{caption}")
    return "```\n" + "\n".join(lines) + "\n```\n"


def with_tree(readme: str) -> str:
    """The README with its tree as it is now."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + tree() + END + after


if __name__ == "__main__":
    (ROOT / "docs" / "configuration.md").write_text(render())
    readme_file = ROOT / "README.md"
    readme_file.write_text(with_tree(readme_file.read_text()))
