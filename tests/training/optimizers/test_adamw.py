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
