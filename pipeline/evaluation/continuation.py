"""A prompt's text in, the continuation's text out: the same for every model family, in samples, serving and registry.

In: prompts, a model, its tokenizer, generation parameters. Out: what the model adds to each prompt.
The continuation is cut out of the decoded whole, because a piece's leading space shows only after what precedes it;
bytes that are no UTF-8 (a character cut at the token limit) show as U+FFFD, and a cut last one is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.models.interface import GenerationParameters, LanguageModel
    from pipeline.tokenizer.model import Tokenizer

REPLACEMENT = "\ufffd"

DEFAULTS: Mapping[str, Any] = {
    "max_new_tokens": 64,
    "temperature": 0.8,
    "top_k": 50,
    "top_p": 0.95,
    "seed": 0,
    "num_beams": 1,
    "length_penalty": 0.6,
}
"""Generation settings where the caller gives none; temperature 0 always takes the most likely token, top_k 0 draws
from all of them, num_beams above 1 draws nothing and searches for the likeliest text."""


def generation_parameters(tokenizer: Tokenizer, settings: Mapping[str, Any] | None = None) -> GenerationParameters:
    """The defaults with the caller's settings over them; the end of text stops the model.

    Raises:
        ValueError: a setting that does not exist or cannot be.
    """
    from pipeline.models.interface import GenerationParameters

    unknown = sorted(set(settings or ()) - set(DEFAULTS))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no generation setting; there are {', '.join(DEFAULTS)}")
    chosen = {**DEFAULTS, **(settings or {})}
    return GenerationParameters(
        max_new_tokens=int(chosen["max_new_tokens"]),
        temperature=float(chosen["temperature"]),
        top_k=int(chosen["top_k"]) or None,
        top_p=float(chosen["top_p"]),
        seed=int(chosen["seed"]),
        stop_ids=(tokenizer.eos_id,),
        num_beams=int(chosen["num_beams"]),
        length_penalty=float(chosen["length_penalty"]),
    )


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
