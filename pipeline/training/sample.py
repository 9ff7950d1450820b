"""What the network writes in the middle of its training: a line for a person, beside the figures.

Draws from a generator of its own and leaves the network as it was, so the run's bits do not depend on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pipeline.models.interface import GenerationParameters
from pipeline.models.recurrent.network import Recurrent
from pipeline.models.sampling import next_tokens
from pipeline.models.transformer.network import Transformer
from pipeline.tokenizer.model import Tokenizer
from pipeline.training.families import Network

NUM_TOKENS = 40
_PARAMETERS = GenerationParameters(max_new_tokens=NUM_TOKENS)


@torch.no_grad()
def sample_text(network: Network, tokenizer: Tokenizer, opening: Sequence[int]) -> str | None:
    """What the network adds to these tokens; None of an encoder-decoder: it needs a source."""
    if not isinstance(network, Transformer | Recurrent):
        return None
    generator = torch.Generator().manual_seed(_PARAMETERS.seed)
    device = network.lm_head.weight.device
    was_training = network.training
    network.eval()
    token_ids = list(opening)
    try:
        # read anew for each token: what decoding prepares would have to be prepared for these weights
        for _ in range(min(NUM_TOKENS, network.shape.context_tokens - len(opening))):
            read = torch.tensor([token_ids], device=device)
            hidden = network.hidden(read) if isinstance(network, Transformer) else network.hidden(read)[0]
            token = int(next_tokens(network.logits(hidden[:, -1]), _PARAMETERS, [generator]))
            if token == tokenizer.eos_id:
                break
            token_ids.append(token)
    finally:
        network.train(was_training)
    added = token_ids[len(opening) :]
    return tokenizer.decode([token for token in added if token not in (tokenizer.bos_id, tokenizer.pad_id)])
