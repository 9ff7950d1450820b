"""What every section of the project file shares: strictness, and which of its keys change a result."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Section(BaseModel):
    """A part of the project file: unknown keys are errors, numbers are finite, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    not_in_fingerprint: ClassVar[frozenset[str]] = frozenset()
    """Keys that say where or how fast, not what: changing them recomputes nothing."""

    def literals(self) -> dict[str, Any]:
        """The settings that change the result, defaults written out, as JSON values."""
        found: dict[str, Any] = {}
        for key in type(self).model_fields:
            if key in self.not_in_fingerprint:
                continue
            value = getattr(self, key)
            found[key] = (
                value.literals() if isinstance(value, Section) else self.model_dump(mode="json", include={key})[key]
            )
        return found


def expand_variables(text: str) -> str:
    """Replaces `${NAME}` by the environment's value.

    Raises:
        ValueError: the variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise ValueError(f"names the environment variable {name}, which is not set. Set it or write the value")
        return os.environ[name]

    return _VARIABLE.sub(value, text)


def _regular_expression(text: str) -> str:
    import regex

    try:
        regex.compile(text, regex.MULTILINE)
    except regex.error as error:
        raise ValueError(f"is no regular expression ({error}). Correct it") from error
    return text


PathText = Annotated[str, StringConstraints(min_length=1), AfterValidator(expand_variables)]
"""A path or glob; `${VARIABLE}` is expanded; relative to the project file."""

Pattern = Annotated[str, StringConstraints(min_length=1), AfterValidator(_regular_expression)]
"""A Python regular expression, matched with `re.MULTILINE` by the package regex, which can stop a search that backtracks."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,62}$")]
"""A name in the asset graph: a letter, then letters, digits and underscores, 63 at most."""
