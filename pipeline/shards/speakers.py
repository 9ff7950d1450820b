"""Who speaks in conversations whose lines begin with names: a chat names its turns as the data did.

In: texts of pairs, the turns so far with a line each, and in the last line who speaks next. Out: the names of who spoke last and
of who answers, where most texts have them. Only the texts are looked at, so that it is the same for every reader.
"""

from __future__ import annotations

from collections import Counter

Speakers = tuple[str, str]
"""Who spoke last, and who answers."""


def speakers_of(text: str) -> Speakers | None:
    """The two names at a text's end; None where its last line is no name, or the line before begins with none.

    >>> speakers_of("SYSTEM: Yes?\\nUSER: A cab.\\nSYSTEM:")
    ('USER', 'SYSTEM')
    """
    before, _, cue = text.rpartition("\n")
    name, colon, _ = before.rpartition("\n")[2].partition(":")
    return (name, cue[:-1]) if name and colon and len(cue) > 1 and cue.endswith(":") else None


def usual_speakers(found: Counter[Speakers], *, num_texts: int) -> Speakers | None:
    """The most frequent ones, where more than half of the texts have some; of equally frequent ones the first by letter."""
    if 2 * found.total() <= num_texts:
        return None
    return min(found, key=lambda speakers: (-found[speakers], speakers))
