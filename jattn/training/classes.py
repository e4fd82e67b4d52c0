"""Counts the classes of labeled examples: what always naming the commonest one reaches."""

import numpy as np
from jaxtyping import Int

from jattn.training.sources import Examples


def counts(examples: Examples) -> Int[np.ndarray, " k"]:
    """How many examples of an epoch have each label."""
    return np.bincount([int(examples[number]["label"]) for number in range(len(examples))])


def majority(examples: Examples) -> float:
    """The accuracy of always naming the commonest class of these examples; a model that learns is above it."""
    return float(counts(examples).max() / len(examples))
