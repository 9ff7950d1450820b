"""Writes docs/configuration.md from the models, so that the reference cannot drift from the code.

`make docs` writes the file; a test compares it with what this gives.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import json
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.config import (
    benchmarks,
    by_heart,
    data,
    file_sources,
    generation,
    mixing,
    pairs,
    project,
    quality,
    recurrent,
    seq2seq,
    starting,
    trainer,
    training,
    web_sources,
)

_SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The file", project.Project),
    ("engine", project.EngineConfig),
    ("trainer with `kind: local`", trainer.LocalTrainer),
    ("trainer with `kind: ray`", trainer.RayTrainer),
    ("trainer with `kind: kubernetes`", trainer.KubernetesTrainer),
    ("sources.NAME with `reader: text`", data.TextSource),
    ("sources.NAME with `reader: json`", data.JsonSource),
    ("sources.NAME with `reader: parquet`", data.ParquetSource),
    ("sources.NAME with `reader: csv`", file_sources.CsvSource),
    ("sources.NAME with `reader: wikipedia`", file_sources.WikipediaSource),
    ("sources.NAME with `reader: markdown`", file_sources.MarkdownSource),
    ("sources.NAME with `reader: squad`", file_sources.SquadSource),
    ("sources.NAME with `reader: html`", web_sources.HtmlSource),
    ("sources.NAME with `reader: warc`", web_sources.WarcSource),
    ("sources.NAME with `reader: parallel`", file_sources.ParallelSource),
    ("sources.NAME with `reader: dialogue`", file_sources.DialogueSource),
    ("sources.NAME with `reader: python_docs`", data.PythonDocsSource),
    ("corpora.NAME", data.CorpusConfig),
    ("corpora.NAME.quality", quality.QualityConfig),
    ("corpora.NAME.decontaminate", mixing.DecontaminateConfig),
    ("corpora.NAME.splits", data.SplitsConfig),
    ("corpora.NAME.pairs", pairs.PairsConfig),
    ("corpora.NAME.mixture", mixing.MixtureConfig),
    ("corpora.NAME.mixture.buckets", mixing.BucketsConfig),
    ("corpora.NAME.expect", data.ExpectConfig),
    ("tokenizers.NAME", data.TokenizerConfig),
    ("datasets.NAME", data.DatasetConfig),
    ("models.NAME with `family: transformer`", training.TransformerConfig),
    ("models.NAME with `family: rnn`, `gru` or `lstm`", training.RecurrentConfig),
    ("models.NAME with `family: seq2seq_transformer`", seq2seq.Seq2SeqTransformerConfig),
    ("models.NAME with `family: seq2seq_rnn`", seq2seq.Seq2SeqRnnConfig),
    ("models.NAME with `family: ngram`", training.NgramConfig),
    ("models.NAME.research", training.ResearchConfig),
    ("models.NAME.lora", starting.LoraConfig),
    ("models.NAME.train", training.TrainConfig),
    ("models.NAME.train.averaged_sgd", recurrent.AveragedSgdConfig),
    ("models.NAME.evaluate", training.EvaluateConfig),
    ("models.NAME.evaluate.generation", generation.GenerationConfig),
    ("models.NAME.evaluate.cache", recurrent.CacheConfig),
    ("models.NAME.evaluate.benchmarks.NAME", benchmarks.BenchmarkConfig),
    ("models.NAME.evaluate.by_heart", by_heart.ByHeartConfig),
    ("models.NAME.promote", training.PromoteConfig),
    ("schedules.NAME", project.ScheduleConfig),
    ("watch", project.WatchConfig),
)

_HEAD = """# `dagster_project.yaml`: every key

Made from the code by `make docs`. A mistake in the file stops at load with one sentence that names the key, its value
and the mend. Paths are relative to the file; `${VARIABLE}` is expanded in paths. A key marked *free* says where or how
fast, not what: changing it recomputes nothing.
"""


def render() -> str:
    """The whole reference as Markdown."""
    parts = [_HEAD]
    for title, section in _SECTIONS:
        parts.append(
            f"\n## {title}\n\n{_first_paragraph(section)}\n\n| Key | Type | Default | What it does |\n|---|---|---|---|"
        )
        free: frozenset[str] = getattr(section, "not_in_fingerprint", frozenset())
        explained = _docstrings(section)
        parts += [_row(name, info, explained, is_free=name in free) for name, info in section.model_fields.items()]
    thresholds = [
        f"| `{rules}.{key}` | {'[by language](../pipeline/config/fineweb2.tsv)' if value is None else f'{value:g}'} |"
        for rules, keys in quality.RULES.items()
        for key, value in keys.items()
    ]
    parts.append("\n## Thresholds of the rule sets\n\n| Threshold | Default |\n|---|---|\n" + "\n".join(thresholds))
    return "\n".join(parts) + "\n"


def _first_paragraph(section: type[BaseModel]) -> str:
    return " ".join((section.__doc__ or "").strip().split("\n\n")[0].split())


def _docstrings(section: type[BaseModel]) -> dict[str, str]:
    """Key -> the string below it. pydantic can read them too, but for every model at every start: a fifth of a second."""
    found: dict[str, str] = {}
    for part in reversed(section.__mro__):
        if part is BaseModel or not issubclass(part, BaseModel):
            continue
        (definition,) = ast.parse(inspect.getsource(part)).body
        assert isinstance(definition, ast.ClassDef)
        for key, below in itertools.pairwise(definition.body):
            match key, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = text
    return found


def _row(name: str, info: FieldInfo, explained: Mapping[str, str], *, is_free: bool) -> str:
    if info.is_required():
        default = "required"
    elif isinstance(info.default, BaseModel):
        default = "see its section"
    else:
        default = f"`{_value(info.default)}`"
    text = " ".join(explained.get(name, "").split()) + (" *free*" if is_free else "")
    return f"| `{name}` | {_type(info)} | {default} | {text.strip()} |"


def _value(value: Any) -> str:
    if value is None or value is PydanticUndefined:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    return json.dumps(value) if isinstance(value, str) and not value.isprintable() else str(value)


def _type(info: FieldInfo) -> str:
    limits = [
        f"{sign} {getattr(limit, attribute)}"
        for limit in info.metadata
        for attribute, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
        if hasattr(limit, attribute)
    ]
    return _name(info.annotation) + (f", {', '.join(limits)}" if limits else "")


def _name(annotation: Any) -> str:
    if annotation is type(None):
        return "null"
    arguments = get_args(annotation)
    origin = getattr(annotation, "__origin__", None)
    if hasattr(annotation, "__metadata__"):
        return _name(arguments[0])
    if str(annotation).startswith("typing.Literal"):
        return " or ".join(f"`{argument}`" for argument in arguments)
    if origin is tuple:
        return f"list of {_name(arguments[0])}"
    if origin is dict:
        return f"{_name(arguments[0])} -> {_name(arguments[1])}"
    if arguments:
        return " or ".join(dict.fromkeys(_name(argument) for argument in arguments))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    name: str = annotation.__name__
    return {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}.get(name, name)
