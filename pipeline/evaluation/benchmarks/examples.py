"""Lines of the published formats -> questions with answers.

In: a JSON Lines file and its kind. Out: examples in the order of the file, and a sentence for every line that holds none.
Each format is written out as its benchmark is usually scored: the query's trailing white space goes, the separator stands
between question and answer, and lettered choices are listed under the question.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.benchmarks import BenchmarkConfig
from pipeline.errors import InputError

LETTERS = "ABCDEFGHIJ"
_HAN = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A question, its possible answers and the right one."""

    line: int
    """In the file, from 1."""
    prompts: tuple[str, ...]
    """What stands before each answer; the same for all but where the context is what one chooses."""
    answers: tuple[str, ...]
    """With the separator before them."""
    gold: int
    """Which answer is right."""
    group: str
    """Solved examples come from the same group: a subject, or nothing."""
    is_for_showing: bool
    """Of the `dev` split: shown as solved, never asked."""

    @property
    def solved(self) -> str:
        """The question with its right answer."""
        return self.prompts[self.gold] + self.answers[self.gold]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incomplete:
    """A line that holds no example."""

    line: int
    reason: str


def read_examples(path: Path, config: BenchmarkConfig) -> tuple[list[Example], list[Incomplete]]:
    """Every example of a file, and every line that is none; blank lines are neither.

    Raises:
        InputError: the file cannot be read, or holds no example at all.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The benchmark {path} cannot be read ({error}). Correct its `path`.") from error
    examples: list[Example] = []
    incomplete: list[Incomplete] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            examples.append(_example(number, json.loads(line), config))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            missing = isinstance(error, KeyError)
            incomplete.append(Incomplete(line=number, reason=f"{error} is missing" if missing else str(error)))
    if not any(not example.is_for_showing for example in examples):
        reason = f"; line {incomplete[0].line}: {incomplete[0].reason}" if incomplete else ""
        raise InputError(f"The benchmark {path} holds no example of the kind {config.kind}{reason}. Correct `kind`.")
    return examples, incomplete


def _example(line: int, record: Any, config: BenchmarkConfig) -> Example:
    if not isinstance(record, dict):
        raise ValueError("it is no JSON object")
    prompts, answers, gold = _READERS[config.kind](record, config.separator)
    if not answers or any(not answer.strip() for answer in answers):
        raise ValueError("an answer is empty")
    if not isinstance(gold, int) or isinstance(gold, bool) or not 0 <= gold < len(answers):
        raise ValueError(f"the right answer is {gold!r}, outside 0..{len(answers) - 1}")
    return Example(
        line=line,
        prompts=tuple(prompts),
        answers=tuple(answers),
        gold=gold,
        group=str(record.get("subject") or ""),
        is_for_showing=record.get("split") == "dev",
    )


_Parts = tuple[list[str], list[str], Any]


def _choices(record: Mapping[str, Any], separator: str) -> _Parts:
    choices = _texts(record, "choices")
    query = _text(record, "query").rstrip()
    return [query] * len(choices), [separator + choice for choice in choices], record["gold"]


def _contexts(record: Mapping[str, Any], separator: str) -> _Parts:
    contexts = [context.rstrip() for context in _texts(record, "context_options")]
    return contexts, [separator + _text(record, "continuation")] * len(contexts), record["gold"]


def _last_word(record: Mapping[str, Any], separator: str) -> _Parts:
    return [_text(record, "context").rstrip()], [separator + _text(record, "continuation")], 0


def _minimal_pair(record: Mapping[str, Any], separator: str) -> _Parts:
    return ["", ""], [_text(record, "sentence_good"), _text(record, "sentence_bad")], 0


def _lettered(record: Mapping[str, Any], separator: str) -> _Parts:
    choices = _texts(record, "choices")
    if len(choices) > len(LETTERS):
        raise ValueError(f"it has {len(choices)} choices, more than {len(LETTERS)}")
    listed = "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))
    prompt = f"{_text(record, 'question').rstrip()}\n{listed}"
    letter = _text(record, "answer").strip()
    if letter not in LETTERS[: len(choices)] or len(letter) != 1:
        raise ValueError(f"the right answer is {letter!r}, none of {LETTERS[: len(choices)]}")
    return [prompt] * len(choices), [separator + letter for letter in LETTERS[: len(choices)]], LETTERS.index(letter)


def _cause_effect(record: Mapping[str, Any], separator: str) -> _Parts:
    premise, asked = _text(record, "premise").strip(), _text(record, "question")
    if asked not in ("cause", "effect"):
        raise ValueError(f"question is {asked!r}, neither 'cause' nor 'effect'")
    chinese = bool(_HAN.search(premise))
    connectors = {"cause": "因为", "effect": "所以"} if chinese else {"cause": "because", "effect": "so"}
    prompt = f"{premise.rstrip('.。')}{'，' if chinese else ' '}{connectors[asked]}"
    choices = [_text(record, "choice1"), _text(record, "choice2")]
    if not chinese:
        choices = [choice[:1].lower() + choice[1:] for choice in choices]
    return [prompt] * 2, [("" if chinese else " ") + choice for choice in choices], record["label"]


_READERS: Mapping[str, Callable[[Mapping[str, Any], str], _Parts]] = {
    "choices": _choices,
    "contexts": _contexts,
    "last_word": _last_word,
    "minimal_pair": _minimal_pair,
    "lettered": _lettered,
    "cause_effect": _cause_effect,
}


def _text(record: Mapping[str, Any], key: str) -> str:
    value = record[key]
    if not isinstance(value, str):
        raise ValueError(f"{key} is {value!r:.40}, no text")
    return value


def _texts(record: Mapping[str, Any], key: str) -> list[str]:
    values = record[key]
    if not isinstance(values, list) or len(values) < 2 or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{key} is {values!r:.40}, no list of two or more texts")
    return values
