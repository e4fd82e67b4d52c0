"""Begins runs in processes of their own, whose words go to a log."""

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from jattn.training.sweeps import single, ties
from jattn.training.sweeps.names import Planned

LOG = "log.txt"
# of a log's end, where its last words are looked for
TAIL_BYTES = 8192


def begun(planned: Planned, command: Sequence[str]) -> subprocess.Popen:
    """Begins a run; a terminal's Ctrl-C reaches the sweep alone, which passes it on once."""
    single.made(planned.directory)
    with (planned.directory / LOG).open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **ties.told(planned.name)},
            # out of the terminal's group of processes
            process_group=0,
        )


def why(planned: Planned, code: int) -> str:
    """Why a run failed: the last line of its log that says something, and the signal where one ended it."""
    words = _last_line(planned.directory) or f"exit code {code}"
    return words if code >= 0 else f"ended by {signal.Signals(-code).name} after {words!r}"


def _last_line(directory: Path) -> str:
    try:
        with (directory / LOG).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
            text = log.read().decode(errors="replace")
    except OSError:
        return ""
    # a bar of progress writes over itself, and says nothing of why
    lines = [line.strip() for line in re.split(r"[\r\n]", text)]
    return next((line for line in reversed(lines) if line and not re.search(r"\d+%\|", line)), "")
