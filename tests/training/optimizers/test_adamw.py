"""Tests AdamW against optax's, where nothing is clipped and all decays, and its clipping."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jattn.training.optimizers.adamw import AdamW


def test_equals_optax_on_the_head():
    params = {"head": {"table": jnp.arange(6.0).reshape(2, 3)}}
    gradient = jax.tree.map(lambda x: 0.01 * jnp.cos(x), params)
    ours = AdamW().transformation(100)
    theirs = optax.adamw(AdamW().learning_rate(100), 0.9, 0.99, weight_decay=0.1)
    update, _ = ours.update(gradient, ours.init(params), params)
    expected, _ = theirs.update(gradient, theirs.init(params), params)
    np.testing.assert_allclose(update["head"]["table"], expected["head"]["table"], rtol=1e-6)


def test_a_longer_gradient_is_clipped():
    params = {"embedding": {"table": jnp.zeros((1, 2))}}
    # epsilon this large makes the update follow the gradient's size
    optimizer = AdamW(epsilon=1e3, warm_up=0.0).transformation(10)
    of = lambda size: optimizer.update(  # noqa: E731
        {"embedding": {"table": jnp.full((1, 2), size)}}, optimizer.init(params), params
    )[0]["embedding"]["table"]
    np.testing.assert_allclose(of(100.0), of(10.0), rtol=1e-5)
    assert np.all(np.abs(of(0.1)) < 0.5 * np.abs(of(10.0)))


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="AdamW.rate must be a finite number above 0, got -1"):
        AdamW(rate=-1)


def test_all_that_is_learned_may_decay():
    params = {"head": {"table": jnp.ones((2, 3))}, "stack": {"gain": jnp.ones(4)}, "embedding": {"table": jnp.ones(5)}}
    nothing = jax.tree.map(jnp.zeros_like, params)
    for decayed, others in (("all", -0.05), ("matrices", 0.0)):
        transformation = AdamW(rate=0.5, decay=0.1, warm_up=0.0, decayed=decayed).transformation(10)
        update, _ = transformation.update(nothing, transformation.init(params), params)
        np.testing.assert_allclose(update["head"]["table"], -0.05, rtol=1e-6)
        np.testing.assert_allclose(update["stack"]["gain"], others, rtol=1e-6)
        np.testing.assert_allclose(update["embedding"]["table"], others, rtol=1e-6)


@pytest.mark.parametrize(
    "field, words",
    [({"decayed": "some"}, "'matrices' or 'all', got 'some'"), ({"fall": "steep"}, "'cosine' or 'linear'")],
)
def test_unknown_words_are_refused(field, words):
    with pytest.raises(ValueError, match=f"AdamW.{next(iter(field))} must be {words}"):
        AdamW(**field)
