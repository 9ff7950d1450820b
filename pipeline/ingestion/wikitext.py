"""Plain text out of wikitext, by mwparserfromhell, and a gate before it.

In: a page's wikitext. Out: its prose: headings, paragraphs and list items; templates, tables, references, comments,
pictures, categories and links to other languages go, as do headings with nothing under them.
A parser that tries again wherever markup does not close takes seconds for 20 KB of `{{a|`. The gate refuses such pages
by counting, so that the verdict is the same on every machine; what it lets through and still takes long is for a
timeout (see wikipedia.py).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import mwparserfromhell
from mwparserfromhell.nodes import ExternalLink, Heading, HTMLEntity, Tag, Text, Wikilink
from mwparserfromhell.wikicode import Wikicode

MAX_CHARACTERS = 2_100_000
"""MediaWiki's own limit is 2 MiB (`$wgMaxArticleSize`)."""
MAX_UNCLOSED = 60
"""Openers without a closer that a page may have of a kind; real pages have a handful."""
_PAIRS = (
    (re.compile(r"\{\{"), re.compile(r"\}\}")),
    (re.compile(r"\[\["), re.compile(r"\]\]")),
    (re.compile(r"\{\|"), re.compile(r"\|\}")),
    (re.compile(r"<!--"), re.compile(r"-->")),
    (re.compile(r"<[A-Za-z/]"), re.compile(r">")),
    (re.compile(r"<(?:ref|div|span|small|b|i|u|p|sup|sub|center|table|blockquote)\b[^<>/]*>", re.IGNORECASE),
     re.compile(r"</(?:ref|div|span|small|b|i|u|p|sup|sub|center|table|blockquote)\b", re.IGNORECASE)),
)  # fmt: skip
_HIDDEN_TAGS = frozenset(
    [
        "table",
        "ref",
        "references",
        "gallery",
        "math",
        "chem",
        "ce",
        "source",
        "syntaxhighlight",
        "timeline",
        "score",
        "graph",
        "hiero",
        "imagemap",
        "inputbox",
        "templatedata",
        "templatestyles",
        "section",
        "includeonly",
        "categorytree",
        "mapframe",
        "maplink",
        "indicator",
        "style",
        "script",
    ]
)
_HEADING_MARK = "\0"
"""Begins a heading's line; XML cannot hold it."""
_FILE_NAMES = ("file", "image", "media", "category")
_LANGUAGES = (
    "aa ab ace af ak als alt am ami an ang ann anp ar arc ary arz as ast atj av avk awa ay az azb ba ban bar bat-smg "
    "bcl bdr be be-tarask be-x-old bew bg bh bi bjn blk bm bn bo bol bpy br bs btm bug bxr ca cbk-zam cdo ce ceb ch "
    "cho chr chy ckb co cr crh cs csb cu cv cy da dag de dga din diq dsb dtp dty dv dz ee el eml en eo es et eu ext "
    "fa fat ff fi fiu-vro fj fo fon fr frp frr fur fy ga gag gan gcr gd gl glk gn gom gor got gpe gsw gu gur guw gv "
    "ha hak haw he hi hif ho hr hsb ht hu hy hyw hz ia iba id ie ig igl ii ik ilo inh io is it iu ja jam jbo jv ka "
    "kaa kab kaj kbd kbp kcg kg kge ki kj kk kl km kn knc ko koi kr krc ks ksh ku kus kv kw ky la lad lb lbe lez lfn "
    "lg li lij lld lmo ln lo lrc lt ltg lv lzh mad mai map-bms mdf mg mh mhr mi min mk ml mn mni mnw mo mos mr mrj ms "
    "mt mus mwl my myv mzn na nah nan nap nb nds nds-nl ne new ng nia nl nn no nov nqo nr nrm nso nup nv ny oc olo om "
    "or os pa pag pam pap pcd pcm pdc pfl pi pih pl pms pnb pnt ps pt pwn qu rki rm rmy rn ro roa-rup roa-tara rsk ru "
    "rue rup rw sa sah sat sc scn sco sd se sg sgs sh shi shn si simple sk skr sl sm smn sn so sq sr srn ss st stq su "
    "sv sw syl szl szy ta tay tcy tdd te tet tg th ti tig tk tl tly tn to tpi tr trv ts tt tum tw ty tyv udm ug uk ur "
    "uz ve vec vep vi vls vo vro wa war wo wuu xal xh xmf yi yo yue za zea zgh zh zh-classical zh-cn zh-min-nan zh-tw "
    "zh-yue zu"
)
_LANGUAGE_CODES = frozenset(_LANGUAGES.split())
"""Of the Wikipedias that there are or were, and the older or newer names of some."""
_MAGIC_WORD = re.compile(r"__[A-Z]+__")
_STYLE = re.compile("'{2,}")
"""Italic and bold, which the parser is told to leave: an unbalanced pair of them makes it miss the tag around it."""
_EMPTY_BRACKETS = re.compile(r" ?\([\s;,]*\)")
"""What a pronunciation template leaves behind."""
_MANY_BLANK_LINES = re.compile(r"\n{3,}")


class TooComplex(Exception):
    """Markup that opens and does not close, in quantity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page's wikitext, and the names that its wiki gives to pictures and categories."""

    wikitext: str
    names: Collection[str] = ()
    """In lower case; the English ones are always known."""


def require_simple(wikitext: str) -> None:
    """Passes pages that the parser is quick with.

    Raises:
        TooComplex: too many openers of a kind have no closer.
    """
    for opener, closer in _PAIRS:
        num_unclosed = sum(1 for _ in opener.finditer(wikitext)) - sum(1 for _ in closer.finditer(wikitext))
        if num_unclosed > MAX_UNCLOSED:
            raise TooComplex(
                f"{num_unclosed} of its {opener.pattern[:12].replace(chr(92), '')!r} do not close; at most "
                f"{MAX_UNCLOSED} may be open."
            )


def plain_text(page: Page) -> str:
    """The prose of a page.

    "'''Moon''' is a [[natural satellite|satellite]].{{cite}}" -> "Moon is a satellite."
    """
    pieces: list[str] = []
    _add_prose(mwparserfromhell.parse(page.wikitext, skip_style_tags=True), {*_FILE_NAMES, *page.names}, pieces)
    text = "\n".join(_drop_empty_sections(_EMPTY_BRACKETS.sub("", "".join(pieces)).split("\n")))
    return _MANY_BLANK_LINES.sub("\n\n", text).strip("\n")


def _add_prose(code: Wikicode, names: Collection[str], pieces: list[str]) -> None:
    """What a reader sees as running text, node by node; templates, comments and arguments add nothing."""
    for node in code.nodes:
        if isinstance(node, Text):
            pieces.append(_STYLE.sub("", _MAGIC_WORD.sub("", node.value)))
        elif isinstance(node, Wikilink):
            title = str(node.title)
            if not _is_hidden(title, names) and not (node.text is None and _is_language_link(title)):
                _add_prose(node.text if node.text is not None else node.title, names, pieces)
        elif isinstance(node, Tag):
            name = str(node.tag).strip().lower()
            if name == "br":
                pieces.append("\n")
            elif name not in _HIDDEN_TAGS and node.contents is not None:
                _add_prose(node.contents, names, pieces)
        elif isinstance(node, ExternalLink):
            if node.title is not None:
                _add_prose(node.title, names, pieces)
            elif not node.brackets:
                pieces.append(str(node.url))
        elif isinstance(node, HTMLEntity):
            pieces.append(_character(node))
        elif isinstance(node, Heading):
            heading: list[str] = []
            _add_prose(node.title, names, heading)
            pieces.append(f"{_HEADING_MARK}{node.level}{' '.join(''.join(heading).split())}")


def _is_hidden(title: str, names: Collection[str]) -> bool:
    """Whether a link shows a picture or files the page; `[[:Category:X]]` is plain text."""
    prefix, colon, _ = title.strip().partition(":")
    return bool(colon and prefix) and prefix.strip().lower() in names


def _is_language_link(title: str) -> bool:
    """Whether an unlabelled link leads to the page in another language, as `[[de:Mond]]` does.

    Titles of works hold colons too; there a space follows, or what precedes is no language: `[[CSI: Miami]]`, `[[Re:Zero]]`.
    """
    prefix, colon, rest = title.strip().partition(":")
    return bool(colon) and not rest.startswith(" ") and prefix.strip().lower() in _LANGUAGE_CODES


def _character(entity: HTMLEntity) -> str:
    """The character that an entity names; one that names none stays as it is written."""
    try:
        return str(entity.normalize())
    except (ValueError, OverflowError):
        return str(entity)


def _drop_empty_sections(lines: list[str]) -> list[str]:
    """Lines as they are, headings with a blank line around; none with nothing before the next one of its level."""
    kept: list[str] = []
    waiting: list[tuple[int, str]] = []
    for line in lines:
        if line.startswith(_HEADING_MARK):
            level = int(line[1])
            waiting = [entry for entry in waiting if entry[0] < level] + [(level, line[2:])]
            continue
        text = line.replace(_HEADING_MARK, "").strip()
        if text:
            for _, heading in waiting:
                kept += ["", heading, ""]
            waiting = []
        kept.append(text)
    return kept
