"""Ties a process to the sweep that began it, so that a sweep that was killed leaves none behind."""

import ctypes
import functools
import os
import signal
import sys
import threading
from types import FrameType

# what a child is told in its environment: the process that began it, and the name of the run that it is meant to be
PARENT, RUN = "JATTN_SWEEP_PARENT", "JATTN_SWEEP_RUN"
# the number of prctl's option in Linux' sys/prctl.h
SET_PARENT_DEATH_SIGNAL = 1


def told(name: str) -> dict[str, str]:
    """What this process tells a child in its environment."""
    return {PARENT: str(os.getpid()), RUN: name}


def tie() -> str | None:
    """Lets SIGTERM stop this process when the sweep that began it ends; gives the run it is meant to be, if it is one.

    To be called first of all: a sweep that ended before the call is noticed by the call, one that ends later by the
    kernel. Linux alone has the means; elsewhere the run goes on, and the next sweep waits for it.
    """
    parent, name = os.environ.pop(PARENT, None), os.environ.pop(RUN, None)
    if parent is None:
        return None
    if sys.platform == "linux":
        signal.signal(signal.SIGUSR1, functools.partial(_orphaned, threading.Lock()))
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGUSR1, 0, 0, 0)
    # the parent may have gone before that; an orphan has another one
    if os.getppid() != int(parent):
        raise KeyboardInterrupt("Stopped before the first step, for the sweep that began this run has ended.")
    return name


def _orphaned(passed_on: threading.Lock, number: int, frame: FrameType | None) -> None:
    """Passes one signal on: the kernel sends one for each thread of a parent that is killed, and two would not save."""
    # in one step, for the next signal may strike inside this function
    if passed_on.acquire(blocking=False):
        os.kill(os.getpid(), signal.SIGTERM)
