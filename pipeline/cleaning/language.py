"""Which language a document is in, offline: by script where the script says it, else by py3langid.

In: cleaned texts. Out: an ISO 639-1 code (or `und`) and a confidence from 0 to 1. Three short windows are looked at
first, and more of the text only where they leave a doubt, so the cost per document is bounded. Classical Chinese is far
from the model's training text, so Han characters without kana are Chinese by rule; kana are Japanese, Hangul is Korean.
Macedonian, which the model takes for Bulgarian, is told by letters that only it has. The model's labels for creoles and
dialects without a two-letter code are left out: it gives them to program code.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from pipeline.cleaning.language_model import classify

SAMPLE_CHARACTERS = 2000
WINDOW_CHARACTERS = 120
SURE = 0.9
"""Confidence at which the windows decide; of 4151 pages of manuals none got another language from more text."""
MIN_LETTERS = 20
"""Of an alphabet; below it a guess is a coin toss."""
MIN_IDEOGRAPHS = 4
UNKNOWN = "und"

_LETTER = re.compile(r"[^\W\d_]")
_HAN_RANGES = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA_RANGES = "\u3041-\u3096\u30a1-\u30fa\u31f0-\u31ff\uff66-\uff9d"
_HANGUL_RANGES = "\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3"
_HAN, _KANA, _HANGUL, _EAST_ASIAN = (
    re.compile(f"[{ranges}]")
    for ranges in (_HAN_RANGES, _KANA_RANGES, _HANGUL_RANGES, _HAN_RANGES + _KANA_RANGES + _HANGUL_RANGES)
)
_CYRILLIC_NEIGHBOURS = ("bg", "sr", "ru", "mk")
"""What the model takes Macedonian for."""
_MACEDONIAN = re.compile("[ЃѓЌќЅѕ]")
_NOT_MACEDONIAN = re.compile("[ЂђЋћЪъЩщЬьЫыЙй]")
"""Letters of its neighbours' alphabets that its own has not."""


def identify_languages(texts: Sequence[str]) -> list[tuple[str, float]]:
    """Code and confidence of each.

    ["The ship sailed at dawn, and nobody waved.", "秦川雄帝宅，函谷壯皇居。"] -> [("en", ...), ("zh", 1.0)]
    """
    found: list[tuple[str, float]] = [(UNKNOWN, 0.0)] * len(texts)
    asked: list[int] = []
    for index, text in enumerate(texts):
        sample = text[:SAMPLE_CHARACTERS]
        by_script = _by_script(sample) if not sample.isascii() and _EAST_ASIAN.search(sample) else None
        if by_script is not None:
            found[index] = by_script
        elif _has_letters(sample, MIN_LETTERS):
            asked.append(index)
    for index, verdict in zip(asked, classify([_windows(texts[index]) for index in asked]), strict=True):
        found[index] = verdict
    doubtful = [index for index in asked if found[index][1] < SURE]
    samples = [texts[index][:SAMPLE_CHARACTERS] for index in doubtful]
    for index, verdict in zip(doubtful, classify(samples), strict=True):
        found[index] = verdict
    for index in asked:
        language, confidence = found[index]
        sample = texts[index][:SAMPLE_CHARACTERS]
        if language in _CYRILLIC_NEIGHBOURS and _MACEDONIAN.search(sample) and not _NOT_MACEDONIAN.search(sample):
            language, confidence = "mk", 1.0
        found[index] = language, min(max(confidence, 0.0), 1.0)
    return found


def _windows(text: str) -> str:
    """Pieces of the beginning, the middle and the end; all of a short text."""
    if len(text) <= 4 * WINDOW_CHARACTERS:
        return text
    middle = (len(text) - WINDOW_CHARACTERS) // 2
    return " ".join([text[:WINDOW_CHARACTERS], text[middle : middle + WINDOW_CHARACTERS], text[-WINDOW_CHARACTERS:]])


def _by_script(sample: str) -> tuple[str, float] | None:
    """The language where most letters are of an East Asian script; its share of the letters is the confidence."""
    num_letters = len(_LETTER.findall(sample))
    num_han, num_kana, num_hangul = (len(script.findall(sample)) for script in (_HAN, _KANA, _HANGUL))
    num_east_asian = num_han + num_kana + num_hangul
    if num_east_asian < MIN_IDEOGRAPHS or num_east_asian * 2 < num_letters:
        return None
    confidence = min(num_east_asian / num_letters, 1.0) if num_letters else 1.0
    if num_hangul * 2 >= num_east_asian:
        return "ko", confidence
    return ("ja" if num_kana * 20 >= num_east_asian else "zh"), confidence


def _has_letters(sample: str, at_least: int) -> bool:
    return len(list(itertools.islice(_LETTER.finditer(sample), at_least))) == at_least
