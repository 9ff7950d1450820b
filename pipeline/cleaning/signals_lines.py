"""Signals of the lines of one text: Gopher's lines and paragraphs, C4's line rules and FineWeb's ratios.

C4 also removes lines. Here the text is never changed: `c4_removed_line_fraction` says what C4 would remove, so that a
rule can judge it and a threshold change needs no second cleaning. Sentences are counted by their closing punctuation,
not by a trained splitter. A fraction of nothing is 0.
"""

from __future__ import annotations

import re

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

_PARAGRAPHS = re.compile(r"\n{2,}")
_LINES = re.compile(r"\n+")
_SENTENCE = re.compile(r"[.?!]+[\"')\]]*(?=\s|$)")
_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_BULLETS = ("-", "•")
_ELLIPSES = ("...", "…")
SHORT_LINE = 30
LONG_WORD = 1000


def measure_lines(text: str) -> dict[str, float]:
    """Columns by name.

    Gopher splits at runs of line ends, FineWeb leaves out blank lines and divides by the characters without line ends.
    """
    num_characters = max(len(text), 1)
    paragraphs, paragraph_characters = _repeats(_PARAGRAPHS.split(text.strip()))
    lines, line_characters = _repeats(_LINES.split(text))
    every = text.splitlines()
    filled = [line for line in text.split("\n") if line.strip()]
    num_filled = max(len(filled), 1)
    num_every = max(len(every), 1)
    return {
        "paragraph_repeat_fraction": paragraphs,
        "paragraph_repeat_character_fraction": paragraph_characters / num_characters,
        "line_repeat_fraction": lines,
        "line_repeat_character_fraction": line_characters / num_characters,
        "bullet_line_fraction": sum(line.lstrip().startswith(_BULLETS) for line in every) / num_every,
        "ellipsis_line_fraction": sum(line.rstrip().endswith(_ELLIPSES) for line in every) / num_every,
        "terminal_line_fraction": sum(line[-1] in SENTENCE_TERMINALS for line in filled) / num_filled,
        "short_line_fraction": sum(len(line) <= SHORT_LINE for line in filled) / num_filled,
        "filled_line_repeat_character_fraction": _repeats(filled)[1] / max(len(text) - text.count("\n"), 1),
        "newlines_per_word": text.count("\n") / max(len(text.split()), 1),
        **_c4(every),
    }


def _repeats(elements: list[str]) -> tuple[float, int]:
    """The fraction of elements that came before, and their characters."""
    distinct = set(elements)
    if not elements or len(distinct) == len(elements):
        return 0.0, 0
    repeated = sum(map(len, elements)) - sum(map(len, distinct))
    return 1 - len(distinct) / len(elements), repeated


def _c4(lines: list[str]) -> dict[str, float]:
    """C4 without the terminal punctuation rule, as FineWeb runs it; a line removed earlier cannot condemn its text."""
    kept = sentences = braces = lorem = 0
    for line in map(str.strip, lines):
        words = line.split(None, 3)
        if len(words) < 3 or (len(line) > LONG_WORD and max(map(len, line.split())) > LONG_WORD):
            continue
        lower = line.lower()
        lorem += "lorem ipsum" in lower
        if "javascript" in lower:
            continue
        braces += "{" in line
        if any(policy in lower for policy in _POLICIES):
            continue
        kept += 1
        sentences += max(len(_SENTENCE.findall(line)), 1)
    return {
        "c4_removed_line_fraction": 1 - kept / len(lines) if lines else 0.0,
        "c4_sentences": sentences,
        "c4_curly_bracket_lines": braces,
        "c4_lorem_ipsum_lines": lorem,
    }
