"""Signals of the lines of a batch of texts: Gopher's lines and paragraphs, C4's line rules and FineWeb's ratios.

C4 also removes lines. Here the text is never changed: `c4_removed_line_fraction` says what C4 would remove, so that a
rule can judge it and a threshold change needs no second cleaning. Sentences are counted by their closing punctuation,
not by a trained splitter. A fraction of nothing is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.cleaning.signals_batch import (
    Booleans,
    Floats,
    Integers,
    TextBatch,
    bytes_of,
    flags_of,
    lengths_of,
    matches,
    sort_keys,
)

SENTENCE_TERMINALS = frozenset(
    "!.?\u0589\u061d\u061e\u061f\u06d4\u0700\u0701\u0702\u07f9\u0837\u0839\u083d\u083e\u0964\u0965\u104a"
    "\u104b\u1362\u1367\u1368\u166e\u1735\u1736\u17d4\u17d5\u17d6\u17d9\u17da\u1803\u1809\u1944\u1945"
    "\u1aa8\u1aa9\u1aaa\u1aab\u1b5a\u1b5b\u1b5e\u1b5f\u1b7d\u1b7e\u1c3b\u1c3c\u1c7e\u1c7f\u203c\u203d"
    "\u2047\u2048\u2049\u2e2e\u2e3c\u2e53\u2e54\u3002\ua4ff\ua60e\ua60f\ua6f3\ua6f7\ua876\ua877\ua8ce"
    "\ua8cf\ua92f\ua9c8\ua9c9\uaa5d\uaa5e\uaa5f\uaaf0\uaaf1\uabeb\ufe52\ufe56\ufe57\uff01\uff0e\uff1f"
    "\uff61\U00010a56\U00010a57\U00010f55\U00010f56\U00010f57\U00010f58\U00010f59\U00010f86\U00010f87"
    "\U00010f88\U00010f89\U00011047\U00011048\U000110be\U000110bf\U000110c0\U000110c1\U00011141\U00011142"
    "\U00011143\U000111c5\U000111c6\U000111cd\U000111de\U000111df\U00011238\U00011239\U0001123b\U0001123c"
    "\U000112a9\U0001144b\U0001144c\U000115c2\U000115c3\U000115c9\U000115ca\U000115cb\U000115cc\U000115cd"
    "\U000115ce\U000115cf\U000115d0\U000115d1\U000115d2\U000115d3\U000115d4\U000115d5\U000115d6\U000115d7"
    "\U00011641\U00011642\U0001173c\U0001173d\U0001173e\U00011944\U00011946\U00011a42\U00011a43\U00011a9b"
    "\U00011a9c\U00011c41\U00011c42\U00011ef7\U00011ef8\U00011f43\U00011f44\U00016a6e\U00016a6f\U00016af5"
    "\U00016b37\U00016b38\U00016b44\U00016e98\U0001bc9f\U0001da88"
)
"""Characters that end a sentence in any script; the set FineWeb's filter uses."""

_ENDS, _CLOSERS = b".?!", b"\"')]"
_CLOSED_SENTENCE = r"[.?!][\"')\]]+$"
"""Of a word: what closes a sentence is followed by white space or by the end of the line."""
_LOREM, _SCRIPT = "lorem ipsum", "javascript"
_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_PHRASES = "|".join((_LOREM, _SCRIPT, *_POLICIES))
_BULLETS = ("-", "•")
_ELLIPSES = ("...", "…")
SHORT_LINE = 30
LONG_WORD = 1000
MIN_LINE_WORDS = 3


def measure_lines(batch: TextBatch) -> dict[str, NDArray[Any]]:
    """Columns by name; each has one value per text.

    Gopher splits at runs of line ends, FineWeb leaves out blank lines and divides by the characters without line ends:
    in cleaned texts both see the same lines. Bullets and ellipses are per line of any kind.
    """
    num_characters = np.maximum(batch.num_characters, 1)
    newlines = np.maximum(batch.num_every_line - 1, 0)
    num_every = np.maximum(batch.num_every_line, 1)
    num_filled = np.maximum(batch.per_text(batch.line_documents), 1)
    paragraph_fraction, paragraph_characters = _repeats(batch, *_paragraphs(batch))
    line_fraction, line_characters = _repeats(batch, batch.lines, batch.line_documents)
    stripped_fraction, _ = _repeats(batch, batch.stripped_lines, batch.line_documents)

    def count(flags: Booleans) -> Floats:
        return batch.per_text(batch.line_documents, flags)

    last = pc.utf8_slice_codeunits(batch.lines, -1)
    return {
        "duplicate_line_fraction": stripped_fraction,
        "paragraph_repeat_fraction": paragraph_fraction,
        "paragraph_repeat_character_fraction": paragraph_characters / num_characters,
        "line_repeat_fraction": line_fraction,
        "line_repeat_character_fraction": line_characters / num_characters,
        "bullet_line_fraction": count(_any(pc.starts_with, batch.stripped_lines, _BULLETS)) / num_every,
        "ellipsis_line_fraction": count(_any(pc.ends_with, batch.lines, _ELLIPSES)) / num_every,
        "terminal_line_fraction": count(flags_of(pc.is_in(last, pa.array(sorted(SENTENCE_TERMINALS))))) / num_filled,
        "short_line_fraction": count(batch.line_lengths <= SHORT_LINE) / num_filled,
        "filled_line_repeat_character_fraction": line_characters / np.maximum(batch.num_characters - newlines, 1),
        "newlines_per_word": newlines / np.maximum(batch.num_tokens, 1),
        **_c4(batch),
    }


def _any(ask: Callable[..., pa.BooleanArray], strings: pa.StringArray, patterns: Sequence[str]) -> Booleans:
    """Whether one of the patterns is true of each string."""
    answers: Booleans = np.logical_or.reduce([flags_of(ask(strings, pattern)) for pattern in patterns])
    return answers


def _paragraphs(batch: TextBatch) -> tuple[pa.StringArray, Integers]:
    """What stands between blank lines, and the text of each."""
    split = pc.split_pattern(batch.column, "\n\n")
    # three line ends in a row leave one at the beginning of the next paragraph, four an empty one
    pieces = pc.utf8_ltrim(split.flatten(), "\n")
    filled = pc.greater(pc.binary_length(pieces), 0)
    documents = np.repeat(np.arange(len(batch.texts)), pc.list_value_length(split).to_numpy())
    return pieces.filter(filled), documents[flags_of(filled)]


def _repeats(batch: TextBatch, elements: pa.StringArray, documents: Integers) -> tuple[Floats, Floats]:
    """Of each text: the fraction of elements that came before in it, and their characters."""
    encoded = elements.dictionary_encode()
    codes = encoded.indices.to_numpy().astype(np.int64)
    keys = documents * max(len(encoded.dictionary), 1) + codes
    order, ordered = sort_keys(keys)
    again = np.zeros(len(keys), dtype=bool)
    again[order[1:]] = np.diff(ordered) == 0
    lengths = lengths_of(encoded.dictionary)[codes[again]]
    repeated = batch.per_text(documents[again])
    return repeated / np.maximum(batch.per_text(documents), 1), batch.per_text(documents[again], lengths)


def _c4(batch: TextBatch) -> dict[str, NDArray[Any]]:
    """C4 without the terminal punctuation rule, as FineWeb runs it; a line removed earlier cannot condemn its text."""
    num_lines = len(batch.lines)
    read = np.bincount(batch.word_lines, minlength=num_lines) >= MIN_LINE_WORDS
    read[batch.word_lines[batch.word_lengths > LONG_WORD]] = False
    lorem, script, policy = _phrases(batch)
    lorem_lines = read & lorem
    read &= ~script
    brace_lines = read & _braces(batch)
    kept = read & ~policy
    ends = _ends_sentence(batch.vocabulary)[batch.words]
    sentences = np.maximum(np.bincount(batch.word_lines[ends], minlength=num_lines), 1)

    def count(weights: NDArray[Any]) -> Floats:
        return batch.per_text(batch.line_documents, weights)

    num_every = batch.num_every_line
    return {
        "c4_removed_line_fraction": (num_every - count(kept)) / np.maximum(num_every, 1),
        "c4_sentences": count(sentences * kept).astype(np.int64),
        "c4_curly_bracket_lines": count(brace_lines).astype(np.int64),
        "c4_lorem_ipsum_lines": count(lorem_lines).astype(np.int64),
    }


def _ends_sentence(vocabulary: pa.StringArray) -> Booleans:
    """[distinct words] whether each ends in a full stop, a question mark or an exclamation mark, maybe within quotes."""
    data, edges = bytes_of(vocabulary)
    last = data[edges[1:] - 1]
    closed = matches(vocabulary, np.isin(last, list(_CLOSERS)), _CLOSED_SENTENCE)
    ends: Booleans = np.isin(last, list(_ENDS)) | closed
    return ends


def _braces(batch: TextBatch) -> Booleans:
    """[lines] whether each holds an opening brace."""
    data, edges = bytes_of(batch.lines)
    found = np.zeros(len(batch.lines), dtype=bool)
    found[np.searchsorted(edges, np.flatnonzero(data == ord("{")), side="right") - 1] = True
    return found


def _phrases(batch: TextBatch) -> tuple[Booleans, Booleans, Booleans]:
    """[lines] whether each holds "lorem ipsum", "javascript" and a policy's words, in letters of any case."""
    lorem, script, policy = (np.zeros(len(batch.lines), dtype=bool) for _ in range(3))
    texts = flags_of(pc.match_substring_regex(batch.column, _PHRASES, ignore_case=True))
    lines = np.flatnonzero(texts[batch.line_documents])
    for index, line in zip(lines.tolist(), batch.lines.take(pa.array(lines)).to_pylist(), strict=True):
        lower = line.lower()
        lorem[index], script[index] = _LOREM in lower, _SCRIPT in lower
        policy[index] = any(words in lower for words in _POLICIES)
    return lorem, script, policy
