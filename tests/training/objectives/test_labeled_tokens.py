"""The cost of labels, tokens without one left out, against a mean over them one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.layers.flow import Record
from jattn.training.objectives.labeled_tokens import LabeledTokens
from jattn.training.sources.associative_recall import AssociativeRecall

SOURCE = AssociativeRecall(pairs=3, keys=5, values=4)
EXAMPLES = SOURCE.held_out(11)
BATCH = {name: jnp.stack([EXAMPLES[n][name] for n in range(3)]) for name in EXAMPLES[0]}
LOGITS = jax.random.normal(jax.random.key(0), (3, 11, SOURCE.vocabulary))


def forward(variables, inputs, rng, layout):
    np.testing.assert_array_equal(inputs, BATCH["inputs"])
    assert layout.valid is None
    return LOGITS, Record(None, {}), None


def test_mean_cost_and_accuracy_of_what_has_a_label():
    loss, _ = LabeledTokens()(forward, {}, BATCH, None)
    p, places = jax.nn.softmax(LOGITS), list(zip(*np.nonzero(BATCH["scored"]), strict=True))
    assert len(places) == 9
    literal = [-np.log(p[b, t, BATCH["labels"][b, t]]) for b, t in places]
    np.testing.assert_allclose(loss, np.mean(literal), rtol=1e-6)
    shown, counts = LabeledTokens().measured(forward, {}, BATCH)
    np.testing.assert_allclose((shown["loss"] * counts).sum() / counts.sum(), loss, rtol=1e-6)
    right = np.mean([LOGITS[b, t].argmax() == BATCH["labels"][b, t] for b, t in places])
    np.testing.assert_allclose((shown["accuracy"] * counts).sum() / counts.sum(), right, rtol=1e-6)


def test_a_batch_without_a_label_costs_nothing():
    loss, _ = LabeledTokens()(forward, {}, BATCH | {"scored": jnp.zeros_like(BATCH["scored"])}, None)
    assert loss == 0


def test_a_text_is_refused():
    with pytest.raises(ValueError, match="reads inputs and labels and scored of an example, got one without"):
        LabeledTokens()(forward, {}, {"tokens": BATCH["inputs"]}, None)
