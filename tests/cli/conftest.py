"""One tiny run, which serves all commands that read one."""

import pytest

from jattn import cli

TINY = "--smoke --steps 2 --model.width 8 --context 8 --batch 2 --evaluate-every 2 --checkpoint-every 1".split()


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_bytes(b"the cat sat on the mat and the dog sat on the log\n" * 40)
    return path


@pytest.fixture(scope="session")
def trained(tmp_path_factory, text):
    directory = tmp_path_factory.mktemp("runs") / "run"
    parts = "--model.attention.mask window --model.attention.mask.left 5 --model.attention.normalizer sparsemax".split()
    assert cli.main(["train", *TINY, *parts, "--dir", str(directory), "--text", str(text)]) == 0
    return directory


@pytest.fixture
def refused(capsys):
    """Runs a command that must fail: its exit code and its one sentence."""

    def run(*words):
        code = cli.main([str(word) for word in words])
        shown = capsys.readouterr()
        assert shown.err.count("\n") == 1 and shown.err.endswith((".\n", "?\n")) and "Traceback" not in shown.err
        return code, shown.err

    return run


@pytest.fixture(scope="session")
def tiny():
    """The options of the run."""
    return TINY
