"""Keeps the process of a host: passes signals on, ends it where it hangs or nobody keeps it, and says how to go on."""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from types import FrameType

from jattn.training.stopping import Stopping

# set in the environment of a process that is kept
INSIDE = "JATTN_GUARDED"
# for what a process does after its last words
ENDING_SECONDS = 10
LOOK_SECONDS = 0.5


def needed(words: Sequence[str]) -> bool:
    """Whether these words of a command name several hosts, and no other process keeps this one yet."""
    return _option(words, "hosts.coordinator") is not None and INSIDE not in os.environ


def _option(words: Sequence[str], name: str) -> str | None:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == f"--{name}":
            return following
        if word.startswith(f"--{name}="):
            return word.partition("=")[2]
    return None


def kept(words: Sequence[str]) -> int:
    """Runs a command of `jattn` in a process of its own and returns its exit code; where it has none, says why.

    A host whose fellow died may be ended by JAX in the middle of a word, or wait for it and hear no signal.
    """
    ours, its = socket.socketpair()
    command = [sys.executable, "-c", "from jattn.cli import guard; guard.main()", str(its.fileno()), *words]
    # out of the terminal's group of processes: what that is sent reaches this process alone, which passes it on once
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[its.fileno()], process_group=0)
    its.close()
    asked = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        process.send_signal(number if len(asked) == 1 else signal.SIGKILL)

    before = {number: signal.signal(number, ask) for number in Stopping.SIGNALS}
    try:
        # a signal that reached another thread is heard between two looks
        while not select.select([ours], [], [], LOOK_SECONDS)[0]:
            pass
        # its exit code with its last words, or nothing where it has died
        code = ours.recv(1)
        process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()
        process.wait()
        for number, handler in before.items():
            signal.signal(number, handler)
    if code:
        return code[0]
    # below a bar of progress
    if asked:
        print("\nStopped; what was written until then is kept.", file=sys.stderr)
        return 130
    status = process.returncode
    how = signal.Signals(-status).name if status < 0 else f"exit code {status}"
    directory = _option(words, "dir") or _option(words, "resume") or "DIR"
    print(
        f"\nEvery host must run to the end, got {how} in this one's process, most often because another has gone, or "
        f"has not come within five minutes; jattn train --resume {directory} with its --hosts options on every "
        f"host goes on from the last whole checkpoint.",
        file=sys.stderr,
    )
    return 1


def main() -> None:
    """The process that is kept: a command of `jattn`, whose exit code is told before what may hang."""
    from jattn import cli

    end = socket.socket(fileno=int(sys.argv[1]))
    end.set_inheritable(False)
    os.environ[INSIDE] = "1"
    threading.Thread(target=_end_with, args=[end], daemon=True).start()
    code = 1
    try:
        code = cli.main(sys.argv[2:])
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    end.send(bytes([code]))
    sys.exit(code)


def _end_with(end: socket.socket) -> None:
    """Ends this process, at once, when the one that keeps it has gone."""
    end.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)
