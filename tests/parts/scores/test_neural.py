"""The network of a pair against the two vectors put side by side, and the memory it takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import tiled, tiles
from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.part import Dims, Variables
from jattn.parts.masks.causal import Causal
from jattn.parts.scores.neural import Neural
from tests.support import (  # noqa: F401
    assert_tiled_equals_dense,
    attended,
    float64,
    largest_intermediate,
    make,
    padded_layout,
    small_tiles,
)
from tests.support import compiled_attend as attend

DIMS = Dims(4, 2, 2, 8, 5)


def side_by_side(own, query, key):
    """The equations of the paper for one pair."""
    low = [x @ own[f"{name}_kernel"] + own[f"{name}_bias"] for name, x in (("query", query), ("key", key))]
    first = np.maximum(np.concatenate(low) @ own["first_kernel"] + own["first_bias"], 0)
    second = np.maximum(first @ own["second_kernel"] + own["second_bias"], 0)
    return second @ own["last_kernel"] + own["last_bias"]


def test_attention_equals_the_equations_written_out(float64):  # noqa: F811
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(9, h, d)) for h, d in ((4, 8), (2, 8), (2, 5)))
    attention = Attention(score=Neural(hidden=6), mask=Causal())
    variables = attention.init(jax.random.key(0), DIMS)
    # small units of the start would hide a wrong sign
    own = {name: np.asarray(x) + rng.normal(size=x.shape) for name, x in variables.params["score"]["0"].items()}
    params = {"score": {"0": {name: jnp.asarray(x) for name, x in own.items()}}}
    found = attend(*map(jnp.asarray, (q, k, v)), attention, variables=Variables(params, {}))
    for t, h in np.ndindex(9, 4):
        logits = np.array([side_by_side(own, q[t, h], k[s, h // 2]) for s in range(t + 1)])
        weights = np.exp(logits - logits.max())
        np.testing.assert_allclose(found.out[t, h], weights / weights.sum() @ v[: t + 1, h // 2], rtol=1e-10)
        np.testing.assert_allclose(found.stats.max_logit[t, h], logits.max(), rtol=1e-10)


@pytest.mark.parametrize(("width", "hidden"), [(64, 2), (64, 16), (8, 6)])
def test_the_number_of_parameters_is_the_papers(width, hidden):
    params = Neural(hidden).params(jax.random.key(0), Dims(1, 1, 1, width, width))
    d, r = width, hidden
    want = 2 * (d * r + r) + (2 * r * r + r) + (r * r // 2 + r // 2) + (r // 2 + 1)
    assert sum(x.size for x in params.values()) == want


def test_arrays_start_within_one_over_the_root_of_what_enters():
    params = Neural(16).params(jax.random.key(0), Dims(1, 1, 1, 64, 64))
    for name, entering in (("query", 64), ("key", 64), ("first", 32), ("second", 16), ("last", 8)):
        for array in (params[f"{name}_kernel"], params[f"{name}_bias"]):
            assert 0 < np.abs(array).max() <= entering**-0.5
        # 8 numbers and more, even in their spread: one lies in the outer half
        assert np.abs(params[f"{name}_kernel"]).max() > 0.5 * entering**-0.5


def test_equal_keys_share_the_weight(float64):  # noqa: F811
    made, buffers = make(Attention(score=Neural(hidden=6)))
    made = made._replace(key=jnp.ones_like(made.key))
    found = attended(tiled, Attention(score=Neural(hidden=6)), made, buffers)
    np.testing.assert_allclose(found.stats.entropy, np.log(53), rtol=1e-12)


def test_wider_networks_are_dense_in_every_gradient(float64, monkeypatch):  # noqa: F811
    # the contract runs over the paper's 2 units, of which the second layer may be dead
    small_tiles(monkeypatch, elements=20 * 2 * 16 * 12)
    assert_tiled_equals_dense(Attention(score=Neural(hidden=12), mask=Causal()), padded_layout())


def test_sixteen_units_take_no_more_room_than_a_tile(monkeypatch):
    attention = Attention(score=Neural(hidden=16), mask=Causal())

    def gradient(tokens):
        made, buffers = make(attention, tokens=tokens, keys=tokens, heads=(1, 1, 1))
        made = jax.tree.map(lambda x: x.astype(jnp.float32), made)

        def loss(made):
            found = attended(tiled, attention, made, buffers)
            return found.out.sum() + found.stats.entropy.sum()

        return jax.grad(loss), made

    function, made = gradient(2048)
    assert largest_intermediate(function, made) <= tiles.sizes().pairs
    # four arrays of a tile at most, where the units of all pairs would take 2048^2 x 24 numbers, or 403 MB
    temporary = jax.jit(function).lower(made).compile().memory_analysis().temp_size_in_bytes
    assert temporary <= 4 * tiles.sizes().pairs * 4
    monkeypatch.setattr(Neural, "width", lambda self, dims: 1)
    assert largest_intermediate(*gradient(2048)) > tiles.sizes().pairs


def test_arrays_that_are_absent_are_named():
    x = jnp.ones((3, 1, 8))
    with pytest.raises(KeyError, match="score/0/first_bias"):
        attend(x, x, x, Attention(score=Neural()), layout=Layout())


@pytest.mark.parametrize("hidden", [0, 1, 3])
def test_units_out_of_range_are_refused(hidden):
    with pytest.raises(ValueError, match=f"an even number of units, at least 2, got {hidden}"):
        Neural(hidden=hidden)
