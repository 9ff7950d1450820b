"""Telephone numbers: international ones by `+` and calling code, North American and trunk-zero ones by form, others
where a word for telephoning stands beside them.

The plans of ITU-T E.164 allow nearly any digits, so a number without `+` is told by how it is written. Where the form
says too little ("467 3395"), a word such as phone, fax, Tel. or 电话 must stand close before or after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipeline.cleaning.pii.kinds import Span
from pipeline.cleaning.pii.numbers import count_digits

_EXTENSION = r"(?:(?: ?(?:x|ext\.?|extension) ?)[0-9]{1,6})?"
_NOT_INSIDE = r"(?<![\w.:/=$€£#%\-])(?<![0-9],)"
_END = r"(?![0-9A-Za-z_]|[.,:/\-–][0-9]|%| ?[€$£])"
_GAP = r"[ .\-\u00a0\u2010\u2011\u2013]"
_CALLING_CODES = (
    r"(?:1|7|2[07]|2[1-689][0-9]|3[0-469]|3[578][0-9]|4[013-9]|42[0-9]|5[1-8]|5[09][0-9]|6[0-6]|6[789][0-9]"
    r"|8[1246]|8[0578][0-9]|9[0-58]|9[679][0-9])"
)
_INTERNATIONAL = re.compile(
    rf"(?<![\w+])(?:\+|(?<![0-9.,\-] )(?<![0-9.,/\-])00){_CALLING_CODES}(?:{_GAP}?\(0\))?"
    rf"(?:{_GAP}?/?\(?[0-9]\)?){{6,12}}(?<!\)){_EXTENSION}(?![0-9A-Za-z_])",
    re.ASCII,
)
_NORTH_AMERICAN = re.compile(
    rf"{_NOT_INSIDE}(?:1[ .\-])?(?:\([2-9][0-9]{{2}}\) ?|[2-9][0-9]{{2}}([ .\-]))"
    rf"[2-9][0-9]{{2}}(?(1)\1|[ .\-])[0-9]{{4}}{_EXTENSION}{_END}",
    re.ASCII,
)
_TRUNK_ZERO_START = re.compile(rf"{_NOT_INSIDE}(?<![0-9] )(?=\(?0[1-9])", re.ASCII)
_MAX_GROUPS = 4
_MIN_DIGITS, _MAX_DIGITS = 9, 12
_TRUNK_ZERO = tuple(
    re.compile(
        rf"(?:\(0[1-9][0-9]{{0,3}}\) ?|0[1-9][0-9]{{0,3}}(?:{_GAP}| ?/ ?))[0-9]{{2,8}}"
        rf"(?:{_GAP}[0-9]{{2,4}}){{0,{num_groups}}}{_END}(?! (?!0[1-9]-)[0-9]{{2}}(?![0-9]))",
        re.ASCII,
    )
    for num_groups in range(_MAX_GROUPS, -1, -1)
)
"""With ever fewer groups after the second: of two numbers with a space between, the widest is both."""
_ANY = re.compile(
    r"(?:(?<![\w./=$€£%\-])(?<![0-9],)|(?<=TEL)|(?<=Tel)|(?<=FAX)|(?<=Fax))"
    r"(?:\([0-9]{1,5}(?:[ \-][0-9]{1,4})?\)|[0-9]{1,5})"
    rf"(?:{_GAP}?[/(]?[0-9]{{1,4}}\)?){{1,5}}(?<!\)){_EXTENSION}(?![0-9A-Za-z_]|[.,/:][0-9]|%)",
    re.ASCII,
)
_WORDS = re.compile(r"[^\W\d_]+:?")
_TELEPHONING = (
    "phone phones telephone telephones tel mobile cell cellphone fax telefax whatsapp hotline pager dial call "
    "text ring sms answering message messages telefon telefonnummer handy fon tél téléphone telephon móvil "
    "teléfono telefono cellulare celular telepon telp телефон тел факс τηλέφωνο τηλ هاتف الهاتف جوال الجوال تلفن موبایل "
    "טלפון טל נייד 전화 전화번호 휴대폰 연락처 โทร thoại desk: office: direct: home: work:"
)
_PHONE_WORDS = frozenset(_TELEPHONING.split())
_TEXTING = re.compile(r"\btext\b[^\":=>]*$")
"""Of a person; the name of a field or a tag is no word for telephoning."""
_GROUPED = re.compile(r"[0-9]{1,3}(?:\.[0-9]{3})+")
"""As large numbers are written in many languages: only a word for a telephone, not one for using it, tells that it is none."""
_VERBS_AND_PLACES = "call dial ring text sms answering message messages cell home work desk office direct"
_USING = frozenset(_VERBS_AND_PLACES.split())
_BETWEEN = "number numbers no nr is ist at on to from or und and me us him her them my our the her line"
_FILLERS = frozenset(_BETWEEN.split())
_CHINESE_WORDS = ("电话", "電話", "手机", "手機", "传真", "热线", "联系方式", "号码", "携帯")
_MAX_FILLERS = 3
_WORD_AFTER = re.compile(r"[ \-–(]{0,2}(?:office|fax|mobile|cell|home|work|desk|direct|phone|tel)\b", re.IGNORECASE)
_DATE = re.compile(
    r"(?:19|20)[0-9]{2}[ .\-/](?:0?[1-9]|1[0-2])[ .\-/][0-3]?[0-9](?![0-9])"
    r"|[0-3]?[0-9]([.\-/])[0-3]?[0-9]\1(?:19|20)[0-9]{2}(?![0-9])"
)
_SOCIAL_SECURITY = re.compile(r"[0-9]{3}[ \-][0-9]{2}[ \-][0-9]{4}")
_YEARS = re.compile(r"(?:1[5-9]|20)[0-9]{2} ?[-–] ?(?:1[5-9]|20)?[0-9]{2}(?![0-9])")
_NEARBY = 48


def find_phones(text: str, start: int, end: int) -> Iterator[Span]:
    """Telephone numbers within a stretch; the same number may be found in more than one way.

    "Call +46 (0)8 928 571 38." -> 5..24
    """
    for pattern in (_INTERNATIONAL, _NORTH_AMERICAN):
        for match in pattern.finditer(text, start, end):
            yield Span(match.start(), match.end(), "phone")
    yield from _trunk_zero_numbers(text, start, end)
    for match in _ANY.finditer(text, start, end):
        written = match.group()
        if not 7 <= count_digits(written) <= 15:
            continue
        before = text[max(match.start() - _NEARBY, 0) : match.start()]
        word = _word_of_phones(before)
        if word is None and not _WORD_AFTER.match(text, match.end()):
            continue
        if word in _USING and _GROUPED.fullmatch(written):
            continue
        if not _is_date(written):
            yield Span(match.start(), match.end(), "phone")


def _trunk_zero_numbers(text: str, start: int, end: int) -> Iterator[Span]:
    """Numbers that begin with a zero, one after another where a space parts them."""
    position = start
    while (found := _TRUNK_ZERO_START.search(text, position, end)) is not None:
        place = found.start()
        widest = _TRUNK_ZERO[0].match(text, place, end)
        position = place + 1 if widest is None else widest.end()
        while (number := _trunk_zero_number(text, place, end)) is not None:
            yield Span(*number.span(), "phone")
            position = max(position, number.end())
            if text[number.end() : number.end() + 1] != " ":
                break
            place = number.end() + 1


def _trunk_zero_number(text: str, place: int, end: int) -> re.Match[str] | None:
    """The number that begins at `place`. One that goes on with too many digits ends before another number, or is none: a
    long row of digits is no two numbers."""
    number = _fitting(text, place, end)
    if number is None or _is_date(number.group()) or _SOCIAL_SECURITY.fullmatch(number.group()):
        return None
    is_whole = number.re is _TRUNK_ZERO[0]
    return number if is_whole or _fitting(text, number.end() + 1, end) is not None else None


def _fitting(text: str, place: int, end: int) -> re.Match[str] | None:
    """What begins at `place` with as many groups as a number's digits allow."""
    matches = (pattern.match(text, place, end) for pattern in _TRUNK_ZERO)
    match = next((match for match in matches if match is None or count_digits(match.group()) <= _MAX_DIGITS), None)
    return match if match is not None and count_digits(match.group()) >= _MIN_DIGITS else None


def _is_date(written: str) -> bool:
    return any(pattern.match(written) for pattern in (_DATE, _YEARS))


def _word_of_phones(before: str) -> str | None:
    """The word that says what number follows, fillers left out: "call me on" has one, "the call of" has not."""
    before = before.lower()
    words: list[str] = _WORDS.findall(before)
    for found in words[: -_MAX_FILLERS - 2 : -1]:
        word = found.rstrip(":")
        if found in _PHONE_WORDS or word in _PHONE_WORDS:
            return word if word != "text" or _TEXTING.search(before) else None
        if word not in _FILLERS:
            return word if word.rstrip("是为").endswith(_CHINESE_WORDS) else None
    return None
