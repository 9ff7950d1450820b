"""What a model of pairs is worth with its texts and without them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bigram_model import A, BigramModel, CharacterTokenizer

from pipeline.config.training import EvaluateConfig
from pipeline.errors import InputError
from pipeline.evaluation.build import task_figures
from pipeline.evaluation.measured import Measured
from pipeline.evaluation.pair_measuring import measure_pairs
from pipeline.evaluation.pair_model import PairModel
from pipeline.progress import SilentProgress


class Reader(BigramModel):
    """An encoder-decoder: a target's token costs one bit after a text with an `a` in it, and `bits_without` after any other."""

    is_encoder_decoder = True

    def __init__(self, *, bits_without: float) -> None:
        super().__init__(context_tokens=16)
        self.bits_without = bits_without

    def score_targets(self, prompts: list[list[int]], targets: list[list[int]]) -> list[np.ndarray]:
        bits = [1.0 if A in prompt else self.bits_without for prompt in prompts]
        return [np.full(len(target), -b * np.log(2.0)) for b, target in zip(bits, targets, strict=True)]

    def generate(self, prompts: list[list[int]], parameters: Any) -> list[list[int]]:
        return [[A] * max(1, parameters.min_new_tokens) for _ in prompts]


PAIRS = [("ab", "b"), ("ba", "bb"), ("aa", "bbb"), ("a", "b")]


def measured(
    folder: Path,
    *,
    bits_without: float,
    pairs: Sequence[tuple[str, str]] = PAIRS,
    groups: Sequence[str] | None = None,
    **settings: Any,
) -> Measured:
    rows = [
        {
            "id": f"{number:02d}",
            "text_hash": f"{number:02d}",
            "source": "s",
            "text": text,
            "target": target,
            "group_id": None if groups is None else groups[number],
        }
        for number, (text, target) in enumerate(pairs)
    ]
    file = folder / "pairs.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    tokenizer: Any = CharacterTokenizer()
    model: Any = Reader(bits_without=bits_without)
    index = {"task": "dialogue", "keep_source": "end", "template": None}
    return measure_pairs(
        "reader",
        PairModel(model, tokenizer, tokenizer, index),
        test=file,
        train=[file],
        unigram=np.full(6, 4.0),
        config=EvaluateConfig(**settings),
        progress=SilentProgress(),
    )


def test_bits_per_byte_stand_beside_those_of_the_same_model_without_its_texts(tmp_path: Path) -> None:
    found = measured(tmp_path, bits_without=3.0)
    values = {row["by"]: row["value"] for row in found.task_rows if row["metric"] == "bits_per_byte"}
    assert values == pytest.approx({"model": 1.0, "without_text": 3.0, "unigram": 4.0})
    assert task_figures(found.task_rows)["bits_per_byte/without_text"] == pytest.approx(3.0)
    assert found.notes == []


@pytest.mark.parametrize(("bits_without", "said"), [(1.0, "0.000"), (0.5, "-0.500")])
def test_a_model_that_is_no_better_for_reading_is_told(tmp_path: Path, bits_without: float, said: str) -> None:
    (note,) = measured(tmp_path, bits_without=bits_without).notes
    assert note.startswith(f"With its text the model needs {said} bits fewer for a byte of a target than without")


def test_a_chosen_text_is_judged_by_all_its_targets(tmp_path: Path) -> None:
    pairs = [("ab", "b"), ("ba", "bb"), ("ab", "a"), ("ba", "bbb")]
    found = measured(tmp_path, bits_without=3.0, pairs=pairs, max_documents=1, metrics=["chrf"])
    assert found.documents.ids == ["00"]
    assert found.outputs is not None
    assert found.outputs.to_pylist() == [{"text": "ab", "targets": ["b", "a"], "output": "a", "group_id": None}]
    chrf = {row["by"]: row["value"] for row in found.task_rows if row["metric"] == "chrf"}
    assert chrf["model"] == 100  # it wrote the second


def test_what_is_measured_is_written_as_the_file_says(tmp_path: Path) -> None:
    found = measured(tmp_path, bits_without=3.0, generation={"min_new_tokens": 3, "num_beams": 2, "no_repeat_ngram": 4})
    assert found.outputs is not None
    assert set(found.outputs["output"].to_pylist()) == {"aaa"}
    assert found.notes == [
        "How it wrote: 2 beams, length penalty 1, at least 3 and at most 16 tokens, no run of 4 twice."
    ]
    with pytest.raises(
        InputError, match=r"models.reader.evaluate.generation: min_new_tokens is 17; it must lie in 0 to 16"
    ):
        measured(tmp_path, bits_without=3.0, generation={"min_new_tokens": 17})


def test_intervals_draw_what_hangs_together_as_wholes(tmp_path: Path) -> None:
    # two conversations, of which the model finds all turns of one likely and none of the other
    pairs = [(f"{'a' if number % 2 else 'b'}{'b' * number}", "b") for number in range(1, 15)]
    groups = ["even", "odd"] * 7
    widths = {}
    for name, chosen in (("alone", None), ("together", groups)):
        found = measured(tmp_path, bits_without=9.0, pairs=pairs, groups=chosen)
        (row,) = (row for row in found.task_rows if (row["metric"], row["by"]) == ("bits_per_byte", "model"))
        assert row["value"] == pytest.approx(5.0)
        widths[name] = row["low"], row["high"]
    assert widths["together"] == pytest.approx((1.0, 9.0), abs=0.2)  # a quarter of the draws is one conversation twice
    assert widths["alone"] == pytest.approx((5 - 4 * 1.96 / 14**0.5, 5 + 4 * 1.96 / 14**0.5), abs=0.5)
