"""Decontamination: documents that share an n-gram of words with text that models are judged by.

In: the named text (a corpus's test split, or a source) and the clean documents that no rule rejected. Out: the table
`contaminated`, one row for each document that goes, with how many n-grams it shares and where one of them comes from
(Brown et al. 2020, arXiv:2005.14165, appendix C: 13 words, lower case, no punctuation). Two halves of a pair are looked at
each on their own. Nothing is missed: an n-gram is found by a hash of its words, at every position.

Evaluation text shorter than the n-gram is looked for whole. Below `min_whole_words` that would hit half of any corpus
("yes"), so there a document goes only if it holds those words and no others.

Trade-off: memory holds 20 bytes a word of the evaluation text; of the corpus, a batch at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.artifacts import Artifact
from pipeline.config.mixing import DecontaminateConfig
from pipeline.corpus.ngrams import BATCH_CHARACTERS, Words, hash_ngrams, hash_words, words_of
from pipeline.files import parquet_batches

CONTAMINATED = "contaminated"
SHOWN_CHARACTERS = 300
_ROWS = 256
_EVALUATION_COLUMNS = ("id", "source", "path", "index", "text", "target")
_FILTER_SLOTS_PER_NGRAM = 16

CONTAMINATED_SCHEMA = pa.schema(
    [
        pa.field("filename", pa.string(), nullable=False),
        pa.field("file_row_number", pa.int64(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("threshold", pa.float64(), nullable=False),
    ]
)

MARK = """
UPDATE judged SET rule = 'contaminated', rule_detail = found.detail, value = found.value, threshold = found.threshold
FROM contaminated AS found
WHERE judged.filename = found.filename AND judged.file_row_number = found.file_row_number
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """One text with the row it is of; a pair is two of them."""

    row: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What one document shares with the evaluation text."""

    row: int
    num_ngrams: int
    """Distinct ones."""
    is_whole: bool
    """An evaluation text shorter than the n-gram stands in it whole."""
    words: str
    """The first of them."""
    origin: str
    """The evaluation document that holds it."""


class _Known:
    """The n-grams of one length, to be looked up many at a time."""

    def __init__(self, hashes: np.ndarray, origins: np.ndarray) -> None:
        self._hashes, first = np.unique(hashes, return_index=True)
        self._origins = origins[first]
        self._shift = np.uint64(64 - max(10, (self._hashes.size * _FILTER_SLOTS_PER_NGRAM - 1).bit_length()))
        # a table of bytes turns nearly everything away before the binary search, which misses the cache at each step
        self._filter = np.zeros(1 << (64 - int(self._shift)), dtype=bool)
        self._filter[self._hashes >> self._shift] = True

    def find(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices of the hashes that are known, and the origin of each."""
        maybe = np.flatnonzero(self._filter[hashes >> self._shift])
        place = np.minimum(np.searchsorted(self._hashes, hashes[maybe]), self._hashes.size - 1)
        is_known = self._hashes[place] == hashes[maybe]
        return maybe[is_known], self._origins[place[is_known]]


class EvaluationText:
    """The n-grams of the text that models are judged by."""

    def __init__(self, against: Mapping[str, Sequence[Path]], config: DecontaminateConfig) -> None:
        """Reads the files of each named text; what one is called goes into the details of rejects."""
        self._config = config
        self._origins: list[str] = []
        collected: dict[tuple[int, bool], list[tuple[np.ndarray, np.ndarray]]] = {}
        for name, files in against.items():
            for texts in _evaluation_batches(name, files, self._origins):
                words = hash_words([text.text for text in texts])
                origins = np.array([text.row for text in texts], dtype=np.int64)
                for key, hashes, text in self._parts(words, len(texts)):
                    collected.setdefault(key, []).append((hashes, origins[text]))
        self._known = {
            key: _Known(np.concatenate([h for h, _ in parts]), np.concatenate([o for _, o in parts]))
            for key, parts in sorted(collected.items())
            if sum(hashes.size for hashes, _ in parts)
        }

    def _parts(self, words: Words, num_texts: int) -> Iterator[tuple[tuple[int, bool], np.ndarray, np.ndarray]]:
        """(length, nothing else may stand beside it), hashes and the text of each."""
        lengths = np.bincount(words.text, minlength=num_texts)
        for length in sorted({min(int(size), self._config.ngram) for size in lengths} - {0}):
            hashes, positions = hash_ngrams(words, length)
            text = words.text[positions]
            if length < self._config.ngram:
                whole = lengths[text] == length
                hashes, text = hashes[whole], text[whole]
            yield (length, length < min(self._config.min_whole_words, self._config.ngram)), hashes, text

    def find(self, texts: Sequence[Text]) -> list[Shared]:
        """What each row shares, rows that share nothing left out; in the order of the rows."""
        words = hash_words([text.text for text in texts])
        lengths = np.bincount(words.text, minlength=len(texts))
        rows = np.array([text.row for text in texts], dtype=np.int64)
        found: list[tuple[np.ndarray, ...]] = []
        for (length, alone), known in self._known.items():
            if alone and not (lengths == length).any():
                continue
            hashes, positions = hash_ngrams(words, length)
            if alone:
                whole = lengths[words.text[positions]] == length
                hashes, positions = hashes[whole], positions[whole]
            hits, origins = known.find(hashes)
            if hits.size:
                where = positions[hits]
                length_ = np.full(hits.size, length, dtype=np.int64)
                found.append((rows[words.text[where]], where, length_, origins, hashes[hits].view(np.int64)))
        if not found:
            return []
        row, where, length_, origins, hashes = (np.concatenate(column) for column in zip(*found, strict=True))
        order = np.lexsort((where, row))
        row, where, length_, origins, hashes = (c[order] for c in (row, where, length_, origins, hashes))
        distinct, counts = np.unique(np.unique(np.stack([row, hashes, length_]), axis=1)[0], return_counts=True)
        firsts = np.searchsorted(row, distinct)
        wholes = {int(value) for value in row[length_ < self._config.ngram]}
        first_words = np.searchsorted(words.text, np.arange(len(texts)))
        shared = []
        for number, count, first in zip(distinct.tolist(), counts.tolist(), firsts.tolist(), strict=True):
            text = int(words.text[where[first]])
            start = int(where[first] - first_words[text])
            shown = " ".join(words_of(texts[text].text)[start : start + int(length_[first])])
            origin = self._origins[int(origins[first])]
            shared.append(Shared(row=number, num_ngrams=count, is_whole=number in wholes, words=shown, origin=origin))
        return shared


def against_of(inputs: Mapping[str, Artifact]) -> dict[str, list[Path]]:
    """What each evaluation text is called, and its files: a corpus's test split, or all of a source."""
    files: dict[str, list[Path]] = {}
    for artifact in inputs.values():
        if artifact.ref.stage == "corpus":
            files[f"the test split of corpus/{artifact.ref.name}"] = [artifact.file("documents/test.parquet")]
        else:
            files[f"the source {artifact.ref.name}"] = artifact.files("documents/*.parquet")
    return files


def find_contaminated(
    evaluation: EvaluationText, files: Sequence[str], rejected: Mapping[str, Sequence[int]], config: DecontaminateConfig
) -> pa.Table:
    """Rows of CONTAMINATED_SCHEMA for the documents of `files` that share `min_shared` n-grams or a whole text.

    `rejected` names the rows of each file that need no look.
    """
    rows: list[dict[str, object]] = []
    for texts, places in _document_batches(files, rejected):
        for shared in evaluation.find(texts):
            if shared.num_ngrams < config.min_shared and not shared.is_whole:
                continue
            filename, number = places[shared.row]
            count = f"{shared.num_ngrams} n-grams" if shared.num_ngrams > 1 else "an n-gram"
            detail = f"shares {count} with {shared.origin}: {shared.words[:SHOWN_CHARACTERS]}"
            threshold = 1.0 if shared.is_whole else float(config.min_shared)
            row = (filename, number, detail, float(shared.num_ngrams), threshold)
            rows.append(dict(zip(CONTAMINATED_SCHEMA.names, row, strict=True)))
    return pa.Table.from_pylist(rows, CONTAMINATED_SCHEMA)


def _evaluation_batches(name: str, files: Sequence[Path], origins: list[str]) -> Iterator[list[Text]]:
    """Texts whose row is their place in `origins`, which grows by one for each document."""
    texts: list[Text] = []
    size = 0
    for path in files:
        for batch in parquet_batches(path, columns=_EVALUATION_COLUMNS, num_rows=_ROWS):
            for row in batch.to_pylist():
                place = f"{row['source']}:{row['path']}:{row['index']}"
                for text in (row["text"], row["target"]):
                    if text:
                        texts.append(Text(row=len(origins), text=text))
                        size += len(text)
                origins.append(f"{name}, document {row['id']} ({place})")
                if size >= BATCH_CHARACTERS:
                    yield texts
                    texts, size = [], 0
    if texts:
        yield texts


def _document_batches(
    files: Sequence[str], rejected: Mapping[str, Sequence[int]]
) -> Iterator[tuple[list[Text], list[tuple[str, int]]]]:
    """Texts whose row is their place in the list beside them: file and row number."""
    texts: list[Text] = []
    places: list[tuple[str, int]] = []
    size = 0
    for name in files:
        skipped = set(rejected.get(name, ()))
        number = 0
        for batch in parquet_batches(Path(name), columns=["text", "target"], num_rows=_ROWS):
            for text, target in zip(batch["text"].to_pylist(), batch["target"].to_pylist(), strict=True):
                if number not in skipped:
                    texts += [Text(row=len(places), text=half) for half in (text, target) if half]
                    places.append((name, number))
                    size += len(text) + len(target or "")
                number += 1
                if size >= BATCH_CHARACTERS:
                    yield texts, places
                    texts, places, size = [], [], 0
    if texts:
        yield texts, places
