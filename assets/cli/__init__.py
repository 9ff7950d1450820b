"""The command line: `textmill run | check | ui | status | explain | diff | sql`, and for the registry
`models | leaderboard | generate | chat | inspect | harness | export | compare | promote | rollback`.
"""

from assets.cli.main import main, program

__all__ = ["main", "program"]
