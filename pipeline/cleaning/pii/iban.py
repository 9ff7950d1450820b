"""International bank account numbers: country, length and the checksum of ISO 13616 (ISO 7064, modulus 97)."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator

from pipeline.cleaning.pii.kinds import Span

_LENGTHS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 "
    "ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 "
    "LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 "
    "PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
LENGTHS = {entry[:2]: int(entry[2:]) for entry in _LENGTHS.split()}
"""Country -> characters, of the registry that SWIFT keeps for ISO 13616."""

_SHAPE = re.compile(rb"aa00")
_CHECK_DIGITS = re.compile(r"(?<![A-Za-z0-9_])[A-Za-z]{2}[0-9]{2}[ -]?[A-Za-z0-9]{2}")
_MAX_WRITTEN = 33 + 8
_VALUES = {character: str(value) for value, character in enumerate(string.digits + string.ascii_uppercase)}


def find_ibans(text: str, shape: bytes) -> Iterator[Span]:
    """Account numbers in a text of this shape, in one piece or in groups, in either case.

    "to GB82 WEST 1234 5698 7654 32 today" -> 3..30
    """
    for place in _SHAPE.finditer(shape):
        start = place.start()
        if not _CHECK_DIGITS.match(text, start):
            continue
        length = LENGTHS.get(text[start : start + 2].upper())
        if length is None:
            continue
        taken = _take(text[start : start + _MAX_WRITTEN + 1], length)
        if taken and checksum_holds(taken.replace(" ", "").replace("-", "").upper()):
            yield Span(start, start + len(taken), "iban")


def _take(written: str, length: int) -> str | None:
    """The first `length` letters and digits with the single separators between them; None where something else is."""
    count = 0
    separated = True
    for index, character in enumerate(written):
        if character.isascii() and character.isalnum():
            count += 1
            separated = False
            if count == length:
                following = written[index + 1 : index + 2]
                return None if following.isascii() and following.isalnum() else written[: index + 1]
        elif separated or character not in " -":
            return None
        else:
            separated = True
    return None


def checksum_holds(iban: str) -> bool:
    """Whether the number, first four characters moved to the end and letters as 10 to 35, is 1 modulo 97."""
    return int("".join(_VALUES[character] for character in iban[4:] + iban[:4])) % 97 == 1
