"""What the model writes, so that a person can read what the figures mean.

In: the configured prompts, or test documents whose openings become prompts. Out: prompt and continuation, in order.
Seeds are fixed, so the samples are the same in every run on the same machine.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import TYPE_CHECKING

from pipeline.config.training import EvaluateConfig
from pipeline.evaluation.continuation import continue_texts

if TYPE_CHECKING:
    from pipeline.models.interface import LanguageModel
    from pipeline.tokenizer.model import Tokenizer

OPENING_CHARACTERS = 60
"""Of a test document, at most a quarter of it: what is left is for the model to guess at."""

ENDS = ".!?…。！？\"'”’」』)"
"""Of sentences. A piece may hold one with the line break behind it, so that without the break it seems the end of the text."""


def opening(text: str) -> str:
    """The first words of a text, at most 60 characters and a quarter of it, without the end of a sentence; some characters
    where it has no words.

    >>> opening("It was the best of times, it was the worst of times, it was the age of wisdom")
    'It was the best of'
    """
    limit = min(OPENING_CHARACTERS, max(len(text) // 4, 1))
    head = text[:limit]
    if limit < len(text) and not text[limit].isspace():
        at = max(head.rfind(space) for space in (" ", "\n", "\t"))
        head = head[:at] if at > 0 else head
    return head.rstrip(ENDS + string.whitespace) or head.rstrip() or head


def pick_openings(texts_by_source: dict[str, list[str]], *, count: int) -> list[str]:
    """Openings of test documents, one of each source in turn."""
    queues = [list(texts) for _, texts in sorted(texts_by_source.items())]
    picked: list[str] = []
    while len(picked) < count and any(queues):
        picked += [opening(queue.pop(0)) for queue in queues if queue]
    return picked[:count]


def write_samples(
    model: LanguageModel, tokenizer: Tokenizer, *, config: EvaluateConfig, openings: Sequence[str]
) -> list[dict[str, str]]:
    """`{"prompt", "continuation"}` for every configured prompt, or for openings, at least `num_samples` of them."""
    from pipeline.models.interface import GenerationParameters

    prompts = config.prompts or tuple(openings)
    if not prompts:
        return []
    parameters = GenerationParameters(
        max_new_tokens=config.sample_tokens,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        seed=0,
        stop_ids=(tokenizer.eos_id,),
    )
    samples = []
    for seed, prompt in enumerate(islice(cycle(prompts), max(config.num_samples, len(config.prompts)))):
        (continuation,) = continue_texts(model, tokenizer, [prompt], replace(parameters, seed=seed))
        samples.append({"prompt": prompt, "continuation": continuation})
    return samples
