"""What a dataset is for: each task's prompt template, figures, baseline and way of writing, in one table; imports nothing.

A task is a setting of the dataset, since it decides what stands in the shards (one stream of text, or two sides), and every
model of a dataset is judged by the same figures. A setting of the project file goes before the preset's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

TaskName = Literal["language_model", "translation", "summarisation", "question_answering", "dialogue"]

KeepSide = Literal["beginning", "end"]

_TEMPLATE = re.compile(r"(?s)([^{}]*)\{text\}([^{}]*)\{target\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How a model of the task writes, where nothing else is asked for."""

    max_new_tokens: int = 256
    """A model with a small context writes less, see `evaluation/pair_model.py`."""
    num_beams: int = 1
    """1: no beam search."""
    length_penalty: float = 1.0
    """Beams are compared by log-probability / ((5 + length) / 6)^penalty (Wu et al. 2016, arXiv 1609.08144)."""
    temperature: float = 0.0
    """0 always takes the most likely token; beams ignore it."""
    top_k: int = 0
    """Only so many of the most likely tokens are drawn from; 0 is all."""
    top_p: float = 1.0
    """Only the most likely tokens that together have this probability are drawn from."""
    min_new_tokens: int = 0
    """A text does not end before it has so many tokens."""
    no_repeat_ngram: int = 0
    """No run of so many tokens stands twice in a text; 0 lets all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task's presets."""

    template: str | None
    """What a decoder-only model reads: the text, and what it is to write after it. None: text alone."""
    metrics: tuple[str, ...]
    """Figures of the evaluation, the one that promotion looks at first."""
    baseline: str
    """What needs no model and must be beaten: `copy` gives the text back, `lead` its first sentence, `majority` the most
    frequent target of the training split, `unigram` counts words."""
    keep_source: KeepSide
    """Which end of a text that is too long stays: the turn that is answered, and the question, stand last."""
    generation: Generation


TASKS: dict[str, Task] = {
    "language_model": Task(
        template=None,
        metrics=("bits_per_byte",),
        baseline="unigram",
        keep_source="beginning",
        generation=Generation(max_new_tokens=100, temperature=0.8, top_k=50, top_p=0.95, length_penalty=0.6),
    ),
    "translation": Task(
        template="{text}\n\n{target}",
        metrics=("bleu", "chrf", "ter"),
        baseline="copy",
        keep_source="beginning",
        generation=Generation(num_beams=5),
    ),
    "summarisation": Task(
        template="{text}\n\nSummary: {target}",
        metrics=("rouge_l", "rouge_1", "rouge_2"),
        baseline="lead",
        keep_source="beginning",
        generation=Generation(num_beams=4),
    ),
    "question_answering": Task(
        template="{text}\n\nAnswer: {target}",
        metrics=("f1", "exact_match"),
        baseline="copy",
        keep_source="end",
        generation=Generation(num_beams=4),
    ),
    "dialogue": Task(
        template="{text}\n{target}",
        metrics=("bits_per_byte", "chrf", "distinct_1", "distinct_2"),
        baseline="majority",
        keep_source="end",
        generation=Generation(temperature=0.8, top_p=0.9),
    ),
}
"""Metrics by Post 2018 (arXiv 1804.08771), Popović 2015, Snover et al. 2006; Lin 2004; Rajpurkar et al. 2016; Li et al. 2016
(arXiv 1510.03055)."""

assert set(TASKS) == set(get_args(TaskName))


def template_literals(template: str) -> tuple[str, str]:
    """What stands before the text, and between text and target.

    >>> template_literals("Q: {text} A: {target}")
    ('Q: ', ' A: ')

    Raises:
        ValueError: it does not hold `{text}` and then, at its end, `{target}`.
    """
    found = _TEMPLATE.fullmatch(template)
    if found is None:
        raise ValueError(
            f"is {template!r}; it holds {{text}} once, and ends with {{target}}, such as '{{text}}\\n\\n{{target}}'"
        )
    return found[1], found[2]
