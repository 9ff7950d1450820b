"""Modified Kneser-Ney against KenLM's published-by-measurement figures, hand-computed values and its own definition."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from counted import counted

from pipeline.errors import ArtifactDamaged, InputError
from pipeline.models.interface import GenerationParameters
from pipeline.models.loading import load_model
from pipeline.models.ngram.arpa import token_names, write_arpa
from pipeline.models.ngram.arpa_reading import read_arpa
from pipeline.models.ngram.counting import sort_with_positions
from pipeline.models.ngram.kneser_ney import FALLBACK_DISCOUNTS, estimate, modified_discounts
from pipeline.models.ngram.model import NgramModel
from pipeline.models.ngram.table import NgramTable

UNKNOWN, BOS, EOS = 0, 1, 2
GREEDY = GenerationParameters(max_new_tokens=12, temperature=0.0)


def fit(tokens: np.ndarray, *, order: int, vocab_size: int, prune: tuple[int, ...] = (0,)) -> NgramModel:
    orders = counted(tokens, order=order, vocab_size=vocab_size, bos_id=BOS)
    table = NgramTable.of(orders, estimate(orders, never_predicted=[BOS], prune=prune), vocab_size=vocab_size)
    return NgramModel(table, tokenizer_hash="0" * 64, bos_id=BOS, eos_id=EOS, pad_id=-1)


def random_text(*, seed: int, num_documents: int = 400, vocab_size: int = 40) -> np.ndarray:
    """Documents whose tokens follow a Zipf law, so that every count of counts is there."""
    generator = np.random.default_rng(seed)
    documents = [
        np.concatenate(([BOS], 3 + generator.zipf(1.3, size=generator.integers(1, 20)) % (vocab_size - 3), [EOS]))
        for _ in range(num_documents)
    ]
    return np.concatenate(documents)


@pytest.fixture(scope="module")
def model() -> NgramModel:
    return fit(random_text(seed=0), order=4, vocab_size=40)


@pytest.fixture(scope="module")
def shakespeare(corpora: Path) -> tuple[list[list[int]], list[list[int]], int]:
    """Training and test sentences by ids, and the size of the vocabulary."""
    file = corpora / "tinyshakespeare.txt"
    lines = [" ".join(line.split()) for line in file.read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if line]
    vocabulary = {"<unk>": UNKNOWN, "<s>": BOS, "</s>": EOS}
    train = [[BOS, *(vocabulary.setdefault(w, len(vocabulary)) for w in s.split()), EOS] for s in lines[:29_000]]
    test = [[BOS, *(vocabulary.get(w, UNKNOWN) for w in s.split()), EOS] for s in lines[29_000:]]
    return train, test, len(vocabulary)


@pytest.mark.parametrize(("order", "perplexity"), [(2, 296.20513), (3, 288.18578), (5, 287.61705)])
def test_perplexity_is_kenlms(
    shakespeare: tuple[list[list[int]], list[list[int]], int], order: int, perplexity: float
) -> None:
    train, test, vocab_size = shakespeare
    fitted = fit(np.concatenate(train), order=order, vocab_size=vocab_size)
    stream = np.concatenate(test)
    scores = fitted.table.score(stream[None])[0]
    known = (stream[1:] != UNKNOWN) & (stream[1:] != BOS)
    assert math.exp(-scores[known].mean()) == pytest.approx(perplexity, rel=1e-5)


def test_counts_and_discounts_are_kenlms(shakespeare: tuple[list[list[int]], list[list[int]], int]) -> None:
    train, _, vocab_size = shakespeare
    orders = counted(np.concatenate(train), order=5, vocab_size=vocab_size, bos_id=BOS)
    assert [counts.words.size for counts in orders] == [23_733, 108_470, 153_677, 146_213, 126_250]
    first = [found.discounts[0] for found in estimate(orders, never_predicted=[BOS])]
    assert first == pytest.approx([0.690042, 0.838771, 0.936891, 0.979986, 0.992736], abs=1e-6)


def test_a_bigram_by_hand() -> None:
    # "a b", "a c", "a b": after a, b twice and c once; before b and c only a, before a only BOS, before EOS b and c
    a, b, c = 3, 4, 5
    tokens = np.array([BOS, a, b, EOS, BOS, a, c, EOS, BOS, a, b, EOS])
    orders = counted(tokens, order=2, vocab_size=6, bos_id=BOS)
    unigrams, bigrams = estimate(orders, never_predicted=[BOS])
    assert unigrams.is_fallback
    first, second, third = FALLBACK_DISCOUNTS
    assert third == 1.5
    # preceding words: a 1, b 1, c 1, EOS 2, in all 5; five ids can be predicted
    gamma = (3 * first + second) / 5
    p_b, p_c = ((1 - first) / 5 + gamma / 5 for _ in "bc")
    assert np.exp(unigrams.log_probabilities[[b, c]]) == pytest.approx([p_b, p_c])
    table = NgramTable.of(orders, [unigrams, bigrams], vocab_size=6)
    # two bigrams occur once, two twice and one three times, so Y is 1/3
    assert bigrams.discounts == pytest.approx((1 / 3, 3 / 2, 3))
    first, second, _ = bigrams.discounts
    after_a = (second + first) / 3
    expected = [(2 - second) / 3 + after_a * p_b, (1 - first) / 3 + after_a * p_c]
    found = table.score(np.array([[a, b], [a, c]]))[:, 0]
    assert np.exp(found) == pytest.approx(expected, rel=1e-6)
    assert found / np.log(10) == pytest.approx([-0.53926915, -0.4628808])  # what lmplz writes


def test_a_pruned_bigram_by_hand() -> None:
    # as above; what occurs once goes: (a c) and (c EOS). Its share of the sums goes to the back-off
    a, b, c = 3, 4, 5
    tokens = np.array([BOS, a, b, EOS, BOS, a, c, EOS, BOS, a, b, EOS])
    whole, model = (fit(tokens, order=2, vocab_size=6, prune=prune) for prune in ((0,), (0, 1)))
    assert whole.table.num_ngrams == [6, 5]
    assert model.table.num_ngrams == [6, 3]
    unigrams = np.exp(whole.table.orders[0].log_probabilities)
    after_a = 1 - (2 - 3 / 2) / 3
    expected = [(2 - 3 / 2) / 3 + after_a * unigrams[b], after_a * unigrams[c], unigrams[EOS]]
    found = np.exp(model.table.score(np.array([[a, b], [a, c], [c, EOS]]))[:, 0])
    assert found == pytest.approx(expected, rel=1e-6)


def test_what_is_pruned_is_told_by_its_count_and_not_by_what_precedes_it() -> None:
    # "a b c" twice, "a d": (a b) occurs twice with one preceding word, so its adjusted count is 1 and its count 2
    a, b, c, d = 3, 4, 5, 6
    tokens = np.array([BOS, a, b, c, EOS, BOS, a, b, c, EOS, BOS, a, d, EOS])
    whole, model = (fit(tokens, order=3, vocab_size=7, prune=prune) for prune in ((0,), (0, 1)))
    assert whole.table.num_ngrams == [7, 6, 5]
    assert model.table.num_ngrams == [7, 4, 3]  # (a d), (d EOS), (BOS a d) and (a d EOS) occur once
    first, second, third = FALLBACK_DISCOUNTS
    unigrams = np.exp(whole.table.orders[0].log_probabilities)
    # after a: b and d, each with one preceding word, and gamma takes the discount of b and all of d
    p_b = (1 - first) / 2 + (first + 1) / 2 * unigrams[b]
    p_d = (first + 1) / 2 * unigrams[d]
    # after BOS a, at the highest order: b twice, d once
    after = (second + 1) / 3
    expected = [(2 - second) / 3 + after * p_b, after * p_d]
    found = np.exp(model.table.score(np.array([[BOS, a, b], [BOS, a, d]]))[:, 1])
    assert found == pytest.approx(expected, rel=1e-6)
    assert third == 1.5


@pytest.mark.parametrize("prune", [(0, 0, 1), (0, 1, 2, 4)])
def test_a_pruned_model_holds_what_occurs_more_often_and_sums_to_one(prune: tuple[int, ...], tmp_path: Path) -> None:
    tokens = random_text(seed=0)
    orders = counted(tokens, order=4, vocab_size=40, bos_id=BOS)
    model = fit(tokens, order=4, vocab_size=40, prune=prune)
    limits = [*prune, prune[-1]][:4]
    expected = [int((counts.counts > limit).sum()) for counts, limit in zip(orders[1:], limits[1:], strict=True)]
    assert model.table.num_ngrams[1:] == expected
    contexts = model.table.contexts(np.random.default_rng(1).integers(3, 40, size=(200, 6)))
    rows = model.table.distributions([ranks[:, -1] for ranks in contexts])
    assert np.exp(rows.astype(np.float64)).sum(axis=1) == pytest.approx(np.ones(200), abs=1e-5)
    pieces = ["<unk>", "<s>", "</s>", *(f"w{number}" for number in range(3, 40))]
    write_arpa(model.table, tmp_path / "model.arpa", pieces=pieces)
    words = np.concatenate(([BOS], np.random.default_rng(6).integers(3, 40, size=30)))
    found = arpa_score(tmp_path / "model.arpa", [pieces[word] for word in words])
    assert found == pytest.approx(model.table.score(words[None]).sum() / math.log(10), abs=1e-4)


def test_discounts_follow_chen_and_goodmans_equation() -> None:
    scale = 40 / 70
    expected = (1 - 2 * scale * 15 / 40, 2 - 3 * scale * 8 / 15, 3 - 4 * scale * 5 / 8)
    assert modified_discounts([40, 15, 8, 5]) == (pytest.approx(expected), False)
    assert modified_discounts([40, 10, 10, 10]) == (FALLBACK_DISCOUNTS, True)  # D_2 = 2 - 3 * 2/3 = 0


def test_no_ngram_that_occurs_four_times_is_no_reason_for_the_fallback() -> None:
    """The 5-grams of Shakespeare's first 5,000 lines; what lmplz prints of them."""
    discounts, is_fallback = modified_discounts([19_573, 32, 2, 0])
    assert discounts == pytest.approx((0.996741, 1.81311, 3), abs=1e-5)
    assert not is_fallback
    assert modified_discounts([3, 1, 0, 1]) == (FALLBACK_DISCOUNTS, True)


def test_counts_equal_those_of_a_dictionary() -> None:
    tokens = random_text(seed=3, num_documents=60)
    for counts in counted(tokens, order=4, vocab_size=40, bos_id=BOS):
        documents = np.split(tokens, np.flatnonzero(tokens == BOS)[1:])
        expected: dict[tuple[int, ...], int] = {}
        for document in documents:
            for start in range(len(document) - counts.order + 1):
                ngram = tuple(document[start : start + counts.order].tolist())
                expected[ngram] = expected.get(ngram, 0) + 1
        if counts.order == 1:
            assert {(word,): int(count) for word, count in enumerate(counts.counts) if count} == expected
        else:
            assert sorted(expected.values()) == sorted(counts.counts.tolist())
            assert counts.words.tolist() == [ngram[-1] for ngram in sorted(expected)]


def test_probabilities_after_any_context_sum_to_one(model: NgramModel) -> None:
    generator = np.random.default_rng(1)
    contexts = model.table.contexts(generator.integers(3, 40, size=(200, 6)))
    rows = model.table.distributions([ranks[:, -1] for ranks in contexts])
    assert np.exp(rows.astype(np.float64)).sum(axis=1) == pytest.approx(np.ones(200), abs=1e-5)
    assert np.isneginf(rows[:, BOS]).all()


def test_scores_are_the_distributions_entries_and_a_batch_is_its_rows(model: NgramModel) -> None:
    rows = torch.from_numpy(np.random.default_rng(2).integers(3, 40, size=(5, 12)))
    together = model.score(rows)
    for number, row in enumerate(rows):
        alone = model.score(row[None])
        assert torch.equal(alone.log_probabilities[0], together.log_probabilities[number])
        assert torch.equal(alone.ranks[0], together.ranks[number])
    words = rows.numpy()
    for position in range(1, 12):
        contexts = [ranks[:, -1] for ranks in model.table.contexts(words[:, :position])]
        distribution = model.table.distributions(contexts)
        expected = np.take_along_axis(distribution, words[:, position, None], axis=1)[:, 0]
        assert together.log_probabilities[:, position - 1].numpy() == pytest.approx(expected, abs=1e-5)


def test_what_stands_later_changes_no_score(model: NgramModel) -> None:
    rows = torch.from_numpy(np.random.default_rng(4).integers(3, 40, size=(3, 10)))
    changed = rows.clone()
    changed[:, 6:] = 5
    before, after = model.score(rows), model.score(changed)
    assert torch.equal(before.log_probabilities[:, :5], after.log_probabilities[:, :5])


def test_greedy_continuation_takes_the_most_likely_token_each_time(model: NgramModel) -> None:
    prompts = [[BOS], [BOS, 4, 5, 6, 7, 8]]
    together = model.generate(prompts, GREEDY)
    for prompt, continuation in zip(prompts, together, strict=True):
        assert model.generate([prompt], GREEDY) == [continuation]
        scores = model.score(torch.tensor([prompt + continuation]))
        assert (scores.ranks[0, len(prompt) - 1 :] == 0).all()
    with pytest.raises(InputError, match="no tokens"):
        model.generate([[]], GREEDY)


def test_a_saved_model_answers_the_same(model: NgramModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    again = load_model(tmp_path)
    rows = torch.from_numpy(np.random.default_rng(5).integers(3, 40, size=(4, 9)))
    assert torch.equal(again.score(rows).log_probabilities, model.score(rows).log_probabilities)
    assert (again.family, again.num_parameters) == ("ngram", model.num_parameters)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ArtifactDamaged, match="does not load"):
        load_model(tmp_path)


def test_equal_keys_keep_their_order() -> None:
    keys = np.array([2**60, 5, 2**60, 5, 7])
    sorted_keys, positions = sort_with_positions(keys)
    assert (sorted_keys.tolist(), positions.tolist()) == ([5, 5, 7, 2**60, 2**60], [1, 3, 4, 0, 2])


@pytest.mark.parametrize("vocab_size", [2**13, 2**16, 2**22])
def test_counts_do_not_depend_on_how_many_tokens_fit_an_integer(vocab_size: int) -> None:
    tokens = random_text(seed=6)
    expected = counted(tokens, order=4, vocab_size=40, bos_id=BOS)
    found = counted(tokens, order=4, vocab_size=vocab_size, bos_id=BOS)
    for one, other in zip(expected[1:], found[1:], strict=True):
        for name in ("words", "counts", "suffixes", "prefixes", "opens"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), (one.order, name)


def test_tokens_without_bos_are_refused() -> None:
    with pytest.raises(ValueError, match="BOS"):
        counted(np.array([4, 5]), order=2, vocab_size=6, bos_id=BOS)


def arpa_score(file: Path, sentence: list[str]) -> float:
    """log10 probability of the words after the first, by the ARPA file's own rules: a plain second implementation."""
    probabilities: dict[tuple[str, ...], float] = {}
    backoffs: dict[tuple[str, ...], float] = {}
    for line in file.read_text().split("\n"):
        fields = line.split("\t")
        if len(fields) > 1:
            words = tuple(fields[1].split(" "))
            probabilities[words] = float(fields[0])
            backoffs[words] = float(fields[2]) if len(fields) == 3 else 0.0
    order = max(map(len, probabilities))

    def log10(words: tuple[str, ...]) -> float:
        if words in probabilities:
            return probabilities[words]
        return backoffs.get(words[:-1], 0.0) + log10(words[1:])

    return sum(log10(tuple(sentence[max(0, end - order) : end])) for end in range(2, len(sentence) + 1))


def test_the_arpa_file_gives_the_same_scores(model: NgramModel, tmp_path: Path) -> None:
    pieces = ["<unk>", "<s>", "</s>", " ", "<0x20>", "a\tb", *(f"w{number}" for number in range(6, 40))]
    write_arpa(model.table, tmp_path / "model.arpa", pieces=pieces)
    names = token_names(pieces)
    assert names[3:6] == ["<0x20>#3", "<0x20>", "a<0x09>b"]
    text = (tmp_path / "model.arpa").read_text()
    assert text.startswith("\\data\\\nngram 1=40\n")
    assert text.endswith("\\end\\\n")
    for row in np.random.default_rng(6).integers(3, 40, size=(20, 12)):
        words = np.concatenate(([BOS], row))
        expected = model.table.score(words[None]).sum() / math.log(10)
        found = arpa_score(tmp_path / "model.arpa", [names[word] for word in words])
        assert found == pytest.approx(expected, abs=1e-4)


PIECES = ["<unk>", "<s>", "</s>", " ", "<0x20>", "a\tb", *(f"w{number}" for number in range(6, 40))]


def test_an_arpa_file_written_here_is_read_back_to_the_same_scores(model: NgramModel, tmp_path: Path) -> None:
    write_arpa(model.table, tmp_path / "model.arpa", pieces=PIECES)
    table = read_arpa(tmp_path / "model.arpa", pieces=PIECES, bos_id=BOS)
    assert table.num_ngrams == model.table.num_ngrams
    rows = np.random.default_rng(8).integers(3, 40, size=(20, 12))
    rows[:, 0] = BOS
    assert table.score(rows) == pytest.approx(model.table.score(rows), abs=1e-5)


def test_an_arpa_file_of_another_tool_scores_by_its_own_rules(tmp_path: Path) -> None:
    """In no order, with free text before the data, without <unk> and without back-offs where none are needed."""
    file = tmp_path / "other.arpa"
    file.write_text(
        "made by hand\n\n\\data\\\nngram 1=4\nngram 2=3\n\n\\1-grams:\n-1\tb\t-0.2\n-0.5\ta\t-0.25\n-99\t<s>\t-0.1\n"
        "-0.7\t</s>\n\n\\2-grams:\n-0.3\tb a\n-0.4\t<s> b\n-0.6\ta </s>\n\n\\end\\\n"
    )
    table = read_arpa(file, pieces=["<unk>", "<s>", "</s>", "a", "b"], bos_id=BOS)
    scores = table.score(np.array([[BOS, 4, 3, 3, EOS, 0]]))[0] / math.log(10)
    assert scores[:4] == pytest.approx([-0.4, -0.3, -0.25 - 0.5, -0.6], abs=1e-6)
    assert scores[4] == -math.inf


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text.replace("\\data\\", ""), "is no ARPA file, or cut short"),
        (lambda text: text[: len(text) // 2], "cut short"),
        (lambda text: text.replace("ngram 2=", "ngram 2=x"), "belongs"),
        (lambda text: text.replace("w7", "zebra", 1), "'zebra' is no piece of the tokenizer"),
        (lambda text: text.replace("\\2-grams:\n-", "\\2-grams:\nminus"), "no number"),
        (lambda text: text.replace("ngram 3=", "ngram 3=1"), "cut short"),
    ],
)
def test_a_damaged_arpa_file_is_one_sentence(
    model: NgramModel, tmp_path: Path, change: Callable[[str], str], sentence: str
) -> None:
    file = tmp_path / "model.arpa"
    write_arpa(model.table, file, pieces=PIECES)
    file.write_text(change(file.read_text()))
    with pytest.raises(InputError, match=sentence) as caught:
        read_arpa(file, pieces=PIECES, bos_id=BOS)
    assert "\n" not in str(caught.value)
