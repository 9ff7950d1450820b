"""The sizes of a Transformer, derived from its depth.

Rules: width and heads see `transformer_sizes.py`; feed-forward 8/3 of the width, rounded up to a multiple of 64, which gives
SwiGLU as many parameters as the classical factor 4 (Shazeer 2020, arXiv 2002.05202). Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.transformer_sizes import decoder_width_and_heads

VOCABULARY_MULTIPLE = 64
"""Matrix products are fastest where sizes are multiples of this; the padding is never predicted nor saved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerShape:
    """Everything that decides the parameters."""

    vocab_size: int
    context_tokens: int
    num_layers: int
    width: int
    num_heads: int
    num_kv_heads: int
    feed_forward_width: int
    tie_embeddings: bool
    rope_theta: float
    head_size: int | None = None
    """Of a head's queries, keys and values; None is width / num_heads."""
    query_key_norm: bool = True
    """Norms of each head's queries and keys: with them the layout is Qwen3's, without Llama's."""
    norm_epsilon: float = 1e-6
    softcap: float | None = None
    """Of the logits: softcap tanh(logits / softcap)."""
    relu_squared: bool = False
    """down(relu(up(x))^2) in place of the SwiGLU."""
    value_embeddings: bool = False
    """A second table, whose entries are added to the values of every layer."""
    dropout: float = 0.0
    """Of embeddings and of what each part adds to the residual stream, while training."""

    @property
    def research_parts(self) -> list[str]:
        """What no other library computes."""
        return [name for name in ("softcap", "relu_squared", "value_embeddings") if getattr(self, name)]

    @property
    def head_width(self) -> int:
        return self.head_size or self.width // self.num_heads

    @property
    def padded_vocab_size(self) -> int:
        return -(-self.vocab_size // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE

    @property
    def num_matrix_parameters(self) -> int:
        """Of all layers, norms left out."""
        attention = self.width * self.head_width * 2 * (self.num_heads + self.num_kv_heads)
        num_matrices = 2 if self.relu_squared else 3
        return self.num_layers * (attention + num_matrices * self.width * self.feed_forward_width)

    @property
    def num_parameters(self) -> int:
        """As saved: the vocabulary without padding."""
        tables = self.vocab_size * self.width * (1 if self.tie_embeddings else 2)
        head_norms = 2 * self.head_width if self.query_key_norm else 0
        norms = self.num_layers * (2 * self.width + head_norms) + self.width
        values = self.vocab_size * self.values_width + self.num_layers if self.value_embeddings else 0
        return self.num_matrix_parameters + tables + norms + values

    @property
    def values_width(self) -> int:
        """Of the values of all heads."""
        return self.num_kv_heads * self.head_width

    @property
    def flops_per_token(self) -> int:
        """Of training: 6 per matrix parameter, the head's included, and 6 L T d for causal attention, d over all heads."""
        head = self.width * self.padded_vocab_size
        attention = self.num_layers * self.context_tokens * self.num_heads * self.head_width
        return 6 * (self.num_matrix_parameters + head) + 6 * attention


def derive_shape(
    *,
    vocab_size: int,
    context_tokens: int,
    depth: int,
    width: int | None = None,
    num_heads: int | None = None,
    num_kv_heads: int | None = None,
    feed_forward_width: int | None = None,
    tie_embeddings: bool = False,
    rope_theta: float = 10_000.0,
    head_width: int | None = None,
    query_key_norm: bool = True,
    softcap: float | None = None,
    relu_squared: bool = False,
    value_embeddings: bool = False,
    dropout: float = 0.0,
) -> TransformerShape:
    """What is given, and the rules for the rest.

    Raises:
        ValueError: the heads do not divide the width into even parts.
    """
    width, num_heads = decoder_width_and_heads(depth=depth, width=width, num_heads=num_heads, head_width=head_width)
    return TransformerShape(
        vocab_size=vocab_size,
        context_tokens=context_tokens,
        num_layers=depth,
        width=width,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads or num_heads,
        feed_forward_width=feed_forward_width or (4 * width if relu_squared else -(-8 * width // (3 * 64)) * 64),
        tie_embeddings=tie_embeddings,
        rope_theta=rope_theta,
        head_size=head_width if head_width != width // num_heads else None,
        query_key_norm=query_key_norm,
        softcap=softcap,
        relu_squared=relu_squared,
        value_embeddings=value_embeddings,
        dropout=dropout,
    )
