"""The README's code runs as it stands, and its commands are where the checks look for them."""

import re
from pathlib import Path

import jax

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_every_python_block_runs():
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
    assert blocks
    for block in blocks:
        # as a user would run it, who has set nothing
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            exec(compile(block, "README.md", "exec"), {})


def test_each_marked_command_is_one_line():
    for mark in ("train", "test"):
        (block,) = re.findall(rf"^<!-- {mark} -->\n+```[a-z]*\n(.*?)^```", README, re.M | re.S)
        assert len(block.splitlines()) == 1


def test_the_tree_names_folders_that_exist():
    (tree,) = re.findall(r"^```text\n(jattn/.*?)^```", README, re.M | re.S)
    for name in re.findall(r"^  (\S+)", tree, re.M):
        assert (Path(__file__).parent.parent / "jattn" / name).exists(), name
