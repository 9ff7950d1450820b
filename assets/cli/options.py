"""How the commands that write text call what a model's settings are called in Python."""

from __future__ import annotations

from pipeline.errors import InputError

_OPTIONS = {
    "max_new_tokens": "--max-tokens",
    "min_new_tokens": "--min-tokens",
    "top_k": "--top-k",
    "top_p": "--top-p",
    "num_beams": "--beams",
}


def refused(command: str, error: ValueError) -> InputError:
    """A setting that cannot be, by its option: `top_k is -2; ...` -> `generate: --top-k is -2; ...`."""
    name, _, rest = str(error).partition(" ")
    option = _OPTIONS.get(name, f"--{name.replace('_', '-')}")
    return InputError(f"{command}: {option} {rest}. Correct it.")
