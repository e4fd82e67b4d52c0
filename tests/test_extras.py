"""A missing library is told by its extra."""

from jattn import extras


def test_a_library_of_an_extra_is_named_with_it():
    told = extras.sentence("This", ModuleNotFoundError("", name="orbax.checkpoint"))
    assert told == 'This needs orbax, which is not installed; pip install "jattn[train]" brings it.'


def test_any_other_library_is_not_explained():
    assert extras.sentence("This", ModuleNotFoundError("", name="jattn.typo")) is None
