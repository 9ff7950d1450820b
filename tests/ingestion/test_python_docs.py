"""Documentation of packages is read from their sources as pages of a manual, and nothing of them is run."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from pipeline.config.data import PythonDocsSource
from pipeline.errors import InputError
from pipeline.ingestion.items import Document, Rejected
from pipeline.ingestion.parts import list_parts
from pipeline.ingestion.python_docs import read_python_docs

LONG = "This sentence makes a docstring long enough to be a page of its own in the corpus."

MODULE = f'''
"""The module. {LONG}"""
raise SystemExit("this package must not be imported")

def area(width: float, height: float = 1.0) -> float:
    """
    The area of a rectangle.

        indented

    {LONG}
    """

def brief(): "Short."
def _private(): "{LONG}"

if True:
    class Shape(Base):
        """A shape. {LONG}"""
        def __init__(self, sides): "Takes its sides."
        def _hidden(self): "{LONG}"
        async def draw(self, *, colour="red"): "Draws it."

add_newdoc("sums.core", "total", """The total. {LONG}""")
add_docstr(sums.mean, r"""The mean. {LONG}

{{input}}

Weights are in {{{{w}}}}.
""".format(**shared))
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "site" / "sums"
    (root / "tests").mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "shapes.py").write_text(MODULE)
    (root / "broken.py").write_text("def (:\n")
    (root / "tests" / "test_sums.py").write_text(f'"""{LONG}"""')
    (root / "guide.rst").write_text("A guide that says in plain words what the package does.\n" * 10)
    (root / "numbers.txt").write_text("1 2 3 4 5 6 7 8\n" * 100)
    (root / "LICENSE.txt").write_text("You may do with this what you like, they say.\n" * 20)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return root


def test_classes_functions_modules_and_texts_are_documents(package: Path) -> None:
    items = list(read_python_docs(package, Counter()))
    documents = {item.title: item.text for item in items if isinstance(item, Document)}
    assert list(documents) == [
        "sums/guide.rst",
        "sums.shapes",
        "sums.shapes.area",
        "sums.shapes.Shape",
        "sums.core.total",
        "sums.mean",
    ]
    assert documents["sums.shapes"] == f"sums.shapes\n\nThe module. {LONG}\n\nsums.shapes.brief()\n\nShort."
    assert documents["sums.shapes.area"] == (
        f"sums.shapes.area(width: float, height: float=1.0)\n\nThe area of a rectangle.\n\n    indented\n\n{LONG}"
    )
    assert documents["sums.shapes.Shape"] == (
        f"class sums.shapes.Shape(Base)\n\nA shape. {LONG}\n\nShape.__init__(self, sides)\n\nTakes its sides.\n\n"
        "Shape.draw(self, *, colour='red')\n\nDraws it."
    )
    assert documents["sums.mean"] == f"sums.mean\n\nThe mean. {LONG}\n\n\nWeights are in {{w}}."


def test_a_file_that_does_not_parse_is_a_reject(package: Path) -> None:
    rejects = [item for item in read_python_docs(package, Counter()) if isinstance(item, Rejected)]
    assert [(item.path, item.reason, item.num_bytes) for item in rejects] == [("sums/broken.py", "invalid_python", 7)]


def test_a_package_is_one_part_whose_key_follows_its_files(package: Path, tmp_path: Path) -> None:
    config = PythonDocsSource(reader="python_docs", packages=("sums",))

    def key() -> str:
        (part,) = list_parts(config, folder=tmp_path, cache_folder=tmp_path / "cache")
        assert (part.path, part.location) == ("sums", package)
        return part.key

    before = key()
    (package / "tests" / "test_sums.py").write_text("changed")
    assert key() == before
    (package / "shapes.py").write_text(MODULE + "# changed")
    assert key() != before
    assert "sums" not in sys.modules


def test_a_package_that_is_not_installed_is_named(tmp_path: Path) -> None:
    config = PythonDocsSource(reader="python_docs", packages=("no_such_package",))
    with pytest.raises(InputError, match="packages names 'no_such_package', which is not installed"):
        list_parts(config, folder=tmp_path, cache_folder=tmp_path)


def test_numpy_alone_gives_a_megabyte(tmp_path: Path) -> None:
    config = PythonDocsSource(reader="python_docs", packages=("numpy",))
    (part,) = list_parts(config, folder=tmp_path, cache_folder=tmp_path)
    documents = [item for item in read_python_docs(Path(part.location), Counter()) if isinstance(item, Document)]
    assert sum(len(document.text) for document in documents) > 1_000_000
    titles = {document.title for document in documents}
    assert {"numpy.linalg._linalg.norm", "numpy._core.fromnumeric.mean"} <= titles
