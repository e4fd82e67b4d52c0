"""Tests what a run in a process of its own is given, and what is said of one that failed."""

import os
import sys

import pytest

from jattn.training.run import Run
from jattn.training.sweeps import children, names, ties


@pytest.fixture
def planned(tmp_path):
    return names.planned([Run()], tmp_path / "runs", tmp_path / "results")[0]


def test_a_child_is_told_its_parent_and_run_and_leaves_the_terminals_group(planned):
    source = f"import os; print(os.environ['{ties.PARENT}'], os.environ['{ties.RUN}'], os.getpgid(0) == os.getpid())"
    assert children.begun(planned, [sys.executable, "-c", source]).wait() == 0
    assert (planned.directory / children.LOG).read_text() == f"{os.getpid()} {planned.name} True\n"


def test_a_log_is_added_to(planned):
    for word in ("one", "two"):
        children.begun(planned, [sys.executable, "-c", f"print('{word}')"]).wait()
    assert (planned.directory / children.LOG).read_text() == "one\ntwo\n"


@pytest.mark.parametrize(
    "log, code, words",
    [
        ("first\nthe loss is no number.\n\n", 1, "the loss is no number."),
        ("  10%\r  20%\r", 1, "20%"),
        ("", 3, "exit code 3"),
        ("a" * 20_000 + "\nlast", 1, "last"),
        ("step 4\n", -9, "ended by SIGKILL after 'step 4'"),
    ],
)
def test_why_a_run_failed_is_the_last_line_of_its_log(log, code, words, planned):
    planned.directory.mkdir(parents=True)
    (planned.directory / children.LOG).write_text(log)
    assert children.why(planned, code) == words
