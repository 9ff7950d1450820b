"""Words and marks as the splitters find them that FineWeb-2's thresholds assume, and the table that says which."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cleaning.language import identify_languages
from pipeline.cleaning.segmentation import pieces_of
from pipeline.cleaning.signals import measure
from pipeline.config.fineweb2 import THRESHOLDS, fineweb2


@pytest.mark.parametrize(
    ("language", "word", "parts"),
    [
        ("cs", "aa-bb", "aa - bb"),
        ("cs", "aa/bb", "aa / bb"),
        ("cs", "aa:bb", "aa : bb"),
        ("cs", "aa).", "aa ) ."),
        ("cs", "aa?!", "aa ? !"),
        ("cs", "aa...", "aa ..."),
        ("cs", "„aa“", "„ aa “"),
        ("cs", "[1]", "[ 1 ]"),
        ("cs", "1.", "1 ."),
        ("cs", "1-2", "1-2"),
        ("cs", "1,5", "1,5"),
        ("cs", "A.", "A."),
        ("cs", "USA.", "USA ."),
        ("cs", "--opt", "--opt"),
        ("cs", "aa_bb", "aa_bb"),
        ("cs", "#aa", "# aa"),
        ("cs", "€5", "€ 5"),
        ("cs", "a@b.cz", "a@b.cz"),
        ("cs", "http://aa.bb/c", "http://aa.bb/c"),
        ("de", "aa-bb", "aa-bb"),
        ("de", "aa/bb", "aa / bb"),
        ("de", "1.", "1."),
        ("de", "aa–bb", "aa–bb"),
        ("fi", "aa:bb", "aa:bb"),
        ("fr", "aa'bb", "aa' bb"),
        ("fr", "l’aa", "l’ aa"),
        ("it", "aa'bb", "aa' bb"),
        ("hu", "aa/bb", "aa/bb"),
        ("nl", "aa/bb", "aa/bb"),
        ("pl", "aa-bb", "aa - bb"),
        ("es", "aa-bb", "aa-bb"),
        ("uk", "аа-бб", "аа - бб"),
    ],
)
def test_words_fall_apart_as_in_spacy(language: str, word: str, parts: str) -> None:
    """What spaCy 3.8.18's blank pipelines give; `1-2`, which some part there, stays whole here."""
    assert pieces_of(word, fineweb2()[language].marks) == parts.split(" ")


@given(st.text(st.sampled_from("ab1A.,-/:'’„“()%…"), max_size=12), st.sampled_from(["", "-/:.", "/:'."]))
def test_no_character_is_lost(word: str, marks: str) -> None:
    pieces = pieces_of(word, marks)
    assert "".join(pieces) == word
    assert all(pieces)


def test_german_words_and_marks_counted_by_hand() -> None:
    """ "Der Mann, der (am 3. Mai) kam," has 7 words; `3.` keeps its dot, and 2 commas and 2 brackets stand apart."""
    columns = measure(["Der Mann, der (am 3. Mai) kam,\ndas", "The man, who came,", "L'eau, d'un"], ["de", "en", "fr"])
    assert columns["num_words"].tolist() == [8, 4, 2]
    assert columns["num_word_tokens"].tolist() == [8, 4, 4]
    assert columns["alphabetic_word_fraction"] == pytest.approx([7 / 12, 1, 4 / 5])
    assert columns["mean_word_length"] == pytest.approx([(3 + 4 + 3 + 2 + 2 + 3 + 3 + 3) / 8, 15 / 4, 9 / 4])
    assert columns["newlines_per_word"] == pytest.approx([1 / 12, 0, 0])
    assert columns["stop_words"].tolist() == [2, 0, 2]  # der, das; l' is one of French, and un


@given(
    st.lists(st.tuples(st.sampled_from(["en", "de", "fr", "cs", "und"]), st.text("ab. ,'-\n", max_size=30)), max_size=6)
)
def test_a_text_has_the_same_signals_alone_and_beside_other_languages(rows: list[tuple[str, str]]) -> None:
    texts = ["\n".join(line.strip() for line in text.strip().split("\n")) for _, text in rows]
    together = measure(texts, [language for language, _ in rows])
    for index, ((language, _), text) in enumerate(zip(rows, texts, strict=True)):
        for name, values in measure([text], [language]).items():
            assert np.array_equal(values[0], together[name][index]), name


def test_the_table_is_what_was_published() -> None:
    """Figures of configs/deu_Latn.yml and configs/por_Latn.yml, read by eye."""
    table = fineweb2()
    german, portuguese = table["de"].thresholds, table["pt"].thresholds
    assert (german["max_line_repeat_fraction"], german["min_alphabetic_word_fraction"]) == (0.263, 0.774)
    assert (german["max_mean_word_length"], german["max_newlines_per_word"]) == (15, 0.152)
    assert [german[f"max_top_{n}_gram_fraction"] for n in (2, 3, 4)] == [0.169, 0.153, 0.137]
    assert [portuguese[f"max_duplicate_{n}_gram_fraction"] for n in range(5, 11)] == [
        0.163, 0.153, 0.141, 0.13, 0.119, 0.108
    ]  # fmt: skip
    assert (portuguese["min_terminal_line_fraction"], portuguese["min_mean_word_length"]) == (0.077, 3)
    assert "foi" in table["pt"].stop_words and "l'" in table["fr"].stop_words


def test_the_table_is_plausible() -> None:
    """Fractions fall with the length of what repeats; stop words are written as cleaned text is."""
    for language, settings in fineweb2().items():
        thresholds = settings.thresholds
        assert thresholds.keys() == THRESHOLDS.keys()
        duplicate = [thresholds[f"max_duplicate_{n}_gram_fraction"] for n in range(5, 11)]
        assert duplicate == sorted(duplicate, reverse=True), language
        assert 0.5 < thresholds["min_alphabetic_word_fraction"] < 0.9, language
        assert thresholds["min_mean_word_length"] < thresholds["max_mean_word_length"], language
        assert len(settings.stop_words) == len(set(settings.stop_words)) >= 8, language
        assert all(unicodedata.is_normalized("NFC", word) for word in settings.stop_words), language
        assert set(settings.marks) <= set("-/:'."), language


def test_its_languages_are_those_that_are_identified() -> None:
    from pipeline.cleaning.language_model import _model

    assert identify_languages(["秦川雄帝宅，函谷壯皇居。"])[0][0] == "zh"
    assert fineweb2().keys() <= {*_model().labels, "zh"}
