"""Payment card numbers: the issuer's prefix, its lengths, and the check digit (ISO/IEC 7812-1, Luhn).

Twelve and thirteen digits are as likely a bar code, and of others a prefix says little, so there a word for a card must stand
before them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.cleaning.pii.kinds import Span

_NUMBER = re.compile(
    r"[0-9](?<![\w.,/+\-][0-9])(?:[0-9]{11,18}|[0-9]{3}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3})?"
    r"|[0-9]{3}([ -])[0-9]{6}\2[0-9]{4,5})(?![0-9A-Za-z_]|[-.,][0-9])",
    re.ASCII,
)
_ISSUERS = re.compile(
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})"  # Visa
    r"|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"  # Mastercard
    r"|3[47][0-9]{13}"  # American Express
    r"|3(?:0[0-5]|09|[689][0-9])[0-9]{11}"  # Diners Club
    r"|(?:6011|64[4-9][0-9]|65[0-9]{2})[0-9]{12}(?:[0-9]{3})?"  # Discover
    r"|35(?:2[89]|[3-8][0-9])[0-9]{12}(?:[0-9]{3})?"  # JCB
    r"|62[0-9]{14,17}"  # UnionPay
    r"|(?:50|5[6-9]|6[0-9])[0-9]{14}"  # Maestro
)
_VAGUE_ISSUERS = re.compile(r"(?:2131|1800)[0-9]{11}|(?:50|5[6-9]|6[0-9])(?:[0-9]{10,13}|[0-9]{15,17})")
"""JCB of old, and Maestro where it has not 16 digits: one long number in seven begins so, and one in ten of those is checked."""
_SHORT = 13
_CARD_WORD = re.compile(r"\b(?:card|cc|visa|maestro|mastercard|carte|karte|tarjeta)\b|卡", re.IGNORECASE)
_NEARBY = 60


def find_cards(text: str, start: int, end: int) -> Iterator[Span]:
    """Card numbers within a stretch.

    "card 4111 1111 1111 1111" -> 5..24
    """
    for match in _NUMBER.finditer(text, start, end):
        digits = match.group().replace(" ", "").replace("-", "")
        is_issued = _ISSUERS.fullmatch(digits) is not None
        if not is_issued and not _VAGUE_ISSUERS.fullmatch(digits):
            continue
        if len(set(digits)) < 2 or not luhn_holds(digits):
            continue
        before = text[max(match.start() - _NEARBY, 0) : match.start()]
        if (len(digits) <= _SHORT or not is_issued) and not _CARD_WORD.search(before):
            continue
        yield Span(match.start(), match.end(), "card")


def luhn_holds(digits: str) -> bool:
    """Whether the digits, each second one from the right doubled and its digits added, sum to a multiple of ten."""
    doubled = sum(int(digit) * 2 - 9 * (digit > "4") for digit in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0
