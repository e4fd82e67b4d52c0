"""A stack: first, repeated and last blocks, looped over or side by side."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.buffers import Buffer
from jattn.layers.flow import Flow, Places, Record
from jattn.layers.stack import Stack

X = jax.random.normal(jax.random.key(0), (2, 5, 4))


class Toy(nnx.Module):
    """Adds a product, its layer's number and noise; keeps a sum in its state and a key in its buffer."""

    def __init__(self, rngs):
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (4, 4)))
        self.kept = Buffer(jnp.zeros((), jnp.int32))

    def __call__(self, x: Any, flow: Flow):
        noise = 0 if flow.rng is None else jax.random.normal(flow.rng, x.shape)
        y = jnp.tanh(x @ self.kernel[...]) + flow.layout.layer + noise
        state = None if flow.state is None else flow.state + y.sum((1, 2))
        shared = None if flow.shared is None else flow.shared + y.mean()
        return x + y, flow._replace(state=state, shared=shared), Record(None, {"mean": y.mean()})

    def state(self, batch, length, dtype):
        return jnp.zeros(batch, dtype)

    def refresh(self, observed, rng, step):
        self.kept[...] = jax.random.randint(rng, (), 0, 1000) + step


def stack(**options):
    return Stack((Toy,), (Toy, Toy), (Toy,), depth=3, rngs=nnx.Rngs(0), **options)


def run(made, x=X, rng=None):
    """Values, and gradients in weights and input of everything that came out."""
    graphdef, params, buffers = nnx.split(made, nnx.Param, Buffer)
    states = made.state(2, 5, jnp.float32)

    @jax.jit
    def graded(params, x):
        y, flow, records = nnx.merge(graphdef, params, buffers)(x, Flow(state=states, shared=jnp.zeros(()), rng=rng))
        loss = jnp.square(y).mean() + flow.shared + sum(leaf.sum() for leaf in jax.tree.leaves(records))
        return loss, (y, flow.state, records)

    return jax.value_and_grad(graded, argnums=(0, 1), has_aux=True)(params, x)


PLAIN = run(stack(), rng=jax.random.key(1))


@pytest.mark.parametrize(
    "options", [{"layers_at_once": 1}, {"layers_at_once": 2, "remat": "block"}, {"remat": "block"}]
)
def test_loop_and_recomputation_change_nothing(options):
    got = run(stack(**options), rng=jax.random.key(1))
    # the same sums, fused differently: a few units in the last place of values up to 30
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), PLAIN, got)


def test_layers_count_through_the_whole_stack():
    made = stack()
    y, _, records = jax.jit(lambda x: made(x, Flow()))(X)
    layers = [made.first[0].kernel[...]]
    layers += [block.kernel[turn] for turn in range(3) for block in made.repeat]
    layers += [made.last[0].kernel[...]]
    x, means = X, []
    for number, kernel in enumerate(layers):
        means.append((jnp.tanh(x @ kernel) + number).mean())
        x = x + jnp.tanh(x @ kernel) + number
    np.testing.assert_allclose(y, x, rtol=1e-5)
    np.testing.assert_allclose(records.repeat[1].terms["mean"], means[2:7:2], rtol=1e-5)
    np.testing.assert_allclose(records.last[0].terms["mean"], means[7], rtol=1e-5)


def test_each_layer_starts_from_its_own_key():
    kernel = stack().repeat[0].kernel[...]
    assert kernel.shape == (3, 4, 4) and len(np.unique(kernel)) == kernel.size


def test_no_state_stays_none():
    made = stack()
    _, flow, _ = made(X, Flow())
    assert flow.state is None
    states = made.state(2, 5, jnp.float32)
    assert [x.shape for x in states.repeat] == [(3, 2)] * 2 and states.first[0].shape == (2,)


def test_refresh_reaches_every_layer_with_a_key_of_its_own():
    made = stack()
    kernel = made.repeat[0].kernel[...]
    made.refresh(Places(({},), ({}, {}), ({},)), jax.random.key(0), jnp.int32(1000))
    kept = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(nnx.state(made, Buffer))])
    assert len(kept) == len(set(kept.tolist())) == 8 and (kept >= 1000).all()
    np.testing.assert_array_equal(made.repeat[0].kernel[...], kernel)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        Stack((), (Toy,), depth=0, rngs=nnx.Rngs(0))
    with pytest.raises((ValueError, TypeError), match="all"):
        stack(remat="all")
    with pytest.raises(ValueError, match="layers_at_once must be at least 1, got 0"):
        stack(layers_at_once=0)
