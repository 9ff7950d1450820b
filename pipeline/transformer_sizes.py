"""Width and heads of the Transformers, derived from their depth where the file leaves them open.

Here and not beside the networks, which use these too, so that sizes that do not fit are refused when the file is read.
"""

from __future__ import annotations

WIDTH_PER_LAYER = 64
"""nanochat's aspect ratio."""
LEAST_ENCODER_DECODER_WIDTH = 256
"""The classic small one: three layers of 256 in JoeyNMT's examples."""


def decoder_width_and_heads(
    *, depth: int, width: int | None, num_heads: int | None, head_width: int | None
) -> tuple[int, int]:
    """Heads of 64, and of 128 from width 1024 on, where attention kernels are at their best.

    Raises:
        ValueError: heads without a width of their own do not divide the width into even parts.
    """
    width = width or WIDTH_PER_LAYER * depth
    num_heads = num_heads or max(1, width // (128 if width >= 1024 else 64))
    if head_width is None:
        _check(width, num_heads)
    return width, num_heads


def encoder_decoder_width_and_heads(*, depth: int, width: int | None, num_heads: int | None) -> tuple[int, int]:
    """Heads of 64.

    Raises:
        ValueError: the heads do not divide the width into even parts.
    """
    width = width or max(LEAST_ENCODER_DECODER_WIDTH, WIDTH_PER_LAYER * depth)
    num_heads = num_heads or max(1, width // 64)
    _check(width, num_heads)
    return width, num_heads


def _check(width: int, num_heads: int) -> None:
    if width % (2 * num_heads):
        raise ValueError(
            f"has width {width}, which {num_heads} heads do not divide into even parts. Change width or num_heads"
        )
