"""Classes are counted, and the commonest one is as often right as it is there."""

from jattn.training import classes


def test_classes_are_counted():
    examples = [{"label": label} for label in (2, 0, 2, 2, 1)]
    assert classes.counts(examples).tolist() == [1, 1, 3] and classes.majority(examples) == 3 / 5
