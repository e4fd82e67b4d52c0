"""The cost of a class against the mean of -log p, accuracy by counting, and padding that is passed on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.layers.flow import Record
from jattn.training.objectives.classification import Classification

LOGITS = jax.random.normal(jax.random.key(0), (4, 3))
BATCH = {"inputs": np.zeros((4, 5), int), "label": np.array([2, 0, 1, 1]), "scored": np.array([1.0, 1, 1, 0])}


def forward(variables, inputs, rng, layout):
    assert inputs.shape == (4, 5) and layout.valid is variables.get("valid")
    return LOGITS, Record(None, {"term": jnp.float32(0.5)}), None


def test_mean_cost_of_the_label_and_the_layers_terms():
    loss, terms = Classification()(forward, {}, BATCH, None)
    p = jax.nn.softmax(LOGITS)
    literal = np.mean([-np.log(p[n, label]) for n, label in enumerate(BATCH["label"])])
    np.testing.assert_allclose([terms["cross_entropy"], loss], [literal, literal + 0.5], rtol=1e-6)


def test_accuracy_is_the_share_that_is_right():
    shown, counts = Classification().measured(forward, {}, BATCH)
    right = [int(np.argmax(LOGITS[n]) == label) for n, label in enumerate(BATCH["label"])]
    np.testing.assert_array_equal(shown["accuracy"], right)
    assert counts.sum() == 3 and 0 < sum(right) < 4


def test_padding_reaches_the_model():
    valid = np.ones((4, 5), bool)
    Classification()(forward, {"valid": valid}, BATCH | {"valid": valid}, None)


def test_what_is_missing_is_refused():
    with pytest.raises(ValueError, match="Classification reads label of an example, got one without label from"):
        Classification()(forward, {}, {"tokens": np.zeros((4, 5), int)}, None)
    with pytest.raises(ValueError, match="one row of logits an example, .* shape \\(4, 5, 3\\); .* --model.classes"):
        Classification()(lambda *_: (jnp.zeros((4, 5, 3)), None, None), {}, BATCH, None)
