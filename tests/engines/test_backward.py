"""The backward pass: ties across tiles, unread statistics that cost nothing, buffers and integers without gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import backward, dense, tiled
from jattn.mechanisms.attention import Attention, attend
from jattn.part import part
from jattn.parts.masks.causal import Causal
from jattn.parts.scores import Score
from tests.support import attended, float64, make, small_tiles  # noqa: F401


def test_ties_in_two_tiles_share_the_gradient(monkeypatch, float64):  # noqa: F811
    small_tiles(monkeypatch)
    made, buffers = make(Attention(), tokens=1, heads=(1, 1, 1))
    key = made.key.at[jnp.array([2, 40, 41])].set(10 * made.query[0])

    def largest(key, engine):
        return attended(engine, Attention(scale=1.0), made._replace(key=key), buffers).stats.max_logit.sum()

    grads = [jax.jit(jax.grad(largest), static_argnums=1)(key, engine) for engine in (dense, tiled)]
    np.testing.assert_allclose(*grads, atol=1e-12)
    np.testing.assert_allclose(grads[1][40, 0], made.query[0, 0] / 3, rtol=1e-12)


@pytest.mark.parametrize("transform", [lambda f: f, jax.checkpoint, jax.jit], ids=["plain", "checkpoint", "jit"])
def test_statistics_that_nobody_differentiates_have_no_cotangent(monkeypatch, transform):
    seen = []
    run = backward.run
    monkeypatch.setattr(backward, "run", lambda *a: seen.append([x is not None for x in a[3]]) or run(*a))

    def loss(x):
        found = attend(x, x, x, Attention(mask=Causal()))
        return found.out.sum(), found.stats

    jax.grad(transform(loss), has_aux=True)(jnp.ones((2, 6, 1, 4)))
    assert seen == [[True, False, False, False]]


@part
class Indexed(Score):
    """Adds a learned line picked by a buffer of integers."""

    def params(self, rng, dims):
        return {"line": jnp.arange(3.0)}

    def buffers(self, rng, dims):
        return {"which": jnp.array([2, 0]), "gain": jnp.array(0.5)}

    def pairs(self, own, logits, tile):
        line = own["line"][own["which"]]
        pairs = line[tile.query.position[:, None] % 2] * (tile.key.position[None, :] % 3)
        return logits + own["gain"] * pairs[None]


def test_buffers_reach_a_part_and_integers_have_no_gradient(monkeypatch, float64):  # noqa: F811
    small_tiles(monkeypatch)
    attention = Attention(score=Indexed(), mask=Causal())
    made, buffers = make(attention)

    def loss(params, engine):
        return (attended(engine, attention, made._replace(params=params), buffers).out ** 2).sum()

    want, got = (jax.jit(jax.grad(loss), static_argnums=1)(made.params, engine) for engine in (dense, tiled))
    np.testing.assert_allclose(want["score"]["0"]["line"], got["score"]["0"]["line"], rtol=1e-10)
    assert abs(got["score"]["0"]["line"][0]) > 0
