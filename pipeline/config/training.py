"""The model section: architecture, training, evaluation and promotion."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from pipeline.config.benchmarks import BenchmarkConfig
from pipeline.config.by_heart import ByHeartConfig
from pipeline.config.generation import GenerationConfig
from pipeline.config.metric_names import MetricName
from pipeline.config.recurrent import IN_PLACE_OF, AveragedSgdConfig, CacheConfig
from pipeline.config.sections import Name, PathText, Section
from pipeline.config.starting import LoraConfig, StartSettings
from pipeline.transformer_sizes import decoder_width_and_heads

Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, le=10)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
_OWNER = re.compile(r"team:.+|\w[\w.%+-]*@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}", re.ASCII)
"""What Dagster takes for one."""


class TrainConfig(Section):
    """How a model learns. What is left out derives from the model's depth; `textmill check` prints what was derived."""

    not_in_fingerprint: ClassVar[frozenset[str]] = frozenset(
        {
            "device",
            "devices",
            "strategy",
            "micro_batch_tokens",
            "log_every_steps",
            "checkpoint_every_seconds",
            "checkpoint_every_steps",
            "keep_checkpoints",
            "keep_every_steps",
            "keep_best_checkpoint",
            "profile_steps",
        }
    )

    tokens: Positive | None = None
    """Training tokens in all; default 20 per parameter (Hoffmann et al. 2022, arXiv 2203.15556)."""
    batch_tokens: Positive | None = None
    """Tokens an optimizer step."""
    micro_batch_tokens: Positive | None = None
    """Tokens a forward pass; smaller needs less memory, and gradients accumulate to batch_tokens."""
    matrix_learning_rate: Rate | None = None
    """Muon's, for hidden matrices."""
    embedding_learning_rate: Rate | None = None
    """AdamW's, for the embedding table."""
    head_learning_rate: Rate | None = None
    """AdamW's, for the output head."""
    vector_learning_rate: Rate | None = None
    """Norm weights and other vectors."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Of hidden matrices, cooled down with the learning rate."""
    cautious_weight_decay: bool = False
    """Only where the update moves a weight towards zero anyway (Chen et al. 2025, arXiv 2510.12402)."""
    schedule: Literal["wsd", "cosine"] = "wsd"
    """`wsd`: warm-up, plateau, linear cooldown to zero; `cosine`: warm-up, then half a cosine to zero, without a plateau."""
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Of the steps, with a linearly rising learning rate."""
    cooldown_fraction: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Of the steps, the last ones, with a linearly falling learning rate, under `wsd`."""
    batch_warmup_fraction: Fraction = 0.0
    """Of the steps, the first ones, with a smaller batch: a quarter of it for the first half of them, half for the second."""
    averaged_sgd: AveragedSgdConfig | None = None
    """In place of Muon and AdamW, for recurrent language models; `{}` takes the values of Merity et al. 2017."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Evaluates and saves an exponential moving average of the weights in their place; 0.999 averages about 1,000 steps."""
    packing: Literal["stream", "best_fit"] = "stream"
    """`stream`: windows of the documents end to end; `best_fit`: whole documents packed into windows, longest first, each
    into the fullest window with room; what is longer than a window is cut."""
    loss_on: Literal["targets", "whole_pairs"] = "targets"
    """What a decoder-only model learns to predict of pairs: `whole_pairs`, the text too and not the target alone, which is many
    times more to learn from where targets are short (Shi et al. 2024, arXiv 2405.14394). Validations look at targets alone."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest gradient norm; null switches it off."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Of the weights and the order of the data."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 matrix products where the processor has them, float32 elsewhere."""
    compile: Literal["auto", "on", "off"] = "auto"
    """`auto`: torch.compile where a compiler is at hand and the run is long enough to pay for it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: a GPU where there is one."""
    devices: Positive | Literal["auto"] = 1
    """Processes that train together, one a GPU, or one of several on a CPU; `auto`: every GPU. More change only rounding, and the
    draws of dropout."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """Of several devices: `ddp` keeps the whole model on each, `fsdp` divides weights, gradients and optimizer state."""
    validate_every_steps: Positive | None = None
    """Default: ten times over the run."""
    validation_tokens: Positive = 131_072
    """Validation tokens read each time, at most, and at most a hundredth of the training tokens."""
    log_every_steps: Positive = 10
    """Metrics to MLflow."""
    checkpoint_every_steps: Positive | None = None
    """Default: by time alone."""
    checkpoint_every_seconds: Annotated[float, Field(gt=0)] = 60.0
    """A killed run loses at most this much work."""
    keep_checkpoints: Annotated[int, Field(ge=2)] = 2
    """While training; the finished model needs none."""
    keep_every_steps: Positive | None = None
    """Checkpoints at multiples of this are kept beside the newest, and after training too."""
    keep_best_checkpoint: bool = False
    """Saves a checkpoint at each validation that is the best so far, and keeps that one, after training too."""
    result: Literal["last", "best"] = "last"
    """The weights that become the model: those of the last step, or those of the step with the least validation loss, for a
    small text that is read until it is known by heart."""
    profile_steps: Positive | None = None
    """Traces so many steps with torch's profiler, for ui.perfetto.dev; the run's log says where."""
    spike_sigma: Annotated[float, Field(gt=1)] = 6.0
    """A step whose loss or gradient norm lies this many standard deviations over the last 128 is skipped."""
    max_skipped_steps: Positive = 20
    """More skipped steps than this in 128 stop the run."""

    @model_validator(mode="after")
    def _learns_one_way(self) -> TrainConfig:
        unused = sorted(self.model_fields_set.intersection(IN_PLACE_OF))
        if self.averaged_sgd is not None and unused:
            raise ValueError(
                f"sets {unused[0]}, which averaged_sgd has no use for or sets itself. Remove one of the two"
            )
        return self


class EvaluateConfig(Section):
    """How a trained model is measured on the test split."""

    max_documents: Positive | None = None
    """Test documents scored at most (the same for every model: the smallest hashes); null scores all."""
    prompts: tuple[str, ...] = ()
    """Prompts of the sample texts; by default, openings of test documents."""
    num_samples: Annotated[int, Field(ge=1, le=20)] = 3
    """Texts generated for the report."""
    sample_tokens: Positive = 200
    """Tokens a sample text."""
    temperature: Annotated[float, Field(ge=0, le=10)] = 0.8
    """Of the samples; 0 always takes the most likely token."""
    top_k: Positive | None = 50
    """Only the k most likely tokens are drawn from; null means all."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Only the most likely tokens that together have this probability are drawn from."""
    metrics: tuple[MetricName, ...] = ()
    """Of what a model of pairs writes, such as `[chrf, bleu]`, the first one for the leaderboard; empty takes those of the
    dataset's task."""
    generation: GenerationConfig | None = None
    """How a model of pairs writes what is measured; null writes as the dataset's task does."""
    cache: CacheConfig | None = None
    """Measures a recurrent language model with a cache of its recent states too; null does not. The figures without it stand, and
    promotion goes by them."""
    by_heart: ByHeartConfig | None = None
    """Asks a model of running text for its training documents, from their beginnings; null does not."""
    benchmarks: dict[Name, BenchmarkConfig] = {}
    """Files of questions with answers, by a name of your own: few-shot and multiple choice by log-likelihood."""

    def literals(self) -> dict[str, Any]:
        """The settings that change the result; of a benchmark's file the content does, which the plan adds."""
        found = {
            **super().literals(),
            "benchmarks": {name: asked.literals() for name, asked in self.benchmarks.items()},
        }
        if self.by_heart is None:  # evaluations of before there was this stay what they are
            del found["by_heart"]
        return found


class PromoteConfig(Section):
    """When a challenger takes the `champion` alias."""

    metric: Literal["bits_per_byte"] = "bits_per_byte"
    """What better means: fewer bits for each UTF-8 byte of the test documents."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """That the challenger is better on the common test documents, by a paired randomisation test."""
    must_beat: Name | Literal["unigram"] = "unigram"
    """The unigram-frequency baseline, or another model of the file (its champion)."""
    num_resamples: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    """Of the test, and of the bootstrap that gives the difference its interval."""
    min_documents: Positive = 5
    """Fewer common test documents than this decide nothing: the alias stays."""


def _owner(text: str) -> str:
    if _OWNER.fullmatch(text) is None:
        raise ValueError(f"is {text!r}; write an e-mail address, or team:NAME")
    return text


class ModelSection(Section):
    """What every family has."""

    dataset: Name
    """The tokens it learns from."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """How it is measured."""
    promote: PromoteConfig = PromoteConfig()
    """When it becomes the champion."""
    owners: tuple[Annotated[str, AfterValidator(_owner)], ...] = ()
    """Shown in Dagster: an e-mail address, or `team:name`."""

    @model_validator(mode="after")
    def _may_be_promoted(self) -> ModelSection:
        scored, asked = self.evaluate.max_documents, self.promote.min_documents
        if scored is not None and scored < asked:
            raise ValueError(
                f"has evaluate.max_documents {scored} and promote.min_documents {asked}, so it would never be promoted. Raise "
                "the first or lower the second"
            )
        return self

    def training_literals(self) -> dict[str, Any]:
        """The settings that change the trained model: evaluation, promotion and owners do not, and of a starting point its
        content does, which the plan adds."""
        apart = ("evaluate", "promote", "owners", "init_from")
        return {key: value for key, value in self.literals().items() if key not in apart}


class NgramConfig(ModelSection):
    """An n-gram model with interpolated modified Kneser-Ney smoothing (Chen & Goodman 1998), or as another tool estimated it.
    Each training document is counted once, however many epochs of it the corpus asks for."""

    not_in_fingerprint: ClassVar[frozenset[str]] = frozenset({"memory_bytes"})

    family: Literal["ngram"]
    """The kind of model."""
    init_from: PathText | None = None
    """The path of an ARPA file over the pieces of the dataset's tokenizer, as `textmill export` and lmplz write it: the model is
    what it says, and nothing is counted. null: counted from the dataset."""
    order: Annotated[int, Field(ge=1, le=10)] = 5
    """Tokens of an n-gram: each token is predicted from `order` - 1 before it. With init_from, the default is the file's."""
    prune: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    """For n-grams of 1, 2, ... tokens, up to which count they are taken out of the model; the last value holds for all longer
    ones. `[0, 0, 1]` drops what is of three tokens or more and occurs once. It begins with 0 and does not fall."""
    memory_bytes: Annotated[int, Field(ge=100_000_000)] | None = None
    """Memory that counting may take, by default half of what the machine or the container has: DuckDB sorts what does not fit
    on disk, into the same model. The model itself is in memory in any case."""

    @model_validator(mode="after")
    def _counts_or_reads(self) -> NgramConfig:
        if self.init_from is not None and self.init_from.startswith("models:/"):
            raise ValueError(
                f"has init_from {self.init_from!r}; an n-gram model is read from an ARPA file. Export that one, and name the file"
            )
        if self.init_from is not None and "prune" in self.model_fields_set:
            raise ValueError(
                "sets prune, which drops counted n-grams, but init_from reads them from a file. Remove one"
            )
        return self

    @model_validator(mode="after")
    def _prunes_from_above(self) -> NgramConfig:
        if self.prune[0] or any(later < earlier for earlier, later in pairwise(self.prune)):
            raise ValueError(f"has prune {list(self.prune)}; it begins with 0 and does not fall, such as [0, 0, 1]")
        if len(self.prune) > self.order:
            raise ValueError(f"has {len(self.prune)} values in prune and order {self.order}. Give at most one an order")
        return self


class ResearchConfig(Section):
    """Parts of a Transformer that no other library loads: such a model trains, writes and is registered, but not exported."""

    softcap: Annotated[float, Field(gt=0)] | None = None
    """Logits become softcap tanh(logits / softcap) (Gemma Team 2024, arXiv 2408.00118, took 30)."""
    relu_squared: bool = False
    """down(relu(up(x))^2) in place of the SwiGLU (So et al. 2021, arXiv 2109.08668), by default 4 times the width inside."""
    value_embeddings: bool = False
    """A second table of the vocabulary, whose entries are added to every layer's values (after Zhou et al. 2024, arXiv
    2410.17897, who add the first layer's values)."""


class TransformerConfig(StartSettings, ModelSection):
    """A decoder-only Transformer in the Qwen3 layout."""

    family: Literal["transformer"]
    """The kind of model."""
    depth: Annotated[int, Field(ge=1, le=128)] = 4
    """Layers, and the one dial: width, heads, learning rates, batch and horizon derive from it."""
    width: Positive | None = None
    """Default 64 per layer."""
    num_heads: Positive | None = None
    """Attention heads; default width / 64, and width / 128 from width 1024 on."""
    num_kv_heads: Positive | None = None
    """Fewer than num_heads is grouped-query attention."""
    head_width: Annotated[int, Field(ge=2, multiple_of=2)] | None = None
    """Of each attention head; default width / num_heads."""
    feed_forward_width: Positive | None = None
    """Inner width of the SwiGLU; default about 8/3 of the width."""
    context_tokens: Annotated[int, Field(ge=8, le=131_072)] = 256
    """The longest text the model sees at once."""
    attend: Literal["window", "document"] = "window"
    """While training: `document` attends to nothing of another document in the window, and counts positions from its begin."""
    tie_embeddings: bool = False
    """One table for input and output."""
    rope_theta: Annotated[float, Field(gt=1)] = 10_000.0
    """Base of the rotary position angles (Su et al. 2021)."""
    query_key_norm: bool = True
    """Norms of each head's queries and keys, as Qwen3 has them; false exports as Llama."""
    dropout: Fraction = 0.0
    """Of embeddings and of what each part adds, while training; 0 suits data read about once, 0.1 to 0.3 a small text read
    several times."""
    research: ResearchConfig = ResearchConfig()
    """Parts that do not export."""
    lora: LoraConfig | None = None
    """Trains low-rank adapters alone, which are merged into the weights when the model is saved."""
    train: TrainConfig = TrainConfig()
    """How it learns."""

    @model_validator(mode="after")
    def _shapes(self) -> TransformerConfig:
        heads, kv_heads = self.num_heads, self.num_kv_heads
        if self.lora is not None and self.init_from is None and self.start == "fresh":
            raise ValueError("sets lora without init_from, so there is nothing to adapt. Set init_from")
        if self.lora is not None and self.freeze:
            raise ValueError("sets lora, which freezes all but its adapters, and freeze. Remove freeze")
        if self.init_from is None:  # else the sizes that are left open are those of the beginning
            decoder_width_and_heads(depth=self.depth, width=self.width, num_heads=heads, head_width=self.head_width)
        if kv_heads and not heads:
            raise ValueError("sets num_kv_heads without num_heads. Set both")
        if kv_heads and heads and heads % kv_heads:
            raise ValueError(f"has {heads} heads, which {kv_heads} key-value heads do not divide. Change one")
        return self


class RecurrentConfig(StartSettings, ModelSection):
    """A recurrent network: Elman's, gated recurrent units, or long short-term memory."""

    family: Literal["rnn", "gru", "lstm"]
    """The kind of model, by its cell."""
    depth: Annotated[int, Field(ge=1, le=64)] = 2
    """Layers, and the one dial: width, learning rates, batch and horizon derive from it."""
    width: Positive | None = None
    """Of embeddings and layers; default 256 per layer."""
    context_tokens: Annotated[int, Field(ge=8, le=131_072)] = 256
    """Tokens of a training row, which begins with a state of zeros; scoring and writing carry the state further."""
    tie_embeddings: bool = True
    """One table for input and output."""
    dropout: Fraction = 0.0
    """Locked dropout of embedded tokens and layers' outputs; 0 suits data read about once, 0.2 a million words read ten times,
    0.4 more times than that."""
    embedding_dropout: Fraction = 0.0
    """Part of the vocabulary whose embeddings are left out while training."""
    weight_drop: Fraction = 0.0
    """Part of the weights from state to state left out while training (Merity et al. 2017, arXiv 1708.02182, chose 0.5)."""
    train: TrainConfig = TrainConfig()
    """How it learns."""

    @model_validator(mode="after")
    def _compiles_not(self) -> RecurrentConfig:
        if self.train.compile == "on":
            raise ValueError(
                "sets train.compile to on, but recurrent layers run as the library's own kernels. Write auto or off"
            )
        return self
