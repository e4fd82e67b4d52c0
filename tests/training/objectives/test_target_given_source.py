"""The cost of a target's tokens, padding left out, against a mean over them one by one."""

import jax
import numpy as np
import pytest

from jattn.layers.flow import Record
from jattn.training.objectives.target_given_source import TargetGivenSource
from jattn.training.sources.transduction import Transduction

LOGITS = jax.random.normal(jax.random.key(0), (3, 6, 17))
STRINGS = Transduction().held_out(5)
BATCH = {name: np.stack([STRINGS[n][name] for n in range(3)]) for name in STRINGS[0]}


def forward(variables, inputs, rng, layout):
    np.testing.assert_array_equal(inputs.source, BATCH["source"])
    np.testing.assert_array_equal(inputs.target, BATCH["tokens"][:, :-1])
    np.testing.assert_array_equal(layout.valid[0], BATCH["length"])
    np.testing.assert_array_equal(layout.valid[1], BATCH["source_length"])
    return LOGITS, Record(None, {}), None


def test_mean_cost_of_what_is_no_padding():
    loss, _ = TargetGivenSource()(forward, {}, BATCH, None)
    p = jax.nn.softmax(LOGITS)
    literal = [-np.log(p[b, t, BATCH["tokens"][b, t + 1]]) for b in range(3) for t in range(BATCH["length"][b])]
    np.testing.assert_allclose(loss, np.mean(literal), rtol=1e-6)
    shown, counts = TargetGivenSource().measured(forward, {}, BATCH)
    np.testing.assert_allclose((shown["loss"] * counts).sum() / counts.sum(), loss, rtol=1e-6)


def test_a_text_alone_is_refused():
    with pytest.raises(ValueError, match="got one without source and source_length and length from this source"):
        TargetGivenSource()(forward, {}, {"tokens": BATCH["tokens"]}, None)
