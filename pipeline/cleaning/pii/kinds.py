"""The kinds of personal data, where their spans may overlap the earlier kind wins, and their placeholders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

PLACEHOLDERS: Mapping[str, str] = {
    "email": "<EMAIL>",
    "ip": "<IP>",
    "iban": "<IBAN>",
    "chinese_id": "<CHINESE_ID>",
    "card": "<CARD>",
    "chinese_mobile": "<CHINESE_MOBILE>",
    "phone": "<PHONE>",
}
"""Kind -> what stands in its place; a checksum says more than a form, so checked kinds come before phone numbers."""

ALL_KINDS = tuple(PLACEHOLDERS)


class Span(NamedTuple):
    """Where something was found, in characters; `end` is exclusive."""

    start: int
    end: int
    kind: str
