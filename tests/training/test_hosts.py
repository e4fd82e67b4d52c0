"""Several hosts, as processes of this machine."""

import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest

from jattn.training import metrics

SMOKE = ("--preset", "smoke", "--steps", "20", "--checkpoint-every", "10")


def _begin(*words):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    command = [sys.executable, "-m", "jattn", "train", *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _pair(*words, second=()):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = ("--coordinator", f"127.0.0.1:{port}", "--hosts", 2, "--host")
    return [_begin(*words, *told, 0), _begin(*words, *second, *told, 1)]


def _ended(*processes):
    try:
        told = [process.communicate(timeout=100) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *words) for process, words in zip(processes, told, strict=True)]


def _losses(directory):
    return np.array([row["loss"] for row in metrics.read(directory)])


@pytest.mark.slow
def test_two_hosts_train_as_one(tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    (code, _, error), (other, quiet, _) = _ended(*_pair(*SMOKE, "--dir", two))
    assert (code, other) == (0, 0), error
    # gloo greets there
    assert "loss" not in quiet
    assert _ended(_begin(*SMOKE, "--dir", one))[0][0] == 0
    np.testing.assert_allclose(_losses(two), _losses(one), rtol=1e-5)


@pytest.mark.slow
def test_hosts_that_hold_different_runs_are_refused(tmp_path):
    ended = _ended(*_pair(*SMOKE, "--dir", tmp_path / "run", second=("--seed", "7")))
    for code, _, error in ended:
        assert code == 2
        assert re.search("Hosts must hold one run, got another on host 1", error)
