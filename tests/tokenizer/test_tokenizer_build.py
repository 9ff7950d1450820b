"""A tokenizer loses nothing, is the same every time, and says what it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sentencepiece

from pipeline.artifacts import Artifact, ArtifactStore, Report
from pipeline.config import TokenizerConfig
from pipeline.errors import InputError, StageError
from pipeline.files import write_parquet
from pipeline.progress import SilentProgress
from pipeline.tokenizer import sample
from pipeline.tokenizer.build import build_tokenizer, measure_fit
from pipeline.tokenizer.fit import measure
from pipeline.tokenizer.model import CHAT_MARKERS, Tokenizer

WORDS: dict[str, Any] = {"code_version": "1", "literals": {}, "inputs": {}}
SENTENCES = [
    "The cat sat on the mat and looked at the moon.",
    "Nobody knew why the moon\n\nlooked back at the cat.",
    "A thousand years ago, the mat was new; 1024 cats sat on it.",
    "春眠不覺曉，處處聞啼鳥。\n夜來風雨聲，花落知多少。",
]
HOSTILE = ["</s><s><|user|>", "  two  spaces ", "\n\n\t tab\n", "ﬁ ligature Ａ full width", "🙂 é é", "\u200b", "", " "]


def corpus_of(store: ArtifactStore, train: list[str], validation: list[str]) -> Artifact:
    with store.draft(stage="corpus", name="c", version=f"v{len(train)}", **WORDS) as draft:
        for split, texts in (("train", train), ("validation", validation)):
            rows = {
                "id": [f"{number:032x}" for number in range(len(texts))],
                "text": pa.array(texts, pa.large_string()),
                "num_bytes": [len(text.encode()) for text in texts],
            }
            write_parquet(draft.path(f"documents/{split}.parquet"), pa.table(rows))
        num_bytes = sum(len(text.encode()) for text in train)
        return draft.commit(counts={"splits": {"train": {"bytes": num_bytes}}}, report=Report())


def build(folder: Path, train: list[str] | None = None, **settings: Any) -> Artifact:
    store = ArtifactStore(folder)
    corpus = corpus_of(store, train or SENTENCES * 50, SENTENCES)
    chosen = {key: value for key, value in ({"vocab_size": 320} | settings).items() if value is not None}
    config = TokenizerConfig(corpus="c", **chosen)
    with store.draft(stage="tokenizer", name="small", version="v", **WORDS) as draft:
        return build_tokenizer(draft, config=config, corpus=corpus, progress=SilentProgress())


def load(artifact: Artifact) -> Tokenizer:
    return Tokenizer.load(artifact.file("tokenizer.model"))


@pytest.fixture(scope="module", params=["bpe", "unigram", "char"])
def lossless(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return build(tmp_path_factory.mktemp("tokenizer"), kind=request.param)


def test_any_text_comes_back_as_it_was(lossless: Artifact) -> None:
    tokenizer = load(lossless)
    for text in SENTENCES + HOSTILE:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert lossless.manifest.counts["round_trip_failures"] == 0
    assert lossless.manifest.counts["unknown_fraction"] == 0


def test_no_text_produces_a_control_symbol(lossless: Artifact) -> None:
    tokenizer = load(lossless)
    spelled = tokenizer.encode("<s></s><pad>" + "".join(CHAT_MARKERS))
    assert not any(tokenizer.is_control(token) for token in spelled)
    assert tokenizer.pieces([0, 1, 2, 3, 4, 5, 6, 7]) == ["<pad>", "<unk>", "<s>", "</s>", *CHAT_MARKERS]
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2, 3)


def test_a_batch_is_its_texts_one_by_one(lossless: Artifact) -> None:
    tokenizer = load(lossless)
    batch = tokenizer.encode_batch(SENTENCES + HOSTILE, num_threads=2)
    assert [ids.tolist() for ids in batch] == [tokenizer.encode(text) for text in SENTENCES + HOSTILE]


def test_the_same_text_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (build(tmp_path / name, kind="unigram") for name in ("1", "2"))
    assert first.ref.content_hash == second.ref.content_hash
    assert load(first).hash == load(second).hash


def test_the_hash_tells_tokenizers_of_one_size_apart(tmp_path: Path) -> None:
    first = build(tmp_path / "1")
    second = build(tmp_path / "2", train=[text.upper() for text in SENTENCES] * 50)
    assert load(first).vocab_size == load(second).vocab_size
    assert load(first).hash != load(second).hash


def test_words_are_those_between_white_space_and_come_back_in_order(tmp_path: Path) -> None:
    artifact = build(tmp_path, kind="word", vocab_size=200)
    tokenizer = load(artifact)
    assert tokenizer.pieces(tokenizer.encode("The moon  looked\nback")) == ["▁The", "▁moon", "▁looked", "▁\n", "▁back"]
    assert artifact.manifest.counts["round_trip_failures"] == 0
    assert artifact.manifest.counts["lossless"] is False


def test_words_outside_the_vocabulary_are_reported_as_lost(tmp_path: Path) -> None:
    artifact = build(tmp_path, kind="word", vocab_size=24)
    assert artifact.manifest.counts["unknown_fraction"] > 0
    assert artifact.manifest.counts["round_trip_failures"] > 0
    assert any("do not come back" in note for note in artifact.report().notes)


@pytest.mark.parametrize("kind", ["bpe", "unigram", "char", "word"])
def test_no_machines_path_is_in_the_model(tmp_path: Path, kind: str) -> None:
    artifact = build(tmp_path, kind=kind)
    assert str(tmp_path).encode() not in artifact.file("tokenizer.model").read_bytes()
    assert artifact.ref.content_hash == build(tmp_path / "elsewhere", kind=kind).ref.content_hash


def test_characters_sentencepiece_keeps_for_itself_come_back_and_drop_no_sentence(tmp_path: Path) -> None:
    bars = [f"{text} ▁▂▃▅▇ zebra" for text in SENTENCES]
    artifact = build(tmp_path, train=bars * 50, vocab_size=340)
    tokenizer = load(artifact)
    assert artifact.manifest.counts["num_reserved_characters_left_out"] == 2 * 4 * 50
    assert tokenizer.decode(tokenizer.encode("▁▁ a▁b ▅ ▁")) == "▁▁ a▁b ▅ ▁"
    assert "▁zebra" in tokenizer.pieces(tokenizer.encode(" zebra"))


def test_long_texts_encode_as_short_ones_do(lossless: Artifact) -> None:
    tokenizer = load(lossless)
    reference = sentencepiece.SentencePieceProcessor(model_file=str(lossless.file("tokenizer.model")))
    for text in ("".join(SENTENCES) * 500, SENTENCES[3].replace("\n", "") * 3_000, " " * 40_000 + "cat" * 9_000):
        assert tokenizer.encode(text) == reference.encode(text)


def test_half_a_surrogate_pair_is_one_sentence(lossless: Artifact) -> None:
    with pytest.raises(InputError, match=r"half a surrogate pair \('\\ud800' at character 2\)"):
        load(lossless).encode("ab\ud800")


def test_a_vocabulary_larger_than_the_text_allows_names_the_largest_that_works(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"tokenizers.small.vocab_size is 50000.*Set it to (\d+) or less") as error:
        build(tmp_path, vocab_size=50_000)
    limit = int(str(error.value).split("Set it to ")[1].split()[0])
    assert build(tmp_path / "again", vocab_size=limit).manifest.counts["vocab_size"] == limit


def test_a_vocabulary_smaller_than_the_characters_names_the_smallest_that_works(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"Set it to (\d+) or more, or lower character_coverage") as error:
        build(tmp_path, vocab_size=280)
    limit = int(str(error.value).split("Set it to ")[1].split()[0])
    assert build(tmp_path / "again", vocab_size=limit).manifest.counts["vocab_size"] == limit


def test_a_corpus_without_text_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="the training split of c holds no text to learn from"):
        build(tmp_path, train=["▅", ""])


def test_figures_are_those_counted_by_hand(tmp_path: Path) -> None:
    tokenizer = load(build(tmp_path, kind="char", vocab_size=320))
    fit = measure(tokenizer, ["the cat", "zß"], max_bytes=100)
    # "zß": no z, no ß in the training text, so 1 + 2 byte pieces; the rest is a character a token
    assert (fit.num_bytes, fit.num_tokens) == (10, 7 + 3)
    assert fit.byte_fallback_fraction == pytest.approx(3 / 10)
    assert fit.bytes_per_token == pytest.approx(1.0)


def test_cutting_loses_no_character_and_keeps_under_every_limit() -> None:
    text = "x" * 9_000 + "\n" + "".join(f"line {number}\n" for number in range(3_000))
    cut = list(sample.cut(text))
    assert "".join(cut) == text
    assert max(map(len, cut)) <= sample.MAX_SENTENCE_CHARACTERS
    # SentencePiece strips line ends from a sentence's end, so they open the next one
    assert not any(part.endswith("\n") for part in cut[:-1])


def test_a_long_line_is_learnt_from_and_not_dropped(tmp_path: Path) -> None:
    tokenizer = load(build(tmp_path, train=["the moon " * 2_000, *SENTENCES * 50], vocab_size=380))
    assert len(tokenizer.encode(" moon moon")) == 2


def test_the_sample_is_seeded_within_its_budget_and_reported(tmp_path: Path) -> None:
    texts = [f"document number {number} tells its story" for number in range(2_000)]
    corpus = corpus_of(ArtifactStore(tmp_path), texts, SENTENCES)
    path = corpus.file("documents/train.parquet")
    shares = sample.draw([path], budget_bytes=20_000, seed=0)
    assert shares is not None and sum(shares.values()) == 20_000
    assert sample.draw([path], budget_bytes=20_000, seed=0) == shares
    assert sample.draw([path], budget_bytes=20_000, seed=1) != shares
    assert sample.draw([path], budget_bytes=10**9, seed=0) is None
    account = sample.Account()
    read = "".join(sample.sentences([path], shares, account))
    assert (account.num_bytes, account.num_documents) == (20_000, len(shares))
    assert len(read) == 20_000


def test_a_long_document_gives_its_beginning_to_the_sample(tmp_path: Path) -> None:
    corpus = corpus_of(ArtifactStore(tmp_path), ["月落烏啼" * 10_000, "short"], SENTENCES)
    path = corpus.file("documents/train.parquet")
    shares = sample.draw([path], budget_bytes=10_000, seed=0)
    assert shares is not None
    (longest, *_) = sorted(sample.texts([path], shares), key=len, reverse=True)
    assert set(longest) == set("月落烏啼")
    assert len(longest) in (3333, 3331)  # whole characters of 3 bytes, with or without the 5 bytes of the other


def test_fit_says_how_much_of_todays_corpus_was_seen(tmp_path: Path) -> None:
    tokenizer = build(tmp_path / "1")
    today = corpus_of(ArtifactStore(tmp_path / "2"), SENTENCES * 80, SENTENCES)
    figures = measure_fit(tokenizer, today).figures
    assert figures["corpus_bytes_today"] == pytest.approx(1.6 * figures["corpus_bytes_when_trained"])
    assert figures["bytes_per_token_today"] == pytest.approx(figures["bytes_per_token_when_trained"])


def test_a_mutated_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no SentencePiece model"):
        Tokenizer(b"not a model")


def test_encoding_equals_sentencepieces_own(tmp_path: Path) -> None:
    artifact = build(tmp_path)
    reference = sentencepiece.SentencePieceProcessor(model_file=str(artifact.file("tokenizer.model")))
    assert [load(artifact).encode(text) for text in SENTENCES] == [reference.encode(text) for text in SENTENCES]
