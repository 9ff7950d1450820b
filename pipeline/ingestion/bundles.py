"""Small files are built together: a part of the cache costs as much as half a megabyte of text, whatever is in it.

In: a source's parts, sorted by path. Out: the same in groups, each of them one part of the cache. A part of
SMALL_BYTES or more, and a range of a large file, is a group of its own. Where one group of small files ends and the
next begins is said by a hash of their paths (content-defined chunking: Muthitacharoen et al. 2001, LBFS), so a file that
is added, changed or removed alters its own group, and seldom another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pipeline.files import fingerprint
from pipeline.ingestion.parts import Part

SMALL_BYTES = 64_000
"""A file of as much or more is built by itself."""
BUNDLE_BYTES = 512_000
"""Of a group of small files, on average; half of it at least, so that few come near the greatest size, whose place shifts."""
MAX_BUNDLE_BYTES = 4 * BUNDLE_BYTES
MAX_BUNDLE_FILES = 10_000


def bundle(parts: Sequence[Part]) -> list[tuple[Part, ...]]:
    """Every part in one group, in the order of their first ones."""
    bundles: list[list[Part]] = []
    open_bundle: list[Part] | None = None
    num_bytes = 0
    for part in parts:
        if part.num_bytes >= SMALL_BYTES or part.range is not None:
            bundles.append([part])
            continue
        if open_bundle is None:
            open_bundle, num_bytes = [], 0
            bundles.append(open_bundle)
        open_bundle.append(part)
        num_bytes += part.num_bytes
        is_full = num_bytes >= MAX_BUNDLE_BYTES or len(open_bundle) >= MAX_BUNDLE_FILES
        if is_full or (num_bytes >= BUNDLE_BYTES // 2 and _is_border(part)):
            open_bundle = None
    return [tuple(parts) for parts in bundles]


def bundle_key(parts: Sequence[Part]) -> str:
    """Of a part alone it is the part's own."""
    return parts[0].key if len(parts) == 1 else fingerprint([part.key for part in parts])


def _is_border(part: Part) -> bool:
    """The larger a file, the likelier it is one; which are, their paths and sizes alone decide."""
    draw = int.from_bytes(hashlib.sha256(part.path.encode("utf-8", "surrogatepass")).digest()[:8])
    return draw % (BUNDLE_BYTES // 2) < part.num_bytes
