"""A stop is known however its exception ended."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys, weakref
from assets.stopping import was_stopped, watch_signals

class Thing:
    pass

def die(reference):
    os.kill(os.getpid(), signal.{name})
    for _ in range(1000):  # the handler runs here, and Python drops what a callback raises
        pass

signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background is born ignoring it
signal.signal(signal.SIGTERM, lambda number, frame: os.kill(os.getpid(), signal.SIGINT))
watch_signals()
thing = Thing()
reference = weakref.ref(thing, die)
del thing
print("went on", was_stopped.wait(10))
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_stop_whose_exception_python_drops_is_known(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(name=name)], capture_output=True, text=True, timeout=60)
    assert "Exception ignored in" in done.stderr and "KeyboardInterrupt" in done.stderr
    assert (done.returncode, done.stdout) == (0, "went on True\n")


def test_another_signal_stops_nothing() -> None:
    code = PROGRAM.format(name="SIGUSR1").replace("wait(10)", "wait(0.5)")
    code = code.replace(
        "watch_signals()\nthing", "signal.signal(signal.SIGUSR1, lambda *_: None)\nwatch_signals()\nthing"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "went on False\n")
