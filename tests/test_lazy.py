"""Names are loaded when they are asked for, and what is missing is said in one sentence."""

import sys

import pytest

from jattn.lazy import face


def _folder(tmp_path, monkeypatch, **files):
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_name_is_loaded_from_its_home_when_asked_for(tmp_path, monkeypatch):
    _folder(tmp_path, monkeypatch, made_home="Made = 3")
    getter, listing, names = face("made", {"Made": "made_home", "Absent": "made_nowhere"})
    assert listing() == names == ["Absent", "Made"] and "made_home" not in sys.modules
    assert getter("Made") == 3


def test_a_name_at_home_in_the_module_itself_is_a_module():
    getter, _, _ = face("jattn", {"part": "jattn"})
    assert getter("part") is sys.modules["jattn.part"]


def test_an_unknown_name_is_refused_with_the_nearest():
    getter, _, _ = face("made", {"Window": "made_home"})
    with pytest.raises(AttributeError, match="module 'made' has no attribute 'Windw'; the nearest is Window"):
        getter("Windw")
    with pytest.raises(AttributeError, match=r"no attribute 'zzz'; dir\(made\) lists what it has"):
        getter("zzz")


def test_a_missing_extra_is_named_and_another_library_is_left_alone(tmp_path, monkeypatch):
    missing = "raise ModuleNotFoundError('No module named x', name={!r})"
    _folder(tmp_path, monkeypatch, made_extra=missing.format("flax.nnx"), made_other=missing.format("other"))
    getter, _, _ = face("made", {"Layer": "made_extra", "Thing": "made_other"})
    with pytest.raises(ModuleNotFoundError, match=r'^made.Layer needs flax, .* "jattn\[train\]" brings it.$'):
        getter("Layer")
    with pytest.raises(ModuleNotFoundError, match="^No module named x$"):
        getter("Thing")
