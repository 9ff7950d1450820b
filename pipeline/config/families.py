"""Every family's model section as one, told apart by `family`, and which datasets each can learn from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.config.data import DatasetConfig
from pipeline.config.metric_names import fitting
from pipeline.config.seq2seq import Seq2SeqRnnConfig, Seq2SeqTransformerConfig
from pipeline.config.training import NgramConfig, RecurrentConfig, TransformerConfig

EncoderDecoderConfig = Seq2SeqTransformerConfig | Seq2SeqRnnConfig
"""These learn from pairs."""
NetworkConfig = TransformerConfig | RecurrentConfig | Seq2SeqTransformerConfig | Seq2SeqRnnConfig
"""These are trained step by step."""
ModelConfig = Annotated[
    TransformerConfig | RecurrentConfig | Seq2SeqTransformerConfig | Seq2SeqRnnConfig | NgramConfig,
    Field(discriminator="family"),
]


def misfit(model: ModelConfig, dataset: DatasetConfig) -> str | None:
    """What a model's family cannot do with its dataset, and the mend; None where they fit."""
    family, where = model.family, f"datasets.{model.dataset}"
    for metric in model.evaluate.metrics:
        if metric not in fitting(dataset.task):
            return (
                f"evaluate.metrics names {metric!r}, which does not fit the task {dataset.task} of {where}. Choose among "
                f"{', '.join(fitting(dataset.task))}"
            )
    if model.evaluate.generation is not None and not dataset.is_pairs:
        return f"evaluate.generation is set, but {where} has the task language_model, without pairs. Remove it"
    if dataset.is_pairs and not isinstance(model, NgramConfig) and (key := _for_windows(model)) is not None:
        return f"{key} is set, which is for windows of text, but {where} has the task {dataset.task}. Remove it"
    if not isinstance(model, NgramConfig) and model.train.loss_on == "whole_pairs":
        if isinstance(model, EncoderDecoderConfig):
            return f"train.loss_on is whole_pairs, but family is {family}, whose encoder reads texts and predicts none. Remove it"
        if not dataset.is_pairs:
            return f"train.loss_on is whole_pairs, but {where} has the task language_model, without pairs. Remove it"
    if (key := _for_recurrent(model, dataset)) is not None:
        return f"{key} is set, which is for recurrent models of running text (rnn, gru, lstm). Remove it"
    if (asked := model.evaluate.by_heart) is not None:
        if dataset.is_pairs:
            return f"evaluate.by_heart is set, which asks for running text, but {where} has the task {dataset.task}. Remove it"
        length = asked.prompt_tokens + asked.continuation_tokens
        if isinstance(model, TransformerConfig) and length > model.context_tokens:
            return (
                f"evaluate.by_heart asks for {asked.prompt_tokens} + {asked.continuation_tokens} tokens of a model whose "
                f"context_tokens is {model.context_tokens}. Lower them"
            )
    if isinstance(model, EncoderDecoderConfig):
        if model.evaluate.benchmarks:
            return (
                f"evaluate has benchmarks, which models answer that read one text, but family is {family}. Remove them"
            )
        if not dataset.is_pairs:
            return f"family is {family}, which learns from pairs, but {where} has the task language_model. Set a task of pairs"
        if model.share_vocabulary and dataset.target_tokenizer is not None:
            return (
                f"share_vocabulary is true, but {where} has a target_tokenizer, a vocabulary for each side. Remove one"
            )
        return None
    if isinstance(model, NgramConfig) and dataset.is_pairs:
        return f"family is ngram, which counts text alone, but {where} has the task {dataset.task}. Use language_model"
    if dataset.target_tokenizer is not None:
        return (
            f"family is {family}, which reads both sides as one text, but {where} has a target_tokenizer. Remove it, or "
            "choose an encoder-decoder"
        )
    return None


def _for_windows(model: NetworkConfig) -> str | None:
    """A setting that says how text is cut into windows; pairs are batched by their lengths."""
    if model.train.packing != "stream":
        return "train.packing"
    if model.train.batch_warmup_fraction:
        return "train.batch_warmup_fraction"
    return "attend" if isinstance(model, TransformerConfig) and model.attend != "window" else None


def _for_recurrent(model: ModelConfig, dataset: DatasetConfig) -> str | None:
    """A setting that only a recurrent language model has a use for, and with the cache one of running text."""
    if model.evaluate.cache is not None and (dataset.is_pairs or not isinstance(model, RecurrentConfig)):
        return "evaluate.cache"
    if isinstance(model, NgramConfig | RecurrentConfig) or model.train.averaged_sgd is None:
        return None
    return "train.averaged_sgd"
