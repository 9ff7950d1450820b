"""Public IP addresses, versions 4 and 6; private, loopback, reserved and documentation ranges are left alone.

A number such as 1.2.3.4 is as likely a version or a section. It is left alone after a word that says so ("version number",
"versions before", "Chrome/"), where it has a suffix, in a list that such a number opens, and where all parts are small and
nothing beside it speaks of addresses. Of addresses one in 4,096 has small parts alone, of versions nearly every one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv6Address, IPv6Network

from pipeline.cleaning.pii.kinds import Span

_FOUR_SHAPE = re.compile(rb"0\.0{1,3}\.0")
"""From the last digit of the first part to the first one of the third."""
_MAX_DIGITS = 3
_FOUR = re.compile(r"[0-9](?<![\w.][0-9])[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![0-9A-Za-z_]|\.[0-9]|[-+][A-Za-z])", re.ASCII)
_COLONS = re.compile(r":[0-9A-Fa-f:]{4,40}+(?:\.[0-9]{1,3}){0,3}")
_PUBLIC_SIX = IPv6Network("2000::/3")
_DOCUMENTATION_SIX = (IPv6Network("2001:db8::/32"), IPv6Network("3fff::/20"))
_HEX = "0123456789abcdefABCDEF"
_NEARBY = 32
_LETTERS = re.compile(r"[a-z\u00df-\u024f\u0430-\u044f]+|[0-9]+")
_NUMBERED_WORDS = (
    "v ver version versions release releases section sec chapter clause article paragraph table figure fig appendix oid "
    "build firmware driver assembly chrome chromium firefox opera player acrobat jre jdk "
    "versión versiones versão versione versionsnummer versie wersja verze версия версии"
)
_NUMBERED = frozenset(_NUMBERED_WORDS.split())
"""Words before a number with four parts that is no address."""
_FILLERS = "number numbers no nr is was are were before after below above through than"
_BETWEEN = frozenset(_FILLERS.split())
_BETWEEN_TWO = (["prior", "to"], ["up", "to"], ["equal", "to"])
"""What may stand between such a word and its number."""
_LISTED = re.compile(r"(?:,?\s+(?:and|or|to|through)\s+|\s*[-–—]\s*)", re.IGNORECASE)
"""Between two numbers of one list."""
_NUMBERED_SIGNS = ("==", "~", "^", ">=", "<=", "§", "§ ", "版本", "第", "版本号", "バージョン", "버전")
_ADDRESSED = (
    "ip ips ipv address addresses addr adresse adresses host hosts hostname server servers webserver dns nameserver gateway "
    "ping client clients router proxy"
)
_ADDRESS_WORDS = frozenset(_ADDRESSED.split())
_ADDRESS_SIGNS = ("://", "@", "地址", "服务器", "主机", "网关", "路由器")
_PORT = re.compile(r":[0-9]{1,5}(?![0-9.])|/[0-9]{1,2}(?![0-9.])")
"""Or the size of a network, right behind an address."""
_SMALL = 32


def find_ips(text: str, shape: bytes) -> Iterator[Span]:
    """Addresses of both versions in a text of this shape.

    "from 93.184.216.34, not 192.168.1.1" -> 5..18
    """
    yield from _find_four(text, shape)
    if b":" in shape:
        yield from _find_six(text)


def _find_four(text: str, shape: bytes) -> Iterator[Span]:
    numbering_end = -1  # of the last number that was none
    for place in _FOUR_SHAPE.finditer(shape):
        digits = shape[max(place.start() - _MAX_DIGITS, 0) : place.start()]
        match = _FOUR.match(text, place.start() - len(digits) + len(digits.rstrip(b"0")))
        if not match:
            continue
        before = text[max(match.start() - _NEARBY, 0) : match.start()].lower()
        is_listed = numbering_end >= 0 and _LISTED.fullmatch(text, numbering_end, match.start()) is not None
        if is_listed or _is_numbering(before):
            numbering_end = match.end()
            continue
        try:
            address = IPv4Address(match.group())
        except AddressValueError:
            continue
        if not address.is_global or address.is_multicast:
            continue
        if max(address.packed) < _SMALL and not _speaks_of_addresses(before, text, match.end()):
            continue
        yield Span(match.start(), match.end(), "ip")


def _is_numbering(before: str) -> bool:
    if before.endswith(_NUMBERED_SIGNS) or (before.endswith("-") and before[-2:-1].isalpha()):
        return True
    words = _LETTERS.findall(before)
    while words and (words[-1] in _BETWEEN or words[-2:] in _BETWEEN_TWO):
        del words[-1 if words[-1] in _BETWEEN else -2 :]
    return bool(words) and words[-1] in _NUMBERED


def _speaks_of_addresses(before: str, text: str, end: int) -> bool:
    """Whether a word or a sign before a number, or a port after it, says that it is an address."""
    if before.endswith(_ADDRESS_SIGNS) or _PORT.match(text, end):
        return True
    return not _ADDRESS_WORDS.isdisjoint(_LETTERS.findall(before))


def _find_six(text: str) -> Iterator[Span]:
    for match in _COLONS.finditer(text):
        before = text[max(match.start() - 5, 0) : match.start()]
        first = before[len(before.rstrip(_HEX)) :]
        outside = before[: len(before) - len(first)]
        # public addresses begin with 2 or 3 and have four digits in the first group: 2000::/3
        if (
            len(first) != 4
            or first[0] not in "23"
            or (outside[-1:].isascii() and outside[-1:].isalnum())
            or outside[-1:] in (":", "_")
        ):
            continue
        written = first + match.group().rstrip(":")
        written = written if match.group()[-2:] != "::" else written + "::"
        end = match.start() - len(first) + len(written)
        if text[end : end + 1].isascii() and text[end : end + 1].isalnum():
            continue
        try:
            address = IPv6Address(written)
        except AddressValueError:
            continue
        if address in _PUBLIC_SIX and address.is_global and not any(address in net for net in _DOCUMENTATION_SIX):
            yield Span(end - len(written), end, "ip")
