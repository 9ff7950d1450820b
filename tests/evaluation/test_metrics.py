"""Metrics of written texts, against the reference libraries' own corpus scores and hand computation."""

from __future__ import annotations

import gzip
import string
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import regex
from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.significance import PairedTest

from pipeline.config.metric_names import FITS
from pipeline.config.metric_names import fitting as metrics_of
from pipeline.evaluation.metrics import diversity, squad, translation
from pipeline.evaluation.metrics.rouge import rouge
from pipeline.evaluation.metrics.scored import (
    Distinct,
    estimate,
    groups_of,
    mean_of,
    paired_difference,
    ratio_of,
    value_of,
)
from pipeline.evaluation.metrics.table import METRICS
from pipeline.evaluation.metrics.words import sentences, words
from pipeline.evaluation.task_outputs import Pair, baseline_outputs, group_pairs, majority, measure

OUTPUTS = ["The cat sat on the mat.", "It rains in Spain", "nothing alike", "The cat the cat the cat"]
REFERENCES = [
    ["The cat sat on a mat.", "A cat was on the mat."],
    ["It rains in Spain."],
    ["something else here"],
    ["The cat"],
]
STREAMS = [[group[0] for group in REFERENCES], [[*group, None][1] for group in REFERENCES]]


@pytest.mark.parametrize(
    ("measure_by", "reference"),
    [(translation.bleu, BLEU()), (translation.chrf, CHRF(word_order=2)), (translation.ter, TER())],
)
def test_the_value_is_that_of_sacrebleus_corpus_score_for_any_number_of_references(measure_by, reference) -> None:
    scored, signature = measure_by(OUTPUTS, REFERENCES)
    assert value_of(scored) == pytest.approx(reference.corpus_score(OUTPUTS, STREAMS).score, abs=1e-9)
    assert signature == str(reference.get_signature())


def test_a_draw_is_scored_as_the_corpus_of_the_drawn_texts() -> None:
    scored, _ = translation.bleu(OUTPUTS, REFERENCES)
    (drawn,) = scored.under(np.array([[2, 1, 0, 1]]))
    places = [0, 0, 1, 3]
    expected = BLEU().corpus_score([OUTPUTS[n] for n in places], [[stream[n] for n in places] for stream in STREAMS])
    assert drawn == pytest.approx(expected.score, abs=1e-9)


def test_chinese_bleu_counts_characters_and_says_so() -> None:
    scored, signature = translation.bleu(["今天天气很好。"], [["今天的天气很好。"]])
    assert "tok:zh" in signature
    assert value_of(scored) == pytest.approx(
        BLEU(tokenize="zh").corpus_score(["今天天气很好。"], [["今天的天气很好。"]]).score
    )
    assert value_of(scored) > 40


def test_the_paired_bootstrap_is_as_sure_as_sacrebleus(corpora: Path) -> None:
    with gzip.open(corpora / "multi30k" / "test_2016_flickr.en.gz", "rt") as file:
        references = file.read().splitlines()[:100]
    better = [text.replace(" a ", " the ") for text in references]
    worse = [" ".join(text.split()[::2]) for text in references[:50]] + better[50:]
    first, _ = translation.chrf(better, [[text] for text in references])
    second, _ = translation.chrf(worse, [[text] for text in references])
    found = paired_difference(first, second, seed=0)
    named = [("better", better), ("worse", worse)]
    _, scores = PairedTest(named, {"chrf": CHRF(word_order=2)}, references=[references], test_type="bs").__call__()
    theirs = scores["chrF2++"]
    assert found.difference == pytest.approx(theirs[0].score - theirs[1].score, abs=1e-6)
    assert found.confidence == 1.0
    assert theirs[1].p_value < 0.01


def test_rouge_is_that_of_hand_computation_and_knows_every_script() -> None:
    # 3 of 4 words in common with 3: P 3/4, R 1; bigrams: the-cat, cat-sat of 3 and 2
    scored, _ = rouge("rouge1", ["the cat sat down"], [["the cat sat"]])
    assert value_of(scored) == pytest.approx(100 * 2 * (3 / 4) * 1 / (3 / 4 + 1))
    scored, _ = rouge("rouge2", ["the cat sat down"], [["the cat sat"]])
    assert value_of(scored) == pytest.approx(100 * 2 * (2 / 3) * 1 / (2 / 3 + 1))
    scored, _ = rouge("rougeLsum", ["吾輩は猫である。名前はまだ無い。"], [["吾輩は猫である。名前はまだ無い。"]])
    assert value_of(scored) == pytest.approx(100)
    scored, _ = rouge("rouge1", ["cat", "dog"], [["dog", "cat"], ["fish"]])
    assert value_of(scored) == pytest.approx(50)


def test_rouge_lsum_takes_sentences_in_any_order() -> None:
    # by sentences each is found whole; as one sequence only one of the two is
    scored, _ = rouge("rougeLsum", ["One is red. Two is blue."], [["Two is blue. One is red."]])
    assert value_of(scored) == pytest.approx(100)


@pytest.mark.parametrize(
    ("output", "reference", "f1", "exact"),
    [
        # the examples of SQuAD's evaluate-v1.1.py: articles, punctuation and case do not count
        ("The U.S. Congress", "us congress", 1.0, 1.0),
        ("in the year 1926", "1926", 2 * (1 / 3) * 1 / (1 / 3 + 1), 0.0),
        ("", "1926", 0.0, 0.0),
        ("", "the", 1.0, 1.0),
        ("北京市", "北京", 2 * (2 / 3) * 1 / (2 / 3 + 1), 0.0),
        ("北京。", "“北京”", 1.0, 1.0),
        # 〇 and 々 are no punctuation; the three characters of the first are three of the second's pieces 二 〇〇 一 年
        ("二一年", "二〇〇一年", 6 / 7, 0.0),
        ("佐木", "佐々木", 2 * (2 / 2) * (2 / 3) / (2 / 2 + 2 / 3), 0.0),
        ("«Ça» – ¿cuándo?", "ça cuándo", 1.0, 1.0),
    ],
)
def test_answers_are_compared_as_squad_and_cmrc_do(output: str, reference: str, f1: float, exact: float) -> None:
    assert squad.answer_f1(output, reference) == pytest.approx(f1)
    assert value_of(squad.exact_match([output], [[reference]])[0]) == 100 * exact


def test_an_answer_loses_what_squad_mlqa_and_cmrc_call_punctuation_and_no_letter() -> None:
    every = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]
    mlqa = {mark for mark in every if unicodedata.category(mark).startswith("P")}.union(string.punctuation)
    cmrc = set("-:_*^/\\~`+=，。：？！“”；’《》……·、「」（）－～『』")  # cmrc2018_evaluate.py
    wide = {
        mark
        for mark in every
        if "\uff01" <= mark <= "\uff5e" and unicodedata.normalize("NFKC", mark) in string.punctuation
    }
    lost = {mark for mark in every if not mark.isspace() and squad.normalised_answer(mark) == []}
    assert cmrc <= lost
    assert lost == mlqa | wide | {"a", "A"}, "a alone is an article"


def test_the_best_reference_counts() -> None:
    scored, _ = squad.f1(["red fox"], [["blue fox", "red fox", "cat"]])
    assert value_of(scored) == 100


def test_distinct_counts_over_all_outputs_together() -> None:
    assert value_of(diversity.distinct(1, ["a b a", "b c"])[0]) == pytest.approx(3 / 5)
    assert value_of(diversity.distinct(2, ["a b a", "b a"])[0]) == pytest.approx(2 / 3)
    scored, _ = diversity.distinct(1, ["a b a", "b c", ""])
    assert scored.under(np.array([[2, 0, 5], [0, 0, 3]])) == pytest.approx([2 / 6, 0.0])


def test_repetition_and_copying_are_those_of_hand_computation() -> None:
    # 4-grams of "a b c d a b c d": abcd bcda cdab dabc abcd: one of five repeats
    assert value_of(diversity.repetition(["a b c d a b c d", "x y"])[0]) == pytest.approx(1 / 5)
    # bigrams of the output: the-red red-cat; the source has the-red
    assert value_of(diversity.novel_bigrams(["see the red fox"], ["the red cat"])[0]) == pytest.approx(1 / 2)
    assert value_of(diversity.copy_rate(["see the red fox"], ["the red cat"])[0]) == pytest.approx(2 / 3)


def test_the_interval_of_a_mean_is_that_of_the_normal_theory() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=400)
    found = estimate(mean_of(values), seed=1, num_resamples=4_000)
    half = 1.96 * values.std(ddof=1) / np.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.06)


def test_groups_are_drawn_as_wholes_and_are_as_much_evidence_as_there_are_groups() -> None:
    of_groups = np.random.default_rng(0).normal(3.0, 2.0, size=40)
    groups = groups_of([f"conversation {number % 40}" for number in range(400)])
    assert groups is not None
    found = estimate(mean_of(of_groups[groups]), seed=1, num_resamples=4_000, groups=groups)
    half = 1.96 * of_groups.std(ddof=1) / np.sqrt(40)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.06)
    noise = np.random.default_rng(1).normal(0.0, 0.1, size=400)
    compared = paired_difference(mean_of(of_groups[groups] + noise), mean_of(noise + 2.4), seed=1, groups=groups)
    assert (compared.high - compared.low) / 2 == pytest.approx(half, rel=0.1)
    assert groups_of([None, None]) is None
    assert groups_of(["all", "all"]) is None


def test_an_interval_lies_around_its_value_even_where_draws_are_smaller() -> None:
    texts = np.repeat(np.arange(50), 4)
    scored = Distinct(texts=texts, items=np.arange(200), num_texts=50)
    found = estimate(scored, seed=0)
    assert found.value == 1.0
    assert found.low < found.value < found.high


def test_a_difference_of_sets_is_as_sure_as_its_interval_says() -> None:
    # the first says each of its 600 words twice in one text, the second its 540 in two or three texts, of which a draw has one
    texts, places = np.repeat(np.arange(200), 6), np.arange(1200)
    first = Distinct(texts=texts, items=texts * 3 + places % 3, num_texts=200)
    second = Distinct(texts=texts, items=places % 540, num_texts=200)
    found = paired_difference(first, second, seed=0)
    assert 0 < found.low < found.difference
    assert found.confidence > 0.975
    assert paired_difference(second, first, seed=0).confidence == pytest.approx(1 - found.confidence)
    assert paired_difference(first, first, seed=0).confidence == 0.5


def test_the_same_seed_gives_the_same_figures_and_equal_systems_are_not_told_apart() -> None:
    scored = ratio_of(np.arange(9.0), np.ones(9))
    assert estimate(scored, seed=5) == estimate(scored, seed=5)
    assert paired_difference(scored, scored, seed=5).confidence == 0.5
    with pytest.raises(ValueError, match="9 and 8 texts"):
        paired_difference(scored, mean_of(np.arange(8.0)), seed=0)


def test_words_and_sentences_are_those_of_any_script() -> None:
    assert words("L'Été à l'hôtel_2: 東京に行く") == ["l", "été", "à", "l", "hôtel", "2", "東", "京", "に", "行", "く"]
    assert words("か\u3099 葛\U000e0100飾 ❤️") == ["か", "\u3099", "葛", "飾"]
    assert sentences("Dr. No. Yes!\nx") == ["Dr.", "No.", "Yes!", "x"]


@pytest.mark.parametrize(
    "text",
    [
        "हिन्दी की किताब, और पढ़ो।",
        "தமிழ் மொழி (தமிழ்நாடு)",
        "বাংলা ভাষা ও র‍্যাব",
        "ශ්‍රී ලංකාව",
        "می‌خواهم کتابِ خوب",
        "العَرَبِيَّة لغة",
        "שָׁלוֹם עולם",
        "ภาษาไทย 2567 กินข้าวแล้ว",
        "ພາສາລາວ ແລະ",
        "ភាសាខ្មែរ ២០២៤",
        "မြန်မာစာ",
        "Việt cafe\u0301 İstanbul",
    ],
)
def test_words_are_cut_where_unicode_has_their_boundaries(text: str) -> None:
    pieces = regex.split(
        r"\b", text.lower(), flags=regex.VERSION1 | regex.WORD
    )  # the default word boundaries of UAX 29
    assert words(text) == [piece for piece in pieces if regex.match(r"[\p{L}\p{N}]", piece)]


def test_rouge_takes_a_vowel_sign_for_part_of_its_word() -> None:
    assert value_of(rouge("rouge1", ["की"], [["का"]])[0]) == 0
    # one of two words in common
    assert value_of(rouge("rouge1", ["हिन्दी किताब"], [["हिन्दी कलम"]])[0]) == pytest.approx(50)


def test_every_metric_of_a_task_is_in_the_table() -> None:
    assert set(FITS) == {*METRICS, "bits_per_byte"}
    assert metrics_of("question_answering") == ["bits_per_byte", "exact_match", "f1", "copy_rate"]


def test_texts_with_several_targets_are_one_pair_and_baselines_need_no_model() -> None:
    pairs = group_pairs([("One is. Two is.", "x"), ("p", "y"), ("One is. Two is.", "z")])
    assert pairs == [Pair(text="One is. Two is.", targets=("x", "z")), Pair(text="p", targets=("y",))]
    assert majority(["b", "a", "b", "a", "c"]) == "a"
    assert baseline_outputs(pairs, majority_target="m") == {
        "copy": ["One is. Two is.", "p"],
        "lead": ["One is.", "p"],
        "majority": ["m", "m"],
    }


def test_every_writer_is_measured_by_every_metric_on_the_same_pairs() -> None:
    pairs = [Pair(text=f"q{n}", targets=(f"word {n}",)) for n in range(20)]
    outputs = {"model": [f"word {n}" for n in range(20)], "copy": [pair.text for pair in pairs]}
    rows = measure(pairs, outputs, metrics=["f1", "exact_match"])
    assert [(row["metric"], row["by"], row["value"]) for row in rows] == [
        ("f1", "model", 100.0),
        ("f1", "copy", 0.0),
        ("exact_match", "model", 100.0),
        ("exact_match", "copy", 0.0),
    ]
