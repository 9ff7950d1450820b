"""Reads a project file, or says in one sentence what is wrong: file, key, value, mend."""

from __future__ import annotations

import difflib
import os
import reprlib
from collections.abc import Hashable
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.config.families import misfit
from pipeline.config.project import Project
from pipeline.config.starting import starting_problem
from pipeline.errors import ConfigurationError

DEFAULT_CONFIG = "dagster_project.yaml"
CONFIG_VARIABLE = "TEXTMILL_CONFIG"
"""Names the project file where no argument does; how Dagster's processes learn of `--config`."""

BEGUN_VARIABLE = "TEXTMILL_CONFIG_AS_BEGUN"
"""Names a copy of the project file: what a run began with, by which its steps go, whatever is written into the file meanwhile."""


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, which YAML would silently let win, and says where a value is not what it is
    written as."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, LookupError, AttributeError, OverflowError) as error:  # from deep within the constructor
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(
                None, None, f"{reprlib.repr(node.value)} is no {kind} ({error})", node.start_mark
            ) from error

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        if not isinstance(node, yaml.MappingNode):  # a tag says it were one
            return super().construct_mapping(node, deep)
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key is one value, and no list or mapping", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_project(path: Path | str | None = None) -> Project:
    """Reads and checks the project file at `path`, or `$TEXTMILL_CONFIG`, or `dagster_project.yaml` here; without a `path`, as
    the run had it that this process is a step of.

    Raises:
        ConfigurationError: one sentence: which file, key and value, and what to write instead.
    """
    file = Path(path or os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG).absolute()
    try:
        text = Path((path is None and os.environ.get(BEGUN_VARIABLE)) or file).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"{file} does not exist. Name a project file with --config.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{file} cannot be read: {error}. Correct it or name another with --config."
        ) from error
    try:
        value = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{file.name}: {_place_and_problem(error)}. Correct the YAML.") from error
    except RecursionError as error:
        raise ConfigurationError(f"{file.name} nests its lists or keys too deeply to be read. Flatten it.") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"{file.name} holds no keys. Start from the README's example.")
    try:
        project = Project.model_validate(value)
    except ValidationError as error:
        raise ConfigurationError(f"{file.name}: {_sentence(_most_telling(error.errors()), value)}") from None
    project._file, project._text = file, text
    for key, name, section in project.broken_references():
        known = sorted(getattr(project, section))
        raise ConfigurationError(
            f"{file.name}: {key} names {name!r}, which `{section}` does not define. {_suggestion(name, known)}"
        )
    if unordered := sorted(set(project.corpora) - set(project.corpora_in_order())):
        raise ConfigurationError(
            f"{file.name}: corpora are decontaminated against each other in a circle ({', '.join(unordered)}). "
            "Let one of them go without."
        )
    if useless := project.useless_decontamination():
        raise ConfigurationError(
            f"{file.name}: corpora.{useless[0]}.decontaminate.against names {useless[1]!r}, a source of its own, so none "
            "of that source would be left. Take it out of one of the two."
        )
    for name, model in project.models.items():
        if problem := misfit(model, project.datasets[model.dataset]):
            raise ConfigurationError(f"{file.name}: models.{name}.{problem}.")
    if unlike := project.unlike_rival():
        raise ConfigurationError(
            f"{file.name}: models.{unlike[0]}.promote.must_beat names {unlike[1]!r}, whose dataset has another task. Name a "
            "model of the same task."
        )
    if circle := project.cycle():
        raise ConfigurationError(
            f"{file.name}: models must beat each other in a circle ({' > '.join(circle)}). Let one beat `unigram`."
        )
    if problem := starting_problem(project.models):
        raise ConfigurationError(f"{file.name}: {problem}")
    return project


def _most_telling(errors: list[ErrorDetails]) -> ErrorDetails:
    """Of a union's branches, one that our own rule refused says more than one of another type, and so does one of the right
    type that went further into the value. Else the first."""
    for found in errors:
        if found["type"] == "value_error":
            return found
    first = errors[0]
    if first["type"].endswith("_type"):
        value, depth = first["loc"][:-1], len(first["loc"])
        return next(
            (
                found
                for found in errors
                if found["loc"][: depth - 1] == value
                and (len(found["loc"]) > depth or not found["type"].endswith("_type"))
            ),
            first,
        )
    return first


def _place_and_problem(error: yaml.YAMLError) -> str:
    """Of YAML that cannot be read: `line 3, column 1: while scanning ..., found ...`."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark, said = error.problem_mark, ", ".join(filter(None, (error.context, error.problem)))
        return f"line {mark.line + 1}, column {mark.column + 1}: {said}"
    if isinstance(error, yaml.reader.ReaderError):  # its own words name a stream that has no name
        return f"unacceptable character #x{error.character:04x}: {error.reason} at position {error.position}"
    return " ".join(str(error).split())


def _sentence(error: ErrorDetails, value: Any) -> str:
    """One validation error as one sentence."""
    is_missing = error["type"] == "missing"
    places = range(len(error["loc"]))
    tags = [index for index in places if _is_union_tag(index, error["loc"], value, is_missing=is_missing)]
    location = [str(error["loc"][index]) for index in places if index not in tags]
    chosen = [error["loc"][index] for index in tags]
    key = ".".join(location) or "the file"
    given, context = error["input"], error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return f"{key} is unknown. {_suggestion(location[-1], _known_keys(location[:-1], chosen))}"
        case "missing":
            return f"{key} is missing. Add it."
        case "value_error":
            return f"{key} {context['error']}."
        case "union_tag_not_found":
            known = ", ".join(_tags(location))
            return f"{key}.{_unquoted(context['discriminator'])} is missing. Add one of {known}."
        case "union_tag_invalid":
            tag = f"{key}.{_unquoted(context['discriminator'])} is {context['tag']!r}"
            return f"{tag}; known are {context['expected_tags']}. Write one of them."
        case "literal_error":
            return f"{key} is {given!r}; allowed are {context['expected']}. Write one of them."
        case "string_pattern_mismatch":
            return f"{key} is {given!r}; it must match {context['pattern']}. Rename it."
        case _:
            shown = repr(given) if len(repr(given)) < 80 else repr(given)[:77] + "..."
            message = error["msg"][0].lower() + error["msg"][1:]
            return f"{key} is {shown}; {message}. Correct the value."


def _is_union_tag(index: int, location: tuple[str | int, ...], value: Any, *, is_missing: bool) -> bool:
    """Pydantic puts the chosen branch of a union into the location; the file has no such key. Nor has it one that is missing,
    which stands last."""
    part = location[index]
    for step in location[:index]:
        in_mapping = isinstance(value, dict) and step in value
        in_list = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if in_mapping or in_list:
            value = value[step]
    if index + 1 == len(location):
        is_key = isinstance(value, dict) and (part in value or part == "[key]" or is_missing)
        return isinstance(part, str) and not is_key and index > 0
    is_no_key = isinstance(value, list) or (isinstance(value, dict) and part not in value)
    return isinstance(part, str) and is_no_key and part != "[key]"


def _unquoted(text: str) -> str:
    return text.strip("'")


def _tags(location: list[str]) -> list[str]:
    """What the discriminating key of the section at `location` may be."""
    return [kind for section in _sections(location) for kind in _kinds(section)]


def _kinds(section: type[BaseModel]) -> list[str]:
    """The values of a section's discriminating key that choose it."""
    found: list[str] = []
    for info in section.model_fields.values():
        if get_origin(info.annotation) is Literal and info.is_required():
            found += get_args(info.annotation)
    return found


def _known_keys(location: list[str], chosen: list[Any]) -> list[str]:
    """The keys that the section at `location` takes; of a union's branches, those of the chosen one."""
    sections = _sections(location)
    of_branch = [section for section in sections if any(tag in _kinds(section) for tag in chosen)]
    return sorted({key for section in of_branch or sections for key in section.model_fields})


def _sections(location: list[str]) -> list[type[BaseModel]]:
    """The models that a value at `location` may be of: several where it is a union."""
    annotations: list[Any] = [Project]
    for step in location:
        found: list[Any] = []
        for annotation in annotations:
            fields = getattr(annotation, "model_fields", None)
            if fields is None:  # a mapping of names to sections, or a list
                found += _members(get_args(annotation)[-1])
            elif step in fields:
                found += _members(fields[step].annotation)
        annotations = found
    return [annotation for annotation in annotations if hasattr(annotation, "model_fields")]


def _members(annotation: Any) -> list[Any]:
    """The branches of a union, without what is said about them; any other type alone."""
    if hasattr(annotation, "__metadata__"):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        return [member for branch in get_args(annotation) for member in _members(branch)]
    return [annotation]


def _suggestion(name: str, known: list[str]) -> str:
    known = [key for key in known if key != name]  # what was written is not what was meant
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known: {', '.join(known)}." if known else "Remove it."
