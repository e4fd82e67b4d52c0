"""The public modules and their stubs are what `python -m jattn.face` writes, and true."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from typing import NamedTuple

import pytest

import jattn
from jattn import face

STUBS = sorted(name for name in face.texts() if name.endswith(".pyi"))


@pytest.fixture(params=STUBS, ids=lambda name: name.removesuffix(".pyi"))
def stub(request):
    return request.param


def _module(stub):
    name = stub.removesuffix(".pyi")
    return jattn if name == "__init__" else importlib.import_module(f"jattn.{name}")


def _shown(stub):
    """Each name of a stub to the module that it is imported from, read as a type checker reads it."""
    found = {}
    for node in ast.parse((face.ROOT / stub).read_text(encoding="utf-8")).body:
        assert isinstance(node, ast.ImportFrom) and node.level == 0, ast.unparse(node)
        for alias in node.names:
            # a stub shows again only what is imported under its own name, `X as X`
            assert alias.name == alias.asname
            found[alias.name] = node.module
    return found


def unsaid(thing, name):
    """What is public in a class or function and has no first sentence; a method may inherit its own."""
    # a class without a docstring may have a made-up one, its signature, which ends in no period
    faults = [] if re.match(r"\S.*?\.(\s|\Z)", (thing.__doc__ or "").split("\n\n")[0], re.S) else [name]
    if inspect.isclass(thing):
        methods = [each for each, value in vars(thing).items() if inspect.isfunction(value) and each[0] != "_"]
        faults += [f"{name}.{each}" for each in methods if not inspect.getdoc(getattr(thing, each))]
    return faults


def _copy(root):
    """A small package with one slot and one layer."""
    for name, text in {
        "parts/masks/__init__.py": '"""The slot `masks`: who sees whom."""\nclass Mask:\n    pass\n',
        "parts/masks/blind.py": '"""Sees nothing."""\nclass Blind(Mask):\n    pass\n\n\nclass _Inner:\n    pass\n',
        "layers/deep.py": '"""Is deep."""\nclass Deep:\n    pass\n\n\ndef helper(): ...\n',
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_committed_files_are_what_the_command_writes():
    assert not list(face.stale()), "public files are out of date; run `python -m jattn.face` and commit what it writes"


def test_each_stub_names_what_its_module_lists(stub):
    assert sorted(_shown(stub)) == dir(_module(stub)) == _module(stub).__all__ and len(_shown(stub)) > 1


def test_each_name_is_written_where_its_stub_says(stub):
    module = _module(stub)
    for name, home in _shown(stub).items():
        shown = getattr(module, name)
        if inspect.ismodule(shown):
            assert shown is importlib.import_module(f"{home}.{name}")
        else:
            assert shown is getattr(importlib.import_module(home), name)
            assert (shown.__module__, shown.__name__) == (home, name)


def test_each_module_opens_with_a_sentence(stub):
    assert ast.get_docstring(ast.parse((face.ROOT / stub).with_suffix(".py").read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", ["", *(f".{name}" for name in (*face.MODULES, *face.slots()))])
def test_everything_public_says_what_it_does(name):
    module = importlib.import_module(f"jattn{name}")
    # a module written by hand has no list; what it defines itself is public
    own = [each for each, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    names = getattr(module, "__all__", own)
    things = {f"{module.__name__}.{each}": getattr(module, each) for each in names if not each.startswith("_")}
    assert things and not [fault for each, thing in things.items() for fault in unsaid(thing, each)]


def test_what_is_not_said_is_found():
    class Silent(NamedTuple):
        a: int

    class Said:
        """Says it."""

        def method(self): ...

    assert unsaid(Silent, "Silent") == ["Silent"] and unsaid(Said, "Said") == ["Said.method"]


@pytest.mark.parametrize("slot", face.slots())
def test_each_slot_is_a_public_module(slot):
    assert slot in dir(jattn)
    assert _module(f"{slot}.pyi").__doc__ == importlib.import_module(f"jattn.parts.{slot}").__doc__


def test_a_dropped_file_is_shown_and_a_dropped_folder_goes(tmp_path, monkeypatch, capsys):
    root = tmp_path / "jattn"
    _copy(root)
    monkeypatch.setattr(face, "ROOT", root)
    face.main()
    assert "wrote jattn/masks.pyi" in capsys.readouterr().out and not face.stale()
    assert "import Blind as Blind" in (root / "masks.pyi").read_text()
    assert "_Inner" not in (root / "masks.py").read_text() and "helper" not in (root / "nn.py").read_text()
    assert (root / "masks.py").read_text().splitlines()[:2] == [face.MARK, '"""The slot `masks`: who sees whom."""']
    (root / "parts" / "masks" / "causal.py").write_text("class Causal(Mask):\n    pass\n")
    assert set(face.stale()) == {"masks.py", "masks.pyi"}
    (root / "parts" / "masks").rename(root / "parts" / "shields")
    face.main()
    assert not (root / "masks.py").exists() and not (root / "masks.pyi").exists() and (root / "shields.pyi").exists()
    assert not face.stale()


def test_one_name_in_two_files_is_refused(tmp_path, monkeypatch):
    _copy(tmp_path / "jattn")
    monkeypatch.setattr(face, "ROOT", tmp_path / "jattn")
    (tmp_path / "jattn" / "layers" / "deeper.py").write_text("class Deep:\n    pass\n")
    with pytest.raises(ValueError, match="got Deep in jattn.layers.deep and jattn.layers.deeper; rename one"):
        face.texts()


def test_a_slot_without_a_sentence_is_refused(tmp_path, monkeypatch):
    _copy(tmp_path / "jattn")
    monkeypatch.setattr(face, "ROOT", tmp_path / "jattn")
    (tmp_path / "jattn" / "parts" / "masks" / "__init__.py").write_text("")
    with pytest.raises(ValueError, match="open the file with a docstring"):
        face.texts()


def test_a_file_that_cannot_be_read_is_renewed(tmp_path):
    root = tmp_path / "jattn"
    _copy(root)
    (root / "face.py").write_text((face.ROOT / "face.py").read_text(encoding="utf-8"), encoding="utf-8")
    (root / "__init__.py").write_text("<<<<<<< ours\n")
    subprocess.run([sys.executable, "jattn/face.py"], cwd=tmp_path, check=True, timeout=60)
    assert (root / "__init__.py").read_text(encoding="utf-8").startswith(face.MARK)
