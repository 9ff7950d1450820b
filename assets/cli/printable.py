"""Text of documents and models as a terminal may have it."""

from __future__ import annotations

import unicodedata

from rich.console import Console

_KEPT = "\n\t\u200b\u200c\u200d\u200e\u200f\u2060"
"""What is not printable and does no harm: ends of lines, tabs, and what joins or parts the letters of many scripts and emoji."""


def plain(text: str) -> str:
    """Text that moves no cursor, sets no colour and turns no line round: other characters that cannot be printed become U+FFFD.

    "a\\x1b[31mb \u202ec\u3000d" -> "a\ufffd[31mb \ufffdc\u3000d"
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in _KEPT or unicodedata.category(character) == "Zs"
        else "\ufffd"
        for character in text
    )


def for_console(text: str, console: Console) -> str:
    """The text for a terminal; as it is for a pipe or a file."""
    return plain(text) if console.is_terminal else text
