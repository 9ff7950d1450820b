"""What every source takes, what those that are files take, and the readers beside text, JSON and Parquet."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from pipeline.config.sections import PathText, Section


def _without_line_end(text: str) -> str:
    if text in '\r\n"':
        raise ValueError(f"is {text!r}, which ends or quotes a row. Write another character")
    return text


Column = Annotated[str, StringConstraints(min_length=1)] | Annotated[int, Field(ge=0)]
"""A column by its name in the header, or by its number from 0."""

OneCharacter = Annotated[str, StringConstraints(min_length=1, max_length=1)]


PiiKind = Literal["email", "ip", "iban", "chinese_id", "card", "chinese_mobile", "phone"]


class Source(Section):
    """What every source takes."""

    redact: bool | Annotated[tuple[PiiKind, ...], Field(min_length=1)] = False
    """Personal data that cleaning replaces by placeholders such as `<EMAIL>`: `true` for every kind, or a list of them."""

    split: Literal["train", "validation", "test"] | None = None
    """All documents are of this split, as those of a published test set; what equals a held-out one elsewhere is rejected
    (`leakage`), and from the other sources no such split is drawn. Null: splits are drawn by hash."""

    def literals(self) -> dict[str, Any]:
        """Those of the raw documents, which redaction and splits leave as they are."""
        return {key: value for key, value in super().literals().items() if key not in ("redact", "split")}

    def cleaning_literals(self) -> dict[str, Any]:
        """The settings that change the clean documents and not the raw ones; each is left out where it is off."""
        kinds = self.kinds_to_redact()
        return {"redact": list(kinds)} if kinds else {}

    def kinds_to_redact(self) -> tuple[str, ...]:
        """Sorted, so that the order in the file changes nothing."""
        if isinstance(self.redact, bool):
            return tuple(sorted(get_args(PiiKind))) if self.redact else ()
        return tuple(sorted(set(self.redact)))


class FileSource(Source):
    """What every source that is made of files takes."""

    not_in_fingerprint: ClassVar[frozenset[str]] = frozenset({"path"})

    path: PathText | Annotated[tuple[PathText, ...], Field(min_length=1)]
    """File, folder, glob or address such as `https://host/a.jsonl.gz` (or a list of them), relative to the project
    file. A folder means every file below it; `.zip` and `.tar` archives are read as the files they hold."""
    members: Annotated[str, StringConstraints(min_length=1)] | None = None
    """Glob of the files wanted out of archives, such as `**/*.txt`; null takes all of them."""


class CsvSource(FileSource):
    """CSV and TSV: one row is one document; quoted fields may hold line ends (RFC 4180)."""

    reader: Literal["csv"]
    """Names this kind of source."""
    text: Column | tuple[Column, ...] = "text"
    """The column that holds the text, by name or by number from 0; or several, joined."""
    title: Column | None = None
    """The column that holds the title; kept beside the text, not in it."""
    target: Column | None = None
    """The column that holds the other half of a pair, such as a translation."""
    group: Column | None = None
    """The column whose equal values stay in one split, such as the context of several questions."""
    join: str = "\n"
    """Put between several text columns."""
    header: bool = True
    """The first row names the columns."""
    delimiter: Annotated[OneCharacter, AfterValidator(_without_line_end)] | Literal["detect"] = "detect"
    """One character; `detect` takes the one of comma, tab, semicolon and bar that divides the first rows alike."""
    quote: OneCharacter | None = '"'
    """The character that encloses fields; null where quotes are plain characters, as in most TSV."""
    encoding: Literal["detect"] | str = "detect"
    """`detect` tries UTF-8 first and refuses what it cannot tell; or a Python codec name."""

    @model_validator(mode="after")
    def _columns_by_number(self) -> CsvSource:
        texts = self.text if isinstance(self.text, tuple) else (self.text,)
        if not texts:
            raise ValueError("has no text column. Name one")
        named = [column for column in (*texts, self.title, self.target, self.group) if isinstance(column, str)]
        if not self.header and named:
            raise ValueError(f"has header: false and names the column {named[0]!r}. Give its number, from 0")
        if self.quote is not None and self.quote == self.delimiter:
            raise ValueError("has the same character as delimiter and quote. Change one")
        return self


class WikipediaSource(FileSource):
    """MediaWiki XML dumps (`pages-articles`), plain, `.bz2`, `.gz`, `.xz` or `.zst`: one page is one document."""

    reader: Literal["wikipedia"]
    """Names this kind of source."""
    namespaces: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    """Numbers of the namespaces to keep; 0 holds the articles. Other pages are rejects, redirects always."""


class MarkdownSource(FileSource):
    """Markdown files: front matter is taken off, and its title kept; the text stays Markdown."""

    reader: Literal["markdown"]
    """Names this kind of source."""
    split_level: Annotated[int, Field(ge=1, le=6)] | None = None
    """A heading of this level or above opens a document of its own; null keeps a file whole."""
    code: Literal["keep", "drop"] = "keep"
    """What becomes of fenced code blocks."""
    encoding: Literal["detect"] | str = "detect"
    """`detect` tries UTF-8 first and refuses what it cannot tell; or a Python codec name."""
    min_document_characters: Annotated[int, Field(ge=0)] = 0
    """A shorter piece is a reject with the reason `too_short`."""


class SquadSource(FileSource):
    """Question answering in SQuAD's JSON: `data[].paragraphs[]` with `context` and `qas`."""

    reader: Literal["squad"]
    """Names this kind of source."""
    documents: Literal["contexts", "contexts_and_questions", "pairs"] = "contexts"
    """`contexts`: a paragraph each. `contexts_and_questions`: each followed by its questions and first answers, a line
    each. `pairs`: a question with each of its different answers, `text` its context and question, `target` the answer; what a
    model answers is judged by the nearest of them."""


class ParallelSource(FileSource):
    """Two aligned files: line n of one and line n of the other are a pair. Pairs in two columns or fields of one file
    are read by `csv`, `json` or `parquet` with `target`."""

    not_in_fingerprint: ClassVar[frozenset[str]] = frozenset({"path", "target_path"})

    reader: Literal["parallel"]
    """Names this kind of source."""
    target_path: PathText | Annotated[tuple[PathText, ...], Field(min_length=1)]
    """The other halves, given like `path`; as many files, matched in the order of their names."""
    encoding: Literal["detect"] | str = "detect"
    """Of both; `detect` tries UTF-8 first and refuses what it cannot tell; or a Python codec name."""

    @model_validator(mode="after")
    def _no_archives(self) -> ParallelSource:
        if self.members is not None:
            raise ValueError("has members, but aligned files are not read out of archives. Remove it")
        return self


class DialogueSource(FileSource):
    """Conversations in JSON: each turn that follows others is a pair, `text` the turns before it and `target` the turn."""

    reader: Literal["dialogue"]
    """Names this kind of source."""
    turns: Annotated[str, StringConstraints(min_length=1)] = "turns"
    """The field that holds the turns: a list of texts, of speakers with a text (`["USER", "Hi."]`) or of objects, or one text
    with a turn a line. `a.b` is `b` within `a`."""
    text: str = "text"
    """Of turns that are objects: the field that holds what is said."""
    speaker: str | None = None
    """Of turns that are objects: the field that names who says it."""
    max_turns: Annotated[int, Field(ge=1)] | None = None
    """Turns before, at most; null takes all of them."""
    speakers: tuple[str, ...] = ()
    """Whose turns become pairs, such as `[SYSTEM]`; empty takes everybody's."""
