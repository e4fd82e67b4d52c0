"""Tests that files are written whole, and what a full disk is told as."""

import errno
import resource

import pytest

from jattn.training import disk


def test_a_file_is_replaced_at_once(tmp_path):
    path = tmp_path / "file"
    disk.write(path, "old")
    disk.write(path, "new")
    assert path.read_text() == "new" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_the_old_file_and_is_one_sentence(tmp_path):
    path = tmp_path / "file"
    disk.write(path, "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="got 'File too large' in .*; free some of its disk and go on .* --resume"):
            disk.write(path, "x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "error, cure",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "free some"),
        (ValueError("OUT_OF_RANGE: Failed to write [os_error_code='28']"), "free some"),
        (OSError(errno.EIO, "Input/output error"), "see to its disk"),
    ],
)
def test_the_cure_is_that_of_the_failure(tmp_path, error, cure):
    told = str(disk.told(tmp_path, error))
    assert cure in told and told.endswith(f"--resume {tmp_path}.") and "\n" not in told
