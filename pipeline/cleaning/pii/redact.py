"""All kinds together: spans of one text that do not overlap, and the text with placeholders in their place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping

from pipeline.cleaning.pii.card import find_cards
from pipeline.cleaning.pii.chinese import find_chinese_ids, find_chinese_mobiles
from pipeline.cleaning.pii.email import find_emails
from pipeline.cleaning.pii.folding import fold
from pipeline.cleaning.pii.iban import find_ibans
from pipeline.cleaning.pii.ip import find_ips
from pipeline.cleaning.pii.kinds import ALL_KINDS, PLACEHOLDERS, Span
from pipeline.cleaning.pii.numbers import find_stretches
from pipeline.cleaning.pii.phone import find_phones
from pipeline.cleaning.pii.shape import shape_of

MIN_NUMBER_DIGITS = 7
"""Of the shortest telephone number."""
_IN_TEXT: Mapping[str, tuple[Callable[[str, bytes], Iterator[Span]], int]] = {
    "email": (find_emails, 0),
    "ip": (find_ips, 4),
    "iban": (find_ibans, 10),
}
"""Kind -> how it is found, and the digits without which there is none."""
_IN_STRETCHES: Mapping[str, Callable[[str, int, int], Iterator[Span]]] = {
    "chinese_id": find_chinese_ids,
    "card": find_cards,
    "chinese_mobile": find_chinese_mobiles,
    "phone": find_phones,
}
_WIDTHLESS = "\u200b\u2060"
"""Zero-width space and word joiner. The joiners of letters are other characters: many scripts are wrong without them."""
_RANKS = {kind: rank for rank, kind in enumerate(ALL_KINDS)}


def redact(text: str, kinds: Collection[str]) -> tuple[str, dict[str, int]]:
    """The text with placeholders, and how many of each kind there were.

    "Ask ann@mail.org, twice", ["email"] -> ("Ask <EMAIL>, twice", {"email": 1})
    """
    spans = find_spans(text, kinds)
    if not spans:
        return text, {}
    pieces = []
    position = 0
    for start, end, kind in spans:
        pieces += [text[position:start], PLACEHOLDERS[kind]]
        position = end
    pieces.append(text[position:])
    return "".join(pieces), dict(sorted(Counter(span.kind for span in spans).items()))


def find_spans(text: str, kinds: Collection[str]) -> list[Span]:
    """Spans from left to right, none overlapping another; of two that would, the kind that stands first in
    PLACEHOLDERS is kept, then the longer one.

    A kind that is not asked for still keeps its spans from the kinds after it: a card is no telephone number. What is no wider
    than nothing, such as a page's hints of where a line may break, hides none of them.
    """
    if any(character in text for character in _WIDTHLESS):
        places = [place for place, character in enumerate(text) if character not in _WIDTHLESS]
        spans = find_spans("".join([text[place] for place in places]), kinds)
        return [Span(places[span.start], places[span.end - 1] + 1, span.kind) for span in spans]
    text = fold(text)
    shape = shape_of(text)
    num_digits = shape.count(b"0")
    found = [
        span
        for kind, (find, min_digits) in _IN_TEXT.items()
        if kind in kinds and num_digits >= min_digits
        for span in find(text, shape)
    ]
    if num_digits >= MIN_NUMBER_DIGITS and any(kind in kinds for kind in _IN_STRETCHES):
        for start, end in find_stretches(text, shape):
            for find_within in _IN_STRETCHES.values():
                found += find_within(text, start, end)
    if not found:
        return []
    found.sort(key=lambda span: (_RANKS[span.kind], span.start - span.end, span.start))
    taken = bytearray(len(text))
    kept = []
    for span in found:
        if taken.find(1, span.start, span.end) < 0:
            taken[span.start : span.end] = b"\x01" * (span.end - span.start)
            kept.append(span)
    return sorted(span for span in kept if span.kind in kinds)
