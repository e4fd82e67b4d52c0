"""The paper's form against float64, gradients too, and in chunks of any size."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.training.sweeps import listed

FOLDER = Path(__file__).parents[3] / "experiments" / "memory_efficient"
two_pass = listed.executed(FOLDER / "two_pass.py").two_pass


def literal(q, k, v):
    logits = jnp.einsum("thd,shd->hts", q, k) * q.shape[-1] ** -0.5
    return jnp.einsum("hts,she->the", jax.nn.softmax(logits), v)


@pytest.mark.parametrize("chunks", [(30, 20), (10, 5), (5, 40)])
def test_output_and_gradients_are_those_of_attention(chunks):
    rng = np.random.default_rng(0)
    q, k, v, g = (rng.normal(size=(n, 2, w)) for n, w in ((30, 8), (40, 8), (40, 5), (30, 5)))
    with jax.enable_x64(True):
        want, pull = jax.vjp(literal, *map(jnp.asarray, (q, k, v)))
        want = want, *pull(jnp.asarray(g))
    # the naive form's own error in float32, as the tolerance of every exact engine
    naive, pull = jax.vjp(literal, *(jnp.asarray(x, jnp.float32) for x in (q, k, v)))
    naive = naive, *pull(jnp.asarray(g, jnp.float32))
    out, pull = jax.vjp(lambda *a: two_pass(*a, *chunks), *(jnp.asarray(x, jnp.float32) for x in (q, k, v)))
    for best, usual, ours in zip(want, naive, (out, *pull(jnp.asarray(g, jnp.float32))), strict=True):
        best = np.asarray(best)
        bound = 2 * np.abs(np.asarray(usual) - best).max() + np.spacing(np.float32(np.abs(best).max()))
        assert np.abs(np.asarray(ours) - best).max() <= bound


def test_it_computes_in_float32_whatever_comes():
    q = jnp.ones((8, 1, 4), jnp.bfloat16)
    assert two_pass(q, q, q).dtype == jnp.float32


@pytest.mark.parametrize("chunks, name", [((4, 10), "Queries"), ((10, 4), "Keys")])
def test_a_chunk_that_leaves_a_tail_is_refused(chunks, name):
    q = jnp.ones((10, 1, 4))
    with pytest.raises(ValueError, match=f"{name} are a multiple of their chunk, got 10 in chunks of 4"):
        two_pass(q, q, q, *chunks)
