"""Keeps a second process out of a run's directory while one trains there."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

FILE = "lock"


@contextlib.contextmanager
def held(directory: Path) -> Iterator[None]:
    """Holds the directory until the block or the process ends, in any way: the kernel lets go, no file has to."""
    lock = filelock.FileLock(directory / FILE, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise BlockingIOError(
            f"A run's directory must be used by one process at a time, got {str(directory)!r}, where another trains; "
            f"wait for it or stop it."
        ) from None
    except OSError as error:
        why = f"{str(directory)!r}: {error.strerror}"
        raise OSError(f"A run's directory must be one that can be written to, got {why}; name another.") from None
    try:
        yield
    finally:
        lock.release()
