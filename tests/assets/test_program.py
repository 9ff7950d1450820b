"""The process `textmill` ends with the code it should, after everything that waits for its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BUFFERED = {**os.environ, "PYTHONUNBUFFERED": ""}
"""Output to a pipe is written at the end."""
PROGRAM = """
import atexit, sys
import assets.cli
assert not atexit._ncallbacks(), "what is registered before the program's own would never run"
def main():
    atexit.register(lambda: print("registered in it"))
    {main}
sys.modules["assets.cli.main"].main = main
sys.exit(assets.cli.program())
"""


@pytest.mark.parametrize(
    ("main", "code"),
    [
        ("return 0", 0),
        ("return 130", 130),
        ("sys.exit()", 0),
        ("sys.exit(2)", 2),
        ("sys.exit('no')", 1),
        ("raise ValueError('what nobody expected')", 1),
    ],
)
def test_it_ends_with_the_code_of_main_and_runs_what_was_registered(main: str, code: int) -> None:
    program = PROGRAM.format(main=f"print('said'); {main}")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=BUFFERED)
    assert done.returncode == code
    assert done.stdout.splitlines() == [
        "said",
        "registered in it",
    ]
    assert ("ValueError: what nobody expected" in done.stderr) == ("ValueError" in main)
    assert (done.stderr == "no\n") == ("'no'" in main)


def test_a_reader_that_is_gone_before_the_end_is_no_error() -> None:
    code = PROGRAM.format(main="print('x'); return 0")
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=BUFFERED
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_the_installed_command_is_the_program() -> None:
    textmill = Path(sys.executable).with_name("textmill")
    assert subprocess.run([textmill, "--help"], capture_output=True, timeout=60).returncode == 0
    wrong = subprocess.run([textmill, "rum"], capture_output=True, text=True, timeout=60)
    assert wrong.returncode == 2
    assert "invalid choice: 'rum'" in wrong.stderr
