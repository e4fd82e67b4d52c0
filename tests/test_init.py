"""The public face is lazy, lists itself, and says what is missing."""

import subprocess
import sys

import pytest

import jattn
from jattn import masks, normalizers, positions, scores
from tests.support import own_lines

# blocks every optional library before the package is imported
WITHOUT_EXTRAS = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("flax", "optax", "orbax", "grain", "jsonargparse", "matplotlib", "tqdm"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
"""


def _python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_importing_brings_nothing_along():
    got = _python("import sys, jattn; print([n for n in ('jax', 'numpy', 'flax') if n in sys.modules])")
    assert got.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [name for name in dir(jattn)])
def test_every_listed_name_is_there(name):
    assert getattr(jattn, name) is not None


@pytest.mark.parametrize("module", [masks, scores, normalizers, positions], ids=lambda module: module.__name__)
def test_slot_modules_list_their_parts(module):
    assert dir(module) == module.__all__ and len(dir(module)) > 1
    for name in dir(module):
        assert getattr(module, name).__name__ == name


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(AttributeError, match="nearest are attend"):
        getattr(jattn, "atend")  # noqa: B009
    with pytest.raises(ImportError):
        from jattn.masks import Windw  # noqa: F401
    with pytest.raises(AttributeError, match="nearest is Window"):
        getattr(masks, "Windw")  # noqa: B009


def test_the_core_works_without_the_extras():
    code = WITHOUT_EXTRAS + (
        "import jattn, jax.numpy as jnp\n"
        "x = jnp.ones((3, 2, 4))\n"
        "print(jattn.attend(x, x, x, jattn.Attention(mask=jattn.masks.Causal())).out.shape)"
    )
    got = _python(code)
    assert got.stdout.strip() == "(3, 2, 4)", got.stderr


def test_a_missing_extra_is_one_sentence():
    got = _python(WITHOUT_EXTRAS + "import jattn\njattn.nn.MultiHead")
    assert 'needs flax, which is not installed; pip install "jattn[train]" brings it.' in got.stderr.splitlines()[-1]
    got = _python(WITHOUT_EXTRAS + "from jattn.cli import main; import sys; sys.exit(main(['train', '--steps', '3']))")
    (line,) = own_lines(got.stderr)
    assert got.returncode == 2 and "jattn[train]" in line
