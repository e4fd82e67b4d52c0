"""Tests that one process at a time uses a run's directory, and that a dead one uses none."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jattn.training import lock

HOLDS = """
import pathlib, sys, time
from jattn.training import lock
with lock.held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError, match="one process at a time, got .*; wait for it or stop it"):
        with lock.held(tmp_path):
            pass
    child.send_signal(signal.SIGKILL)
    child.wait()
    with lock.held(tmp_path):
        pass


def test_it_can_be_held_again(tmp_path):
    for _ in range(2):
        with lock.held(tmp_path), pytest.raises(BlockingIOError):
            with lock.held(tmp_path):
                pass


@pytest.mark.skipif(not Path("/sys/kernel").exists(), reason="no such directory here")
def test_a_directory_that_cannot_be_written_to_is_one_sentence():
    with pytest.raises(OSError, match="must be one that can be written to, got .*; name another"):
        # of the kernel's, where root may make no file either
        with lock.held(Path("/sys")):
            pass
