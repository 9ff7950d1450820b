"""The data sections: where text comes from, what is kept, how it becomes tokens."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from pipeline.config.file_sources import (
    CsvSource,
    DialogueSource,
    FileSource,
    MarkdownSource,
    ParallelSource,
    Source,
    SquadSource,
    WikipediaSource,
)
from pipeline.config.mixing import DecontaminateConfig, MixtureConfig
from pipeline.config.pairs import PairsConfig
from pipeline.config.quality import RULES, QualityConfig
from pipeline.config.sections import Name, PathText, Pattern, Section
from pipeline.config.web_sources import HtmlSource, WarcSource
from pipeline.tasks import TASKS, KeepSide, TaskName, template_literals


class TextSource(FileSource):
    """Plain text: one file is one document, or many where a separator stands between them."""

    reader: Literal["text"]
    """Names this kind of source."""
    encoding: Literal["detect"] | str = "detect"
    """`detect` tries UTF-8 first and refuses what it cannot tell; or a Python codec name."""
    separator: Annotated[str, Field(min_length=1)] | None = None
    """Literal text between documents, such as `"\\n\\n\\n"`; it belongs to neither."""
    heading: Pattern | None = None
    """Regular expression of a document's first line, such as `^CHAPTER .*`; it stays with the document it opens."""
    start_after: Pattern | None = None
    """Regular expression: what stands before the end of its first match is left out (a header)."""
    stop_before: Pattern | None = None
    """Regular expression: what stands from its last match on is left out (a licence)."""
    min_document_characters: Annotated[int, Field(ge=0)] = 0
    """A shorter piece is a reject with the reason `too_short`: tables of contents look like headings."""

    @model_validator(mode="after")
    def _one_split(self) -> TextSource:
        if self.separator is not None and self.heading is not None:
            raise ValueError("has both separator and heading; keep one")
        return self


class JsonSource(FileSource):
    """JSON Lines, a JSON array, or one JSON object a file; `.gz` and `.zst` are decompressed."""

    reader: Literal["json"]
    """Names this kind of source."""
    text: str | tuple[str, ...] = "text"
    """The field that holds the text, or several, joined; a list of strings counts as its lines. `a.b` is `b` within
    `a`, and where `a` is a list, that of each of its elements."""
    title: str | None = None
    """The field that holds the title; kept beside the text, not in it."""
    target: str | None = None
    """The field that holds the other half of a pair, such as a translation."""
    group: str | None = None
    """The field whose equal values stay in one split, such as the context of several questions."""
    join: str = "\n"
    """Put between several text fields."""


class ParquetSource(FileSource):
    """Parquet files with a text column."""

    reader: Literal["parquet"]
    """Names this kind of source."""
    text: str | tuple[str, ...] = "text"
    """The column that holds the text, or several, joined."""
    title: str | None = None
    """The column that holds the title; kept beside the text, not in it."""
    target: str | None = None
    """The column that holds the other half of a pair, such as a translation."""
    group: str | None = None
    """The column whose equal values stay in one split, such as the context of several questions."""
    join: str = "\n"
    """Put between several text columns."""


class PythonDocsSource(Source):
    """Docstrings and reference text of installed Python packages, read with `ast`; nothing is imported."""

    reader: Literal["python_docs"]
    """Names this kind of source."""
    packages: Annotated[tuple[str, ...], Field(min_length=1)]
    """Import names, such as `numpy`; each must be installed."""
    documents: Literal["pages", "summaries", "parameters"] = "pages"
    """`pages`: what a manual would print. Pairs: `summaries`, a docstring's body and its summary line; `parameters`, a question
    about each parameter of a numpy-style docstring and its description."""


SourceConfig = Annotated[
    TextSource
    | JsonSource
    | ParquetSource
    | CsvSource
    | WikipediaSource
    | MarkdownSource
    | SquadSource
    | HtmlSource
    | WarcSource
    | ParallelSource
    | DialogueSource
    | PythonDocsSource,
    Field(discriminator="reader"),
]


def _template(text: str) -> str:
    template_literals(text)
    return text


class SplitsConfig(Section):
    """Fractions of the documents held out, by hash: a document's split never changes as others arrive."""

    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    """Watched during training."""
    test: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    """Scored once, after training; the promotion gate compares models on it."""


class NearConfig(Section):
    """Near-duplicates: of documents that are alike one is kept, and a cluster never straddles two splits."""

    similarity: Annotated[float, Field(ge=0.3, le=1)] = 0.8
    """Jaccard similarity of two documents' sets of shingles from which on they are near-duplicates."""
    shingle_tokens: Annotated[int, Field(ge=1, le=64)] = 5
    """Consecutive words a shingle has; in scripts without spaces, such as Chinese or Japanese, characters."""


class LinesConfig(Section):
    """Text repeated across documents, such as navigation and licences, is cut out of those that hold it. Pairs stay whole."""

    max_documents: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)]
    """What more kept documents hold is cut from all of them: a number, or a fraction of the kept documents."""
    unit: Literal["line", "paragraph"] = "line"
    """Paragraphs stand between blank lines."""
    min_characters: Annotated[int, Field(ge=1)] = 1
    """Shorter units are never cut: headings such as `Returns` repeat for a reason."""


class DeduplicateConfig(Section):
    """What else counts as a duplicate; equal texts always do, also where only lines that were cut told them apart."""

    near: NearConfig | None = None
    """Near-duplicates; absent, they are kept."""
    lines: LinesConfig | None = None
    """Lines or paragraphs in many documents; absent, they are kept."""


class ExpectConfig(Section):
    """The blocking check on a corpus: outside this range something upstream is wrong."""

    min_kept_fraction: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Of the documents that came in."""
    max_kept_fraction: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Of the documents that came in."""
    min_documents: Annotated[int, Field(ge=1)] = 1
    """Kept, over all splits."""

    @model_validator(mode="after")
    def _a_range(self) -> ExpectConfig:
        if self.min_kept_fraction > self.max_kept_fraction:
            raise ValueError("has min_kept_fraction above max_kept_fraction. Swap them")
        return self


class CorpusConfig(Section):
    """The documents to learn from and to be judged by."""

    not_in_fingerprint: ClassVar[frozenset[str]] = frozenset({"expect"})

    sources: Annotated[dict[Name, Annotated[float, Field(gt=0, le=100)]], Field(min_length=1)]
    """Source -> epochs of it in the training split: 2.0 is read twice, 0.5 half."""
    quality: QualityConfig = QualityConfig()
    """Which documents are kept."""
    decontaminate: DecontaminateConfig | None = None
    """Which text must not be learnt from. Null: none."""
    deduplicate: DeduplicateConfig = DeduplicateConfig()
    """Which of them count as one."""
    splits: SplitsConfig = SplitsConfig()
    """What is held out, beside sources with a `split` of their own."""
    pairs: PairsConfig | None = None
    """Rules for documents with a target."""
    mixture: MixtureConfig = MixtureConfig()
    """How often training reads each document, beyond the sources' epochs."""
    expect: ExpectConfig = ExpectConfig()
    """What counts as a plausible result."""

    @model_validator(mode="after")
    def _one_mixture(self) -> CorpusConfig:
        weights, buckets = self.mixture.weights, self.mixture.buckets
        if weights is not None:
            if set(weights) != set(self.sources):
                odd = sorted(set(weights) ^ set(self.sources))
                raise ValueError(
                    f"has mixture.weights that differ from its sources in {', '.join(odd)}. Weigh each source"
                )
            if any(epochs != 1 for epochs in self.sources.values()):
                raise ValueError("has both mixture.weights and epochs other than 1. Set the epochs to 1.0")
        signals = {threshold.partition("_")[2] for rules in RULES.values() for threshold in rules}
        known = sorted(signals | {"language_confidence"})
        if buckets is not None and buckets.by not in known:
            raise ValueError(f"has mixture.buckets.by {buckets.by!r}, which is no signal. Known: {', '.join(known)}")
        return self


class TokenizerConfig(Section):
    """A SentencePiece model, trained on a corpus's training split, or one that is there already."""

    corpus: Name
    """Whose training split it learns from, and whose validation split it is measured on."""
    file: PathText | None = None
    """A `tokenizer.model` to take as it is, such as that of the folder a model begins with (`init_from`). Nothing is learnt then,
    and beside `corpus` only `learns_from` may be set, for what it is measured on. null: it is trained."""
    kind: Literal["bpe", "unigram", "char", "word"] = "bpe"
    """SentencePiece's model type."""
    vocab_size: Annotated[int, Field(ge=8, le=1_000_000)] = 8192
    """Pieces in all, control symbols and the 256 byte pieces included."""
    character_coverage: Annotated[float, Field(gt=0.9, le=1)] = 0.9995
    """Of the training text's characters; the rest become bytes. Chinese and Japanese: 0.9995; small alphabets: 1.0."""
    byte_fallback: bool = True
    """Characters outside the vocabulary become UTF-8 bytes, so that any text round-trips. Off, they become <unk>."""
    sample_bytes: Annotated[int, Field(ge=10_000)] = 50_000_000
    """Training text at most; above it a seeded sample of documents is drawn and reported."""
    learns_from: Literal["both", "text", "target"] = "both"
    """Sides of pairs: `both` for one vocabulary of both languages, or one side; documents without a target are text."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the sample."""
    refit: Literal["on_change", "always"] = "on_change"
    """`on_change` keeps the trained tokenizer until its own settings change; `always` also when the corpus does."""

    def literals(self) -> dict[str, Any]:
        """Those of learning; of a file its content counts, see `plan`."""
        return {key: value for key, value in super().literals().items() if key != "file"}

    @model_validator(mode="after")
    def _a_file_learns_nothing(self) -> TokenizerConfig:
        others = self.model_fields_set - {"file", "corpus", "learns_from"}
        if self.file is not None and others:
            raise ValueError(
                f"has file and {min(others)}; a tokenizer that is there already learns nothing. Remove one of them"
            )
        return self

    @model_validator(mode="after")
    def _room_for_bytes(self) -> TokenizerConfig:
        if self.byte_fallback and self.kind != "word" and self.vocab_size < 264 + 8:
            raise ValueError(f"has vocab_size {self.vocab_size}; control symbols and byte fallback need 272. Raise it")
        return self


class DatasetConfig(Section):
    """A corpus in the tokens of a tokenizer, as binary shards."""

    corpus: Name
    """The text."""
    tokenizer: Name
    """What cuts it into tokens."""
    task: TaskName = "language_model"
    """What models learn from it. `language_model` reads the text alone; each other task needs pairs (`target` of a source) and
    sets template, figures, baseline and way of writing."""
    target_tokenizer: Name | None = None
    """Cuts the targets into tokens, for models with a vocabulary for each side; null: the same one."""
    template: Annotated[str, AfterValidator(_template)] | None = None
    """What decoder-only models read of a pair, such as `"{text}\\n\\n{target}"`; they learn to write the target alone. Null: the
    task's own."""
    max_source_tokens: Annotated[int, Field(ge=1)] = 512
    """A longer text is cut to so many tokens."""
    keep_source: KeepSide | None = None
    """Which end of a text that is cut stays. Null: the task's own, `end` for dialogue and question answering."""
    max_target_tokens: Annotated[int, Field(ge=1)] = 256
    """A pair with a longer target is left out of the shards: half an answer teaches to stop in mid-sentence."""
    shard_tokens: Annotated[int, Field(ge=1024)] = 100_000_000
    """Tokens a shard file at most."""

    @property
    def is_pairs(self) -> bool:
        """Whether the shards hold two sides."""
        return self.task != "language_model"

    def literals(self) -> dict[str, Any]:
        """What changes the shards: settings of pairs only where there are pairs, the task's presets written out."""
        found = super().literals()
        if not self.is_pairs:
            return {"corpus": self.corpus, "tokenizer": self.tokenizer, "shard_tokens": self.shard_tokens}
        return {**found, "template": self.pair_template, "keep_source": self.kept_side}

    @property
    def pair_template(self) -> str:
        """The template in force."""
        template = self.template or TASKS[self.task].template
        assert template is not None, f"{self.task} has no pairs"
        return template

    @property
    def kept_side(self) -> KeepSide:
        """Which end of a text that is cut stays."""
        return self.keep_source or TASKS[self.task].keep_source

    @model_validator(mode="after")
    def _pairs_or_not(self) -> DatasetConfig:
        if not self.is_pairs:
            for key in ("target_tokenizer", "template", "keep_source"):
                if getattr(self, key) is not None:
                    raise ValueError(f"has {key}, but its task is language_model, which has no targets. Set a task")
        if self.target_tokenizer is not None and self.template is not None:
            raise ValueError(
                "has a template and a target_tokenizer, but who reads both sides as one text needs one vocabulary. Keep one"
            )
        return self
