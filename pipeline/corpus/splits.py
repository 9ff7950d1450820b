"""A document's split is a function of its duplicate cluster's id and the configured fractions, nothing else.

An id is a BLAKE2b hash in hexadecimal, uniform already, so its first 13 digits (52 bits, exact in a double) are the
position in [0, 1). Test takes the lowest positions, validation the next: raising a fraction moves documents out of the
training split, and never from test to training.
"""

from __future__ import annotations

from pipeline.config.data import SplitsConfig

DIGITS = 13

SPLIT_SQL = f"""
CASE
    WHEN ('0x' || substr(cluster_id, 1, {DIGITS}))::BIGINT / {16**DIGITS}.0 < $test THEN 'test'
    WHEN ('0x' || substr(cluster_id, 1, {DIGITS}))::BIGINT / {16**DIGITS}.0 < $test + $validation THEN 'validation'
    ELSE 'train'
END
"""
"""`split_of` over the column cluster_id, with the parameters $test and $validation."""


def split_of(cluster_id: str, splits: SplitsConfig) -> str:
    """`split_of("00...", ...)` is test, `split_of("ff...", ...)` is train."""
    position = int(cluster_id[:DIGITS], 16) / 16**DIGITS
    if position < splits.test:
        return "test"
    return "validation" if position < splits.test + splits.validation else "train"
