"""A prompt's text in, the continuation's text out: the same for every model family, in samples, serving and registry.

In: prompts, a model, its tokenizer, generation parameters. Out: what the model adds to each prompt.
The continuation is cut out of the decoded whole, because a piece's leading space shows only after what precedes it;
bytes that are no UTF-8 (a character cut at the token limit) show as U+FFFD, and a cut last one is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline.tasks import TASKS

if TYPE_CHECKING:
    from pipeline.models.interface import GenerationParameters, LanguageModel
    from pipeline.tokenizer.model import Tokenizer

REPLACEMENT = "\ufffd"

_OF_DRAWS = {"temperature", "top_k", "top_p"}


def defaults_of(task: str) -> dict[str, Any]:
    """How a model of the task writes where the caller says nothing: temperature 0 always takes the most likely token, top_k 0
    draws from all of them, num_beams above 1 draws nothing and searches for the likeliest text."""
    return {**asdict(TASKS[task].generation), "seed": 0}


DEFAULTS: Mapping[str, Any] = defaults_of("language_model")


def generation_parameters(
    tokenizer: Tokenizer, settings: Mapping[str, Any] | None = None, *, defaults: Mapping[str, Any] = DEFAULTS
) -> GenerationParameters:
    """The defaults with the caller's settings over them; the end of text stops the model.

    Who sets how tokens are drawn, and no beams, gets draws where the default is a search, which would ignore them.

    Raises:
        ValueError: a setting that does not exist or cannot be.
    """
    from pipeline.models.interface import GenerationParameters

    given = dict(settings or {})
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no generation setting; there are {', '.join(defaults)}")
    if _OF_DRAWS & set(given):
        given.setdefault("num_beams", 1)
    chosen = {**defaults, **given}
    if int(chosen["top_k"]) < 0:
        raise ValueError(f"top_k is {chosen['top_k']}; it must be at least 1, or 0 for all")
    return GenerationParameters(
        max_new_tokens=int(chosen["max_new_tokens"]),
        temperature=float(chosen["temperature"]),
        top_k=int(chosen["top_k"]) or None,
        top_p=float(chosen["top_p"]),
        seed=int(chosen["seed"]),
        stop_ids=(tokenizer.eos_id,),
        num_beams=int(chosen["num_beams"]),
        length_penalty=float(chosen["length_penalty"]),
        min_new_tokens=int(chosen["min_new_tokens"]),
        no_repeat_ngram=int(chosen["no_repeat_ngram"]),
    )


def in_words(parameters: GenerationParameters) -> str:
    """How a text is written: `5 beams, length penalty 1, at most 256 tokens, no run of 3 twice`."""
    if parameters.num_beams > 1:
        way = f"{parameters.num_beams} beams, length penalty {parameters.length_penalty:g}"
    elif parameters.temperature == 0:
        way = "the likeliest token each time"
    else:
        way = f"drawn at temperature {parameters.temperature:g}, top-k {parameters.top_k or 'all'}, top-p {parameters.top_p:g}"
        way += f", seed {parameters.seed}"
    least = f"at least {parameters.min_new_tokens:,} and " if parameters.min_new_tokens else ""
    runs = f", no run of {parameters.no_repeat_ngram} twice" if parameters.no_repeat_ngram else ""
    return f"{way}, {least}at most {parameters.max_new_tokens:,} tokens{runs}"


def continue_texts(
    model: LanguageModel, tokenizer: Tokenizer, prompts: Sequence[str], parameters: GenerationParameters
) -> list[str]:
    """The continuation of each prompt alone, in order; a prompt's result does not depend on its neighbours."""
    return [_continue(model, tokenizer, prompt, parameters) for prompt in prompts]


def _continue(model: LanguageModel, tokenizer: Tokenizer, prompt: str, parameters: GenerationParameters) -> str:
    prompt_ids = tokenizer.encode(prompt)
    (added,) = model.generate([[tokenizer.bos_id, *prompt_ids]], parameters)
    special = {tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id}
    added = [token for token in added if token not in special]
    before = tokenizer.decode(prompt_ids)
    whole = tokenizer.decode([*prompt_ids, *added])
    text = whole[len(before) :] if whole.startswith(before) else tokenizer.decode(added)
    return text.rstrip(REPLACEMENT)
