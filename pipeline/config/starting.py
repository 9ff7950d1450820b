"""Where a model's weights come from, and which of them stay: transfer learning's part of a model's section."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config.sections import PathText, Section

_REGISTRY = "models:/"
_REFERENCE = re.compile(r"^models:/(?P<name>[^/@]+)(?:/(?P<version>[1-9]\d*)|@(?P<alias>[^/@]+))$")
_NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_]{0,62}$")
_FROZEN = re.compile(r"^\w+(-\d+)?(\.(\w+|\d+-\d+|\*))*$")


@dataclass(frozen=True, slots=True)
class Reference:
    """A version in the registry: a number, or whoever holds an alias."""

    name: str
    version: str | None
    alias: str | None

    def __str__(self) -> str:
        return f"{self.name}/{self.version}" if self.version else f"{self.name}@{self.alias}"


class LoraConfig(Section):
    """Low-rank adapters: W + alpha / rank B A with W frozen (Hu et al. 2021, arXiv 2106.09685)."""

    rank: Annotated[int, Field(ge=1)] = 8
    """Rows of A and columns of B."""
    alpha: Annotated[float, Field(gt=0)] = 16.0
    """The product is scaled by alpha / rank."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("q_proj", "v_proj")
    """Matrices that get an adapter, by the last part of their name: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj,
    down_proj."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.002
    """AdamW's, for the adapters."""


class StartSettings(Section):
    """What a model of any trained family says about its starting point."""

    init_from: PathText | None = None
    """Where the weights begin: `models:/NAME@champion` or `models:/NAME/3` of the registry, another model of this file by its
    name, or the path of a Hugging Face folder (Llama or Qwen3). Sizes that are not set are taken from there. null: random."""
    start: Literal["fresh", "champion"] = "fresh"
    """`champion`: a retraining goes on from this model's own champion where there is one; `fresh`: always as init_from says."""
    freeze: tuple[str, ...] = ()
    """What keeps its starting weights: `embedding`, `head`, `norm`, `layers.0-3`, `layers.*.self_attn`, or a part's name."""

    @field_validator("init_from")
    @classmethod
    def _reference_is_whole(cls, value: str | None) -> str | None:
        if value is not None and value.startswith(_REGISTRY) and _REFERENCE.match(value) is None:
            raise ValueError(f"is {value!r}; write models:/NAME@ALIAS or models:/NAME/VERSION")
        return value

    @field_validator("freeze")
    @classmethod
    def _names_parts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for part in value:
            if _FROZEN.match(part) is None:
                raise ValueError(f"names {part!r}; write parts such as embedding, head, layers.0-3 or layers.*.mlp")
        return value

    @model_validator(mode="after")
    def _has_weights_to_keep(self) -> StartSettings:
        if self.freeze and self.init_from is None and self.start == "fresh":
            raise ValueError("sets freeze without init_from, so random weights would stay random. Set init_from")
        return self

    @property
    def registry_reference(self) -> Reference | None:
        """The registry version that `init_from` means, if it means one."""
        match = _REFERENCE.match(self.init_from or "")
        return None if match is None else Reference(match["name"], match["version"], match["alias"])

    @property
    def start_model(self) -> str | None:
        """The model of the file that `init_from` means, if it means one: a bare name is no path."""
        return self.init_from if self.init_from and _NAME.match(self.init_from) else None

    @property
    def start_folder(self) -> str | None:
        """The folder that `init_from` means, if it means one."""
        is_folder = self.init_from and not self.start_model and not self.registry_reference
        return self.init_from if is_folder else None


def starting_problem(models: Mapping[str, Any]) -> str | None:
    """What is wrong with where the models of a file begin, as one sentence, or None."""
    awaited: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for name, model in models.items():
        awaited[("registered", name)] = {("trained", name)}
        if model.promote.must_beat in models:
            awaited["registered", name].add(("registered", model.promote.must_beat))
        if not isinstance(model, StartSettings):
            continue
        if model.start_model is not None and model.start_model not in models:
            return (
                f"models.{name}.init_from names {model.start_model!r}, which is no model of this file. Name one, or write a "
                f"folder as ./{model.start_model}."
            )
        if model.start_model is not None and models[model.start_model].family != models[name].family:
            return (
                f"models.{name}.init_from names {model.start_model!r}, of the family {models[model.start_model].family}, where "
                f"{name} is of {models[name].family}. Name a model of the same family."
            )
        reference = model.registry_reference
        if reference is not None and reference.name == name and reference.alias is not None:
            return (
                f"models.{name}.init_from names its own {reference.alias}, so every promotion would train it again. Write "
                "start: champion, which goes on from it when something else has changed."
            )
        if model.start_model is not None:
            awaited["trained", name] = {("trained", model.start_model)}
        elif reference is not None and reference.name != name and reference.name in models:
            awaited["trained", name] = {("registered", reference.name)}
    try:
        TopologicalSorter(awaited).prepare()
    except CycleError as error:
        circle = " > ".join(dict.fromkeys(name for _, name in reversed(error.args[1])))
        return f"models wait for each other in a circle, by init_from or promote.must_beat ({circle}). Take one of these out."
    return None
