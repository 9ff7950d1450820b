"""The characters of a text that are not ASCII: few in most texts, so that a look at those alone costs little."""

from __future__ import annotations

_ASCII_BUT_SPACE = bytes(byte for byte in range(128) if byte != ord(" "))


def beyond_ascii(text: str) -> str:
    """Every character beyond ASCII and every space, in order: what stands in different words is no neighbour.

    "naïve – née" -> "ï – é"
    """
    return text.encode("utf-8", "surrogatepass").translate(None, _ASCII_BUT_SPACE).decode("utf-8", "surrogatepass")
