"""The whole project file: sections by name, and the references between them."""

from __future__ import annotations

import keyword
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, PrivateAttr, field_validator, model_validator

from pipeline.config.cron import check_cron
from pipeline.config.data import CorpusConfig, DatasetConfig, SourceConfig, TokenizerConfig
from pipeline.config.families import ModelConfig
from pipeline.config.sections import Name, PathText, Section
from pipeline.config.trainer import LocalTrainer, TrainerConfig

_SENSORS = ("source_files", "pending_metrics", "dead_runs", "old_versions")
_DAGSTERS_OWN = {
    "context", "conf", "config", "meta", "arg_dict", "dict", "input_arg_dict", "output_arg_dict", "int", "str", "float", "bool",
    "input", "output", "type", *keyword.kwlist,
}  # fmt: skip
"""Names that Dagster lets no schedule have."""


class EngineConfig(Section):
    """The data stages' workers."""

    kind: Literal["local", "ray"] = "local"
    """Processes on this machine, or tasks on Ray (the extra `ray`)."""
    address: Annotated[str, Field(pattern=r"^[^\s/:]+:\d+$")] | None = None
    """The Ray cluster's host:port; each node has Textmill, and the storage folder and sources at the same paths. null starts
    a Ray on this machine."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Processes or tasks at once; null means one per core. The result does not depend on it."""
    retries: Annotated[int, Field(ge=0)] = 2
    """How often a part of the data that failed unexpectedly, or whose process died, is tried again."""

    @model_validator(mode="after")
    def _address_is_of_ray(self) -> EngineConfig:
        if self.address is not None and self.kind != "ray":
            raise ValueError("has an address, which only kind: ray uses. Set kind to ray, or remove the address")
        return self


class ScheduleConfig(Section):
    """Retrains models by the clock; while a run that it began before is not finished, it begins no other."""

    cron: Annotated[str, AfterValidator(check_cron)]
    """Five fields: minute, hour, day, month, weekday."""
    models: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Which models, each with all it is made from."""
    timezone: str = "UTC"
    """IANA name, such as Europe/Berlin."""

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # a folder of zones, too, is none
            raise ValueError(f"is {value!r}, which is no time zone. Write one such as UTC or Europe/Berlin") from error
        return value


class WatchConfig(Section):
    """Retrains models when a source's files change: the sensor is on when this section is there. What was never built is built,
    and a run that failed is tried again after 1, 2, 4 ... minutes, at most an hour."""

    models: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Retrained when a file of their sources is new or changed."""
    interval_seconds: Annotated[int, Field(ge=5)] = 30
    """Between two looks at the files."""


class Project(Section):
    """The top level: every named thing below becomes an asset."""

    name: Name
    """The MLflow experiment's name."""
    storage: PathText = "data"
    """The folder of every artifact, relative to the project file."""
    keep_versions: Annotated[int, Field(ge=0)] | None = None
    """Of each asset, how many old versions stay beside the one in use, what holds an alias, and what these were made from; the
    others are deleted while `textmill ui` runs and nothing is built, once an hour. null keeps all."""
    engine: EngineConfig = EngineConfig()
    """The data stages' workers."""
    trainer: TrainerConfig = LocalTrainer()
    """Where models other than n-grams are trained."""
    sources: Annotated[dict[Name, SourceConfig], Field(min_length=1)]
    """Where text comes from."""
    corpora: dict[Name, CorpusConfig] = {}
    """What is kept of it, and what is held out."""
    tokenizers: dict[Name, TokenizerConfig] = {}
    """How text becomes tokens."""
    datasets: dict[Name, DatasetConfig] = {}
    """A corpus in a tokenizer's tokens."""
    models: dict[Name, ModelConfig] = {}
    """What is trained, evaluated and registered; the name is the registry's too."""
    schedules: dict[Name, ScheduleConfig] = {}
    """Retraining by the clock."""
    watch: WatchConfig | None = None
    """Retraining when files change."""

    _file: Path = PrivateAttr(default=Path("dagster_project.yaml"))
    _text: str = PrivateAttr(default="")

    @field_validator("models")
    @classmethod
    def _unigram_is_the_baseline(cls, value: dict[str, ModelConfig]) -> dict[str, ModelConfig]:
        if "unigram" in value:
            raise ValueError("has the name 'unigram', by which must_beat means counting words alone. Rename that model")
        return value

    @field_validator("schedules")
    @classmethod
    def _names_are_free(cls, value: dict[str, ScheduleConfig]) -> dict[str, ScheduleConfig]:
        for name in value:
            if name in _SENSORS:
                raise ValueError(f"has the name {name!r}, which is that of a sensor. Rename that schedule")
            if name in _DAGSTERS_OWN:
                raise ValueError(f"has the name {name!r}, which Dagster keeps for itself. Rename that schedule")
        return value

    @property
    def file(self) -> Path:
        """The file this was read from, absolute."""
        return self._file

    @property
    def text(self) -> str:
        """What stood in the file when this was read."""
        return self._text

    @property
    def folder(self) -> Path:
        """What relative paths are relative to."""
        return self._file.parent

    @property
    def storage_folder(self) -> Path:
        return self.folder / self.storage

    def broken_references(self) -> Iterator[tuple[str, str, str]]:
        """Each name that is used and not defined: (key, value, section that lacks it)."""
        for name, corpus in self.corpora.items():
            for source in corpus.sources:
                if source not in self.sources:
                    yield f"corpora.{name}.sources", source, "sources"
            for other in corpus.decontaminate.against if corpus.decontaminate else ():
                if other not in self.corpora and other not in self.sources:
                    yield f"corpora.{name}.decontaminate.against", other, "corpora"
        for name, tokenizer in self.tokenizers.items():
            if tokenizer.corpus not in self.corpora:
                yield f"tokenizers.{name}.corpus", tokenizer.corpus, "corpora"
        for name, dataset in self.datasets.items():
            if dataset.corpus not in self.corpora:
                yield f"datasets.{name}.corpus", dataset.corpus, "corpora"
            if dataset.tokenizer not in self.tokenizers:
                yield f"datasets.{name}.tokenizer", dataset.tokenizer, "tokenizers"
            if dataset.target_tokenizer is not None and dataset.target_tokenizer not in self.tokenizers:
                yield f"datasets.{name}.target_tokenizer", dataset.target_tokenizer, "tokenizers"
        for name, model in self.models.items():
            if model.dataset not in self.datasets:
                yield f"models.{name}.dataset", model.dataset, "datasets"
            if model.promote.must_beat not in ("unigram", *self.models):
                yield f"models.{name}.promote.must_beat", model.promote.must_beat, "models"
        for name, schedule in self.schedules.items():
            for model_name in schedule.models:
                if model_name not in self.models:
                    yield f"schedules.{name}.models", model_name, "models"
        for model_name in self.watch.models if self.watch else ():
            if model_name not in self.models:
                yield "watch.models", model_name, "models"

    def fixed_splits(self, corpus: str) -> dict[str, str]:
        """The sources of a corpus that are one split, with it."""
        found = {source: self.sources[source].split for source in self.corpora[corpus].sources}
        return {source: split for source, split in found.items() if split is not None}

    def corpora_in_order(self) -> list[str]:
        """Corpora, each after those it is decontaminated against; what is left of a circle is not listed."""
        ordered: list[str] = []
        while True:
            ready = [name for name in self.corpora if name not in ordered and self._awaited(name) <= set(ordered)]
            if not ready:
                return ordered
            ordered += ready

    def _awaited(self, name: str) -> set[str]:
        config = self.corpora[name].decontaminate
        return {other for other in config.against if other in self.corpora} if config else set()

    def useless_decontamination(self) -> tuple[str, str] | None:
        """A corpus and a name it is decontaminated against that would reject all of a source of its own, or None."""
        for name, corpus in self.corpora.items():
            for other in corpus.decontaminate.against if corpus.decontaminate else ():
                if other in corpus.sources and other not in self.corpora:
                    return name, other
        return None

    def unlike_rival(self) -> tuple[str, str] | None:
        """A model and the one it must beat, where their datasets have different tasks, or None."""
        for name, model in self.models.items():
            rival = model.promote.must_beat
            if rival in self.models and self._task(rival) != self._task(name):
                return name, rival
        return None

    def _task(self, model: str) -> str:
        return self.datasets[self.models[model].dataset].task

    def cycle(self) -> list[str] | None:
        """Models that must beat each other in a circle, or None."""
        for name in self.models:
            seen = [name]
            while (after := self.models[seen[-1]].promote.must_beat) != "unigram":
                if after in seen:
                    return [*seen[seen.index(after) :], after]
                seen.append(after)
        return None
