"""E-mail addresses, found from the `@` outwards, so that text without one costs a search for a character.

Domains may hold accented Latin letters; quoted local parts, bare host names and addresses in Unicode are not looked
for. An `@` may be written out in brackets, as in "ann [at] mail [dot] org", or as `%40` or `&#64;`; without brackets such words
are those of a sentence.
`git@host:path`, `@user@server`, `image@2x.png` and the matrix product `q@k.transpose(0, 1)` are no mailboxes.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator

from pipeline.cleaning.pii.kinds import Span

MAX_LOCAL_CHARACTERS = 64
"""RFC 5321, 4.5.3.1.1."""
_ACCENTED = "".join(chr(code) for code in range(0xC0, 0x250) if chr(code).isalpha())
_LOCAL_CHARACTERS = string.ascii_letters + string.digits + _ACCENTED + "._%+-'&"
_DOMAIN = re.compile(r"@[A-Za-z0-9\u00c0-\u024f][A-Za-z0-9\u00c0-\u024f.\-]{2,253}+")
_TOP_LEVEL = re.compile(r"[A-Za-z]{2,24}|xn--[A-Za-z0-9-]{2,59}")
_ENDINGS = "css gif htm html jpeg jpg js json pdf png svg txt webp xml yaml yml"
_FILE_ENDINGS = frozenset(_ENDINGS.split())
"""Endings of file names that no registry has as a top-level domain."""
_ATTRIBUTES = "data dtype grad shape values weight weights"
_NO_TOP_LEVEL = _FILE_ENDINGS | frozenset(_ATTRIBUTES.split())
"""What follows the last dot in names of files, and in code on arrays, where `@` multiplies them."""
_NO_METHODS = frozenset(["cn", "com", "de", "edu", "fr", "gov", "jp", "net", "org", "ru", "uk"])
"""Top-level domains after which a bracket is one of prose: "li@qq.com(李)"."""
_LABEL = r"[A-Za-z0-9\u00c0-\u024f](?:[A-Za-z0-9\u00c0-\u024f\-]{0,61}[A-Za-z0-9\u00c0-\u024f])?"
_IN_BRACKETS = re.compile(
    rf"(?<![{re.escape(_LOCAL_CHARACTERS)}@])([A-Za-z0-9_][A-Za-z0-9\u00c0-\u024f._+\-]{{0,63}}+)"
    r"(?:( ?)[\[(] ?(?:at|@) ?[\])]\2|%40|&#64;)"
    rf"(({_LABEL})(?:(?:\.|( ?)[\[(] ?(?:dot|\.) ?[\])]\5){_LABEL})+)",
    re.IGNORECASE,
)
_OPENED = re.compile(r"[\[(] ?(?:at|@) ?$", re.IGNORECASE)
_DOT = re.compile(r" ?[\[(] ?(?:dot|\.) ?[\])] ?", re.IGNORECASE)


def find_emails(text: str, shape: bytes) -> Iterator[Span]:
    """Addresses in a text of this shape.

    "Write to ann.lee+x@mail.example.org." -> 9..35
    """
    if _has_written_out(text):
        for match in _IN_BRACKETS.finditer(text):
            domain = _DOT.sub(".", match[3])
            if _domain_length(domain) == len(domain):
                yield Span(*match.span(), "email")
    if b"@" not in shape:
        return
    for match in _DOMAIN.finditer(text):
        at = match.start()
        before = text[max(at - MAX_LOCAL_CHARACTERS - 1, 0) : at]
        local = before[len(before.rstrip(_LOCAL_CHARACTERS)) :]
        outside = before[: len(before) - len(local)]
        local = local.lstrip(".-+'&%")
        if local.startswith("__"):  # a line to be filled in; a name may begin with one
            local = local.lstrip("_.-+'&%")
        if not local or len(local) > MAX_LOCAL_CHARACTERS or local.endswith(".") or outside.endswith("@"):
            continue
        length = _domain_length(match.group()[1:])
        if not length:
            continue
        end = at + 1 + length
        if not _is_something_else(local, text[at + 1 : end], text[end : end + 1]):
            yield Span(at - len(local), end, "email")


def _has_written_out(text: str) -> bool:
    """Whether "at" or `@` stands before a closing bracket, or a code for it anywhere: looked for from what is rare, which is
    faster than the expression is."""
    if "%40" in text or "&#64;" in text:
        return True
    for closing in ")]":
        place = text.find(closing)
        while place >= 0:
            if text[place - 1] in "tT@ " and _OPENED.search(text, max(place - 5, 0), place):
                return True
            place = text.find(closing, place + 1)
    return False


def _is_something_else(local: str, domain: str, after: str) -> bool:
    """Whether the character after it makes an address the place of a repository, a handle, or a call in code."""
    if after in ("(", "["):
        return domain.rpartition(".")[2].lower() not in _NO_METHODS
    return after == "@" or (after in (":", "/") and local == "git")


def _domain_length(candidate: str) -> int:
    """Characters of the domain at the beginning of the candidate; 0 where there is none."""
    domain = candidate.rstrip(".-")
    domain = domain[: domain.find("..")] if ".." in domain else domain
    labels = domain.split(".")
    if len(labels) < 2 or not all(0 < len(label) <= 63 and label[0] != "-" and label[-1] != "-" for label in labels):
        return 0
    top = labels[-1]
    return len(domain) if _TOP_LEVEL.fullmatch(top) and top.lower() not in _NO_TOP_LEVEL else 0
