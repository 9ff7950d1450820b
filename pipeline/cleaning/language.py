"""Which language a document is in, offline: by script where the script says it, else by py3langid.

In: cleaned text. Out: an ISO 639-1 code (or `und`) and a confidence from 0 to 1. Only a sample from the start is looked
at, which keeps the cost per document constant. Classical Chinese is far from the model's training text, so Han
characters without kana are Chinese by rule; kana are Japanese, Hangul is Korean. The model's labels for creoles and
dialects without a two-letter code are left out: it gives them to program code.
"""

from __future__ import annotations

import itertools
import re
from functools import lru_cache
from typing import Any

SAMPLE_CHARACTERS = 2000
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


def identify_language(text: str) -> tuple[str, float]:
    """Code and confidence.

    "The ship sailed at dawn, and nobody waved." -> ("en", ...); "秦川雄帝宅，函谷壯皇居。" -> ("zh", 1.0)
    """
    sample = text[:SAMPLE_CHARACTERS]
    if not sample.isascii() and _EAST_ASIAN.search(sample):
        by_script = _by_script(sample)
        if by_script is not None:
            return by_script
    if not _has_letters(sample, MIN_LETTERS):
        return UNKNOWN, 0.0
    language, confidence = _identifier().classify(sample)
    return str(language), min(max(float(confidence), 0.0), 1.0)


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


@lru_cache(maxsize=1)
def _identifier() -> Any:
    """py3langid with its own model, loaded once a process."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([label for label in identifier.labels if len(label) == 2])
    return identifier
