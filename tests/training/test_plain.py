"""Tests that parts survive being written as plain data, and that nothing else is read."""

import pytest

from jattn.part import Part, part
from jattn.training.plain import agrees, from_plain, to_plain
from jattn.training.run import Run


class Slot(Part):
    """A slot."""


@part
class Leaf(Slot):
    """Plain options."""

    size: int = 1
    rate: float = 0.5
    names: tuple[str, ...] = ()
    limit: int | None = None


@part
class Wrap(Slot):
    """Parts inside."""

    inner: Slot = Leaf()
    many: Slot | tuple[Slot, ...] = ()


def resolve(slot, name):
    return {"Leaf": Leaf, "Wrap": Wrap, "str": str}[name]


@pytest.mark.parametrize(
    "value", [Leaf(3, 2.0, ("a", "b"), 7), Wrap(Wrap(Leaf(2)), (Leaf(5), Wrap())), Wrap(many=Leaf(9))]
)
def test_round_trip(value):
    again = from_plain(to_plain(value), Slot, resolve)
    assert again == value and repr(again) == repr(value)


def test_a_whole_number_is_a_float_where_one_is_meant_and_absent_fields_keep_defaults():
    leaf = from_plain({"name": "Leaf", "rate": 2}, Slot, resolve)
    assert leaf == Leaf(rate=2.0) and isinstance(leaf.rate, float)


@pytest.mark.parametrize(
    "data, words",
    [
        ({"name": "Leaf", "sise": 3}, "'sise'; did you mean size"),
        ({"name": "Leaf", "size": "3"}, "run.size must be int, got '3'"),
        ({"name": "Leaf", "size": True}, "run.size must be int"),
        ({"name": "str"}, "must be a Slot, got 'str'"),
        ({"size": 3}, "must give its class"),
        ([1], "run must be Slot"),
        ({"name": "Leaf", "rate": 10**400}, "run.rate must be float, got 1000"),
        ({"name": "Wrap", "inner": {"name": "Leaf", "names": "ab"}}, "run.inner.names must be"),
    ],
)
def test_what_does_not_fit_is_refused(data, words):
    with pytest.raises((TypeError, ValueError), match=words):
        from_plain(data, Slot, resolve)


def test_a_function_cannot_be_written():
    with pytest.raises(TypeError, match="put a plain function into a part"):
        to_plain(Wrap(many=(len,)))


def test_a_default_that_has_changed_is_not_agreed_with():
    written = to_plain(Run())
    assert not agrees({**written, "steps": 7}, written)
    assert not agrees({**written, "model": {**written["model"], "depth": 9}}, written)
    assert not agrees({**written, "gone": 1}, written)
