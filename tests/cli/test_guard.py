"""Tests that a kept process ends with its keeper, with its exit code or a sentence, and hears one signal once."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from jattn import cli
from jattn.cli import guard

HOME = Path(__file__).parents[2]


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Lets Python source stand for the kept process; `end` is the socket to its keeper."""

    def stands(source):
        path = tmp_path / "python"
        begins = "import os, signal, socket, sys, time\nend = socket.socket(fileno=int(sys.argv[3]))\n"
        (tmp_path / "source.py").write_text(begins + source)
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "source.py"} "$@"\n')
        path.chmod(0o755)
        monkeypatch.setattr(guard.sys, "executable", str(path))

    return stands


def test_several_hosts_need_a_keeper(monkeypatch):
    assert guard.needed(["--steps", "3", "--hosts.coordinator", "auto"]) and guard.needed(["--hosts.coordinator=a:1"])
    assert not guard.needed(["--steps", "3"])
    monkeypatch.setenv(guard.INSIDE, "1")
    assert not guard.needed(["--hosts.coordinator", "auto"])


def test_a_command_keeps_its_words_and_its_exit_code(capfd):
    assert guard.kept(["catalogue", "no such word"]) == 2
    assert "Nothing in the catalogue holds 'no such word'" in capfd.readouterr().err
    assert guard.kept(["catalogue", "alibi"]) == 0
    assert "Alibi" in capfd.readouterr().out


def test_hosts_train_in_a_kept_process_which_has_every_word(stand_in, capfd):
    stand_in("print(sys.argv[4:], flush=True)\nend.send(bytes([7]))")
    words = ["train", "--hosts.coordinator", "here:1", "--dir=my run", "--text", "a", "b"]
    assert cli.main(words) == 7 and capfd.readouterr().out == f"{words}\n"


@pytest.mark.parametrize(
    "ends, how", [("os.kill(os.getpid(), signal.SIGABRT)", "SIGABRT"), ("os._exit(1)", "exit code 1")]
)
def test_one_that_is_ended_is_told_of_in_a_sentence(ends, how, stand_in, capfd):
    stand_in(ends)
    assert guard.kept(["train", "--steps", "3", "--dir=my/run"]) == 1
    told = capfd.readouterr().err.splitlines()
    assert told[0] == "" and told[1].startswith(f"Every host must run to the end, got {how} in this one's process")
    assert "jattn train --resume my/run with its --hosts options on every host" in told[1] and len(told) == 2


def test_one_that_hangs_after_its_last_words_is_ended(stand_in, monkeypatch):
    monkeypatch.setattr(guard, "ENDING_SECONDS", 0.1)
    stand_in("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nend.send(bytes([2]))\ntime.sleep(60)")
    began = time.monotonic()
    assert guard.kept(["train"]) == 2 and time.monotonic() - began < 30


def struck(path, *numbers):
    """Sends signals to this process, each when the path is there (again)."""

    def strike():
        for number in numbers:
            while not path.exists():
                time.sleep(0.01)
            path.unlink()
            os.kill(os.getpid(), number)

    threading.Thread(target=strike).start()


def test_a_signal_is_passed_on_once_and_a_second_ends_it(stand_in, tmp_path, capfd):
    ready = tmp_path / "ready"
    handler = f"lambda *_: (print('saves', flush=True), open({str(ready)!r}, 'w'))"
    stand_in(f"signal.signal(signal.SIGTERM, {handler})\nopen({str(ready)!r}, 'w')\nwhile True: time.sleep(1)")
    before = signal.getsignal(signal.SIGTERM)
    struck(ready, signal.SIGTERM, signal.SIGTERM)
    assert guard.kept(["train"]) == 130
    out, err = capfd.readouterr()
    assert out == "saves\n" and err == "\nStopped; what was written until then is kept.\n"
    assert signal.getsignal(signal.SIGTERM) == before


def test_it_ends_with_its_keeper():
    source = "import time; from jattn import cli; from jattn.cli import guard; cli.main = lambda _: time.sleep(60); "
    ours, its = socket.socketpair()
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    command = [sys.executable, "-c", source + "guard.main()", str(its.fileno())]
    process = subprocess.Popen(command, pass_fds=[its.fileno()], env=environment)
    its.close()
    ours.close()
    assert process.wait(30) == -signal.SIGKILL
