"""The documentation says what the code is."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

from pipeline.config import load_project

ROOT = Path(__file__).parents[2]


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return {*project["dependencies"], *extras["dev"], *extras["ray"], *extras["kubernetes"]}


def test_every_dependency_is_justified_and_pinned() -> None:
    justified = set(
        re.findall(r"^\| ([A-Za-z0-9_.-]+) \| (?!Why)", (ROOT / "docs" / "dependencies.md").read_text(), re.M)
    )
    assert justified - {"Package", "---"} == declared()
    pinned = {
        line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    assert {name.lower().replace("_", "-") for name in declared()} <= pinned


def test_constraints_are_exact_versions_without_addresses() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"#.*|[A-Za-z0-9_.-]+==[A-Za-z0-9_.]+", line) for line in lines)


def test_the_readme_captions_every_file_of_the_code_as_the_code_does() -> None:
    specification = importlib.util.spec_from_file_location("docs_make", ROOT / "docs" / "make.py")
    assert specification is not None and specification.loader is not None
    make = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(make)
    readme = (ROOT / "README.md").read_text()
    assert readme == make.with_tree(readme), "run `make docs`"


def test_the_example_projects_load(monkeypatch: object, corpora: Path) -> None:
    monkeypatch.setenv("TEXTMILL_CORPORA", str(corpora))  # type: ignore[attr-defined]
    for file in [ROOT / "dagster_project.yaml", *sorted((ROOT / "examples").glob("*.yaml"))]:
        assert load_project(file).models
