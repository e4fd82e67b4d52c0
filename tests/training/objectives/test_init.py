"""What objectives share: arrays that a source must give, and how a batch is padded."""

import numpy as np
import pytest

from jattn.training.objectives import layout
from jattn.training.objectives.next_token import NextToken


def test_what_a_source_does_not_give_is_refused():
    batch = {"tokens": np.zeros((2, 3)), "scored": np.ones(2)}
    assert NextToken().needed(batch, "scored", "tokens")[1] is batch["tokens"]
    with pytest.raises(ValueError, match="NextToken reads tokens and label of an example, got one without label from"):
        NextToken().needed(batch, "tokens", "label")


def test_a_batch_says_what_is_padding():
    valid = np.ones((2, 3), bool)
    assert layout({"valid": valid}).valid is valid and layout({}).valid is None
