"""A prompt's text in, the continuation's text out: the same for every model family, in samples, serving and registry.

In: prompts, a model, its tokenizer, generation parameters. Out: what the model adds to each prompt.
The continuation is cut out of the decoded whole, because a piece's leading space shows only after what precedes it;
bytes that are no UTF-8 (a character cut at the token limit) show as U+FFFD, and a cut last one is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.models.interface import GenerationParameters, LanguageModel
    from pipeline.tokenizer.model import Tokenizer

REPLACEMENT = "\ufffd"


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
