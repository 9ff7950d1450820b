"""`textmill chat MODEL`: a conversation in the terminal, until an empty line or Ctrl-D."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.text import Text

from assets.cli.options import refused
from assets.cli.printable import for_console
from pipeline.config import Project


def chat(project: Project, parsed: argparse.Namespace) -> int:
    """Reads a turn a line and answers each, with all turns so far before it."""
    from pipeline.registry.connection import tracking_uri
    from pipeline.serving.chat import reply
    from pipeline.serving.generate import load_any

    writer = load_any(parsed.model, tracking_uri(project.storage_folder))
    console = Console()
    settings = {"max_new_tokens": parsed.max_tokens, "temperature": parsed.temperature, "top_p": parsed.top_p}
    turns: list[str] = []
    while True:
        try:
            said = console.input("[bold]you:[/] ")
        except EOFError:
            break
        if not said.strip():
            break
        turns.append(said)
        try:
            turns.append(reply(writer, turns, {**settings, "seed": parsed.seed + len(turns)}))
        except ValueError as error:
            raise refused("chat", error) from error
        answer = for_console(turns[-1], console) or "..."
        console.print(Text(f"{parsed.model}: ", style="bold") + Text(answer), soft_wrap=True)
    return 0
