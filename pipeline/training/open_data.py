"""Which kind of data a spec means: windows of a stream, or pairs for the family at hand."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import ConfigurationError
from pipeline.shards.reader import has_pairs
from pipeline.training.data import TrainingData, WindowData
from pipeline.training.families import EncoderDecoderShape, Shape
from pipeline.training.pair_data import PairData, PromptData
from pipeline.training.spec import TrainingSpec


def open_data(spec: TrainingSpec, shape: Shape) -> TrainingData:
    """The data of a spec for a network of this shape.

    Raises:
        ConfigurationError: they do not fit each other.
    """
    of_pairs = has_pairs(Path(spec.shards_folder))
    if not isinstance(shape, EncoderDecoderShape):
        kind = PromptData if of_pairs else WindowData
        return kind(spec, context_tokens=shape.context_tokens)
    if not of_pairs:
        raise ConfigurationError(
            f"{spec.name}: the family {spec.family} learns from pairs, and its dataset holds text alone. Set the dataset's task, "
            "such as translation, or choose a decoder-only family."
        )
    return PairData(spec, shape)
