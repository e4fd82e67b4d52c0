"""Tests that a child ends with the sweep that began it, however that one ends."""

import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from jattn.training.sweeps import ties

HOME = Path(__file__).parents[3]
CHILD = """
import signal, time
from jattn.training.sweeps import ties
signal.signal(signal.SIGTERM, lambda *_: print("saves", flush=True))
print(ties.tie(), flush=True)
time.sleep(1)
for _ in range(200):
    time.sleep(0.01)
"""
# begins a child, says its number, and waits to be killed, with threads as JAX has them
PARENT = f"""
import os, subprocess, sys, threading, time
from jattn.training.sweeps import ties
for _ in range(20):
    threading.Thread(target=time.sleep, args=[60], daemon=True).start()
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], env={{**os.environ, **ties.told("name")}})
print(child.pid, flush=True)
time.sleep(60)
"""


def gone(number):
    """Whether no process of that number runs, or one that has ended and is not yet waited for."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux' kernel tells a child of its parent's end")
def test_a_child_is_asked_once_to_end_when_its_sweep_is_killed():
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    parent = subprocess.Popen([sys.executable, "-c", PARENT], env=environment, stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    assert parent.stdout.readline() == "name\n" and not gone(child)
    parent.send_signal(signal.SIGKILL)
    # the child's output ends with the child
    assert parent.stdout.read() == "saves\n"
    parent.wait()


def test_a_child_whose_sweep_has_gone_before_stops_itself(monkeypatch):
    # the number of a process that is not this one's parent
    monkeypatch.setenv(ties.PARENT, str(os.getpid()))
    monkeypatch.setattr(ties.sys, "platform", "elsewhere")
    with pytest.raises(KeyboardInterrupt, match="the sweep that began this run has ended"):
        ties.tie()


def test_a_process_that_no_sweep_began_is_left_alone(monkeypatch):
    monkeypatch.delenv(ties.PARENT, raising=False)
    assert ties.tie() is None


def test_what_a_child_was_told_is_not_passed_on(monkeypatch):
    monkeypatch.setattr(ties.sys, "platform", "elsewhere")
    monkeypatch.setenv(ties.PARENT, str(os.getppid()))
    monkeypatch.setenv(ties.RUN, "name")
    assert ties.tie() == "name" and ties.PARENT not in os.environ and ties.RUN not in os.environ


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux' kernel tells a child of its parent's end")
def test_the_kernels_signals_for_one_end_are_passed_on_as_one(monkeypatch):
    asked = []
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    # this process itself is not to be tied
    monkeypatch.setattr(ties.ctypes, "CDLL", lambda _: types.SimpleNamespace(prctl=lambda *_: 0))
    monkeypatch.setenv(ties.PARENT, str(os.getppid()))
    try:
        signal.signal(signal.SIGTERM, lambda *_: asked.append("saves"))
        ties.tie()
        for _ in range(3):
            signal.raise_signal(signal.SIGUSR1)
        assert asked == ["saves"]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
