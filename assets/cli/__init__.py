"""The command line: `textmill run | check | ui | status | models | generate | export | compare | promote | rollback`."""

from assets.cli.main import main

__all__ = ["main"]
