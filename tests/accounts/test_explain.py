"""A document's way is told from any name it has; a name that fits none or several is one sentence."""

from __future__ import annotations

import pytest

from assets.cli import main
from pipeline.accounts.explain import Step, explain
from pipeline.artifacts import ArtifactStore
from pipeline.config import Project
from pipeline.errors import ArtifactMissing, InputError
from pipeline.records import document_id

Built = tuple[Project, ArtifactStore]

NOTE = "This is the note of number 7, and a door was open in it."
FIRST = "This is the note of number 0, and a door was open in it."
LETTER = "Write to jane.doe@example.com about the party."


def step(built: Built, word: str, stage: str) -> Step:
    (found,) = [step for step in explain(*built, word).steps if step.asset.startswith(f"{stage}/")]
    return found


def test_a_kept_document_goes_through_every_stage(built: Built) -> None:
    way = explain(*built, document_id(NOTE))
    assert (way.id, way.excerpt) == (document_id(NOTE), NOTE)
    assert [(step.asset.split("@")[0], step.verdict) for step in way.steps] == [
        ("raw_documents/notes", "read"),
        ("clean_documents/notes", "cleaned"),
        ("corpus/both", "kept"),
        ("token_shards/tokens", "encoded"),
    ]
    raw, clean, corpus, shards = way.steps
    assert raw.facts == {"from": "notes:a.txt:7", "size": f"{len(NOTE)} bytes"}
    assert clean.facts["size"] == f"{len(NOTE)} bytes before, {len(NOTE)} after"
    assert clean.facts["language"].startswith("en, confidence ")
    assert clean.signals["num_characters"] == len(NOTE)
    assert clean.signals["num_words"] == 14
    assert corpus.facts["split"] == shards.facts["split"]
    assert shards.facts["times"] == "1"


def test_a_document_of_two_epochs_stands_twice_in_the_tokens(built: Built) -> None:
    store = built[1]
    corpus = store.current("corpus", "both")
    assert corpus is not None
    for number in range(60):
        text = f"Dear diary, day {number} was like any other."
        kept, encoded = (step(built, document_id(text), stage) for stage in ("corpus", "token_shards"))
        times = 2 if kept.facts["split"] == "train" else 1
        assert encoded.facts["times"] == str(times)
        if kept.facts["split"] == "train":
            assert kept.facts["read"] == "2 times an epoch of training"
            break


def test_every_name_of_a_document_finds_it(built: Built) -> None:
    id_ = document_id(NOTE)
    for word in (id_, id_[:12], id_.upper(), "notes/a.txt:7", "a.txt:7", "notes:a.txt:7", "notes:notes/a.txt:7"):
        assert explain(*built, word).id == id_
    project = built[0]
    assert explain(*built, f"{project.folder}/notes/b.txt").id == document_id(FIRST)


def test_copies_are_explained_place_by_place_with_their_keeper(built: Built) -> None:
    way = explain(*built, "b.txt")
    assert [str(place) for place in way.places] == [
        "notes:a.txt:0",
        "notes:a.txt:123",
        "notes:b.txt:0",
    ]
    verdicts = [step for step in way.steps if step.asset.startswith("corpus/")]
    assert [step.verdict for step in verdicts] == ["kept", "rejected", "rejected"]
    assert verdicts[0].facts["cluster"] == "keeper of 3 documents: notes:a.txt:123, notes:b.txt:0"
    assert verdicts[1].facts["reason"] == "duplicate"
    split = verdicts[0].facts["split"]
    assert verdicts[1].facts["keeper"] == f"{document_id(FIRST)} (notes:a.txt:0), {split}"
    assert verdicts[1].facts["cluster"] == "3 documents"


def test_a_rejected_document_has_reason_value_and_threshold(built: Built) -> None:
    found = step(built, document_id("tiny note"), "corpus")
    assert found.verdict == "rejected"
    assert found.facts == {
        "reason": "basic.min_characters",
        "detail": "9 characters, at least 12",
        "value": "9",
        "threshold": "12",
    }
    found = step(built, document_id("0123456789 0123456789"), "corpus")
    assert (found.facts["reason"], found.facts["value"]) == ("basic.min_letter_fraction", "0")


def test_what_could_not_be_read_is_found_by_its_place(built: Built) -> None:
    way = explain(*built, "diary.jsonl:61")
    (raw,) = way.steps
    assert (way.id, raw.verdict, raw.facts["reason"]) == (None, "rejected", "invalid_json")
    (raw,) = explain(*built, "a.txt:121").steps
    assert (raw.facts["reason"], raw.facts["value"], raw.facts["threshold"]) == ("too_short", "1", "5")


def test_cleaning_is_told(built: Built) -> None:
    found = step(built, document_id(LETTER), "clean_documents")
    assert found.facts["redacted"] == "email 1"
    assert found.facts["size"].startswith(f"{len(LETTER)} bytes before, ")


def test_what_the_source_has_redacted_is_not_shown_from_before(built: Built) -> None:
    assert explain(*built, document_id(LETTER)).excerpt == "Write to <EMAIL> about the party."


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        (
            "notes/a.txt",
            "'notes/a.txt' holds 123 documents: notes:a.txt:0, notes:a.txt:1, .*Name one of them, or its id",
        ),
        ("notes/c.txt", "no document of the sources in use is 'notes/c.txt'. Did you mean (a|b).txt"),
        ("dairy.jsonl", "Did you mean diary.jsonl"),
        ("IARY", "Did you mean diary.jsonl"),
        ("zzz", "Give an id, the beginning of one"),
        ("", "Give an id, the beginning of one"),
        ("' OR 1=1 --", "no document of the sources"),
        (document_id(NOTE)[:8] + "0" * 24, f"Ids that begin alike: {document_id(NOTE)}"),
    ],
)
def test_a_name_that_fits_none_or_several_is_one_sentence_with_what_is_near(
    built: Built, word: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        explain(*built, word)


def test_nothing_built_is_one_sentence(built: Built, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ArtifactMissing, match="No source was read yet"):
        explain(built[0], ArtifactStore(tmp_path_factory.mktemp("empty")), "x")


def test_the_command_prints_it(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    config = ["--config", str(built[0].file)]
    assert main(["explain", document_id("tiny note"), *config]) == 0
    printed = capsys.readouterr().out
    assert "basic.min_characters" in printed
    assert "9 characters, at least 12" in printed
    assert main(["explain", "nothing-like-it", *config]) == 1
    assert capsys.readouterr().err.count("\n") == 1
