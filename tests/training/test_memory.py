"""Freed memory is kept: allocating it again faults no pages in."""

import subprocess
import sys

import pytest

from jattn.training import memory

FAULTS = """
import resource, sys
import numpy as np
from jattn.training import memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(16 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
assert memory.keep_freed()
np.ones(16 << 20, np.uint8)
print(first, faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is on Linux")
def test_memory_that_was_freed_is_not_faulted_in_again():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, timeout=100)
    assert not done.stderr
    before, after = map(int, done.stdout.split())
    # 20 arrays of 4096 pages, or the one that is used again
    assert after < before / 4


def test_a_c_library_without_the_call_is_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.keep_freed() is False
