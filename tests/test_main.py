"""`python -m jattn` is the command line."""

import subprocess
import sys

from tests.support import own_lines


def _jattn(*words):
    return subprocess.run([sys.executable, "-m", "jattn", *words], capture_output=True, text=True, timeout=120)


def test_the_catalogue_prints_its_lines():
    got = _jattn("catalogue", "1602.02068")
    assert got.returncode == 0 and got.stdout.startswith("Sparsemax  normalizers")


def test_a_wrong_option_is_one_line_and_code_2():
    got = _jattn("plot", "--dri", "x")
    assert got.returncode == 2 and got.stdout == ""
    assert own_lines(got.stderr) == ["jattn plot has no option --dri; the nearest is --dir."]
