"""The project file: its sections, its defaults and its checks. Imports neither torch, Dagster nor MLflow.

sections.py  the shared base of every section and the environment-variable expansion
file_sources.py  sources that are files: what all take, and the readers beside text, JSON and Parquet
columns.py   the columns of clean documents that rules judge by
custom_rules.py  rules of the user's own, taken apart before they run
quality.py   which documents a corpus keeps
metric_names.py  metrics, and the tasks that each fits
benchmarks.py  files of questions that models are asked
by_heart.py  how a model is asked for its training text
pairs.py     which pairs a corpus keeps, and what joins them in a split
mixing.py    decontamination, and how often training reads what
data.py      sources, corpora, tokenizers, datasets
starting.py  where a model's weights come from
trainer.py   where training runs
recurrent.py averaged gradient descent, and the cache of recurrent models
training.py  models: architecture, training, evaluation, promotion
seq2seq.py   models: encoder-decoders
families.py  every family's section as one
cron.py      when schedules begin
project.py   the whole file, its references and its automation
loading.py   YAML in, one sentence per mistake out
"""

from pipeline.config.data import (
    CorpusConfig,
    DatasetConfig,
    JsonSource,
    ParquetSource,
    PythonDocsSource,
    SourceConfig,
    TextSource,
    TokenizerConfig,
)
from pipeline.config.families import EncoderDecoderConfig, ModelConfig, NetworkConfig
from pipeline.config.loading import BEGUN_VARIABLE, CONFIG_VARIABLE, DEFAULT_CONFIG, load_project
from pipeline.config.project import EngineConfig, Project, ScheduleConfig, WatchConfig
from pipeline.config.seq2seq import Seq2SeqRnnConfig, Seq2SeqTransformerConfig
from pipeline.config.trainer import KubernetesTrainer, LocalTrainer, RayTrainer, TrainerConfig
from pipeline.config.training import (
    EvaluateConfig,
    NgramConfig,
    PromoteConfig,
    RecurrentConfig,
    TrainConfig,
    TransformerConfig,
)

__all__ = [
    "BEGUN_VARIABLE",
    "CONFIG_VARIABLE",
    "DEFAULT_CONFIG",
    "CorpusConfig",
    "DatasetConfig",
    "EncoderDecoderConfig",
    "EngineConfig",
    "EvaluateConfig",
    "JsonSource",
    "KubernetesTrainer",
    "LocalTrainer",
    "ModelConfig",
    "NetworkConfig",
    "NgramConfig",
    "ParquetSource",
    "Project",
    "PromoteConfig",
    "PythonDocsSource",
    "RayTrainer",
    "RecurrentConfig",
    "ScheduleConfig",
    "Seq2SeqRnnConfig",
    "Seq2SeqTransformerConfig",
    "SourceConfig",
    "TextSource",
    "TokenizerConfig",
    "TrainConfig",
    "TrainerConfig",
    "TransformerConfig",
    "WatchConfig",
    "load_project",
]
