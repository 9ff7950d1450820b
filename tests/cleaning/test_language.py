"""Languages are told from real text, Chinese by its script, and too little text is `und`."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from pipeline.cleaning.language import identify_languages
from pipeline.cleaning.language_model import classify


def _identify(text: str) -> tuple[str, float]:
    return identify_languages([text])[0]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("It is a truth universally acknowledged, that a single man must be in want of a wife.", "en"),
        ("Alle Menschen sind frei und gleich an Würde und Rechten geboren.", "de"),
        ("Tous les êtres humains naissent libres et égaux en dignité et en droits.", "fr"),
        ("Все люди рождаются свободными и равными в своём достоинстве и правах.", "ru"),
        ("秦川雄帝宅，函谷壯皇居。", "zh"),
        ("春眠不觉晓", "zh"),
        ("すべての人間は、生まれながらにして自由であり", "ja"),
        ("모든 인간은 태어날 때부터 자유로우며", "ko"),
        ("ok", "und"),
        ("", "und"),
        ("12345 67890 --- 2024-01-01 ***", "und"),
        ("山", "und"),
    ],
)
def test_short_passages(text: str, language: str) -> None:
    assert _identify(text)[0] == language


def test_an_english_text_that_quotes_chinese_is_english() -> None:
    text = "The poem begins with the words 秦川雄帝宅, which the commentators explain at length in their notes."
    assert _identify(text)[0] == "en"


def test_program_code_is_no_creole() -> None:
    code = "for i in range(10):\n    print(i, end='')\n    total += values[i] * weights.get(i, 0)\n" * 3
    assert len(_identify(code)[0]) in (2, 3)
    assert _identify(code)[0] != "pcm"


def test_confidence_is_a_probability() -> None:
    for text in ("Hello there, how are you doing today my friend?", "xq zzt brr klmn wvut hjkl qwrt pfff", "漢字だけ"):
        assert 0 <= _identify(text)[1] <= 1


def test_declarations_of_human_rights(corpora: Path) -> None:
    files = {
        "English-Latin1": "en",
        "German_Deutsch-Latin1": "de",
        "French_Francais-Latin1": "fr",
        "Spanish-Latin1": "es",
        "Italian-Latin1": "it",
        "Swedish_Svenska-Latin1": "sv",
        "Finnish_Suomi-Latin1": "fi",
        "Russian-UTF8": "ru",
        "Greek_Ellinika-UTF8": "el",
        "Hindi-UTF8": "hi",
        "Chinese_Mandarin-UTF8": "zh",
        "Japanese_Nihongo-UTF8": "ja",
        "Korean_Hankuko-UTF8": "ko",
    }
    right = total = 0
    with zipfile.ZipFile(corpora / "udhr.zip") as archive:
        for name, language in files.items():
            text = archive.read(f"udhr/{name}").decode("utf-8" if name.endswith("UTF8") else "latin-1", "ignore")
            assert _identify(text)[0] == language
            paragraphs = [line for line in text.splitlines() if len(line) > 60]
            right += sum(_identify(paragraph)[0] == language for paragraph in paragraphs)
            total += len(paragraphs)
    assert right / total > 0.97


def test_every_tang_poem_is_chinese(corpora: Path) -> None:
    poems = json.loads((corpora / "tang_poems" / "poet.tang.0.json").read_text())
    texts = ["\n".join(poem["paragraphs"]) for poem in poems if poem["paragraphs"]]
    assert {_identify(text)[0] for text in texts if len(text) > 10} == {"zh"}


def test_the_model_is_loaded_only_when_needed() -> None:
    code = "import sys, pipeline.cleaning.build; print('py3langid' in sys.modules, 'ftfy' in sys.modules)"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_many_at_once_as_the_library_says_one_by_one(corpora: Path) -> None:
    """Beginnings of 100 declarations, whole and cut, an empty text and one in capitals."""
    with zipfile.ZipFile(corpora / "udhr.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith("UTF8")][:100]
        texts = [archive.read(name).decode("utf-8", "ignore")[: 50 + 7 * number] for number, name in enumerate(names)]
    texts += ["", "12345", "ALL HUMAN BEINGS ARE BORN FREE AND EQUAL IN DIGNITY AND RIGHTS"]
    library = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    library.set_languages([label for label in library.labels if len(label) == 2])
    for (language, probability), text in zip(classify(texts), texts, strict=True):
        expected, expected_probability = library.classify(text)
        assert language == expected
        assert probability == pytest.approx(expected_probability, abs=2e-3)  # the library sums in half precision
