"""Reads a project file, or says in one sentence what is wrong: file, key, value, mend."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pipeline.config.data import READERS
from pipeline.config.project import Project
from pipeline.errors import ConfigurationError

DEFAULT_CONFIG = "dagster_project.yaml"
CONFIG_VARIABLE = "TEXTMILL_CONFIG"
"""Names the project file where no argument does; how Dagster's processes learn of `--config`."""


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, which YAML would silently let win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_project(path: Path | str | None = None) -> Project:
    """Reads and checks the project file at `path`, or `$TEXTMILL_CONFIG`, or `dagster_project.yaml` here.

    Raises:
        ConfigurationError: one sentence: which file, key and value, and what to write instead.
    """
    file = Path(path or os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG).absolute()
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"{file} does not exist. Name a project file with --config.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{file} cannot be read: {error}. Correct it or name another with --config."
        ) from error
    try:
        value = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{file.name}: {' '.join(str(error).split())}. Correct the YAML.") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"{file.name} holds no keys. Start from the README's example.")
    try:
        project = Project.model_validate(value)
    except ValidationError as error:
        raise ConfigurationError(f"{file.name}: {_sentence(error.errors()[0], value)}") from None
    project._file = file
    for key, name, section in project.broken_references():
        known = sorted(getattr(project, section))
        raise ConfigurationError(
            f"{file.name}: {key} names {name!r}, which `{section}` does not define. {_suggestion(name, known)}"
        )
    if circle := project.cycle():
        raise ConfigurationError(
            f"{file.name}: models must beat each other in a circle ({' > '.join(circle)}). Let one beat `unigram`."
        )
    return project


def _sentence(error: ErrorDetails, value: Any) -> str:
    """One validation error as one sentence."""
    location = [str(part) for part in error["loc"] if not _is_union_tag(part, error["loc"], value)]
    key = ".".join(location) or "the file"
    given, context = error["input"], error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return f"{key} is unknown. {_suggestion(location[-1], _known_keys(location[:-1]))}"
        case "missing":
            return f"{key} is missing. Add it."
        case "value_error":
            return f"{key} {context['error']}."
        case "union_tag_not_found":
            return f"{key}.reader is missing. Add one of {', '.join(READERS)}."
        case "union_tag_invalid":
            return f"{key}.reader is {context['tag']!r}; known are {context['expected_tags']}. Write one of them."
        case "literal_error":
            return f"{key} is {given!r}; allowed are {context['expected']}. Write one of them."
        case "string_pattern_mismatch":
            return f"{key} is {given!r}; it must match {context['pattern']}. Rename it."
        case _:
            shown = repr(given) if len(repr(given)) < 80 else repr(given)[:77] + "..."
            message = error["msg"][0].lower() + error["msg"][1:]
            return f"{key} is {shown}; {message}. Correct the value."


def _is_union_tag(part: str | int, location: tuple[str | int, ...], value: Any) -> bool:
    """Pydantic puts the chosen branch of a union into the location; the file has no such key."""
    index = location.index(part)
    for step in location[:index]:
        in_mapping = isinstance(value, dict) and step in value
        in_list = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if in_mapping or in_list:
            value = value[step]
    if index + 1 == len(location):
        return isinstance(part, str) and not isinstance(value, dict) and index > 0 and "[" in part
    return isinstance(part, str) and isinstance(value, dict) and part not in value and part != "[key]"


def _known_keys(location: list[str]) -> list[str]:
    """The keys that the section at `location` takes."""
    annotation: Any = Project
    for step in location:
        fields = getattr(annotation, "model_fields", None)
        if fields is not None:
            annotation = fields[step].annotation if step in fields else None
        else:  # a mapping of names to sections, or an index
            annotation = getattr(annotation, "__args__", (None, None))[-1]
        metadata_free = getattr(annotation, "__origin__", None)
        if metadata_free is not None and hasattr(annotation, "__metadata__"):
            annotation = metadata_free
    members = [m for m in getattr(annotation, "__args__", (annotation,)) if hasattr(m, "model_fields")]
    return sorted({key for member in members for key in member.model_fields})


def _suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known: {', '.join(known)}." if known else "Remove it."
