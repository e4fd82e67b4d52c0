"""Norms against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.norms import Norm
from tests.support import float64  # noqa: F401

KEY = jax.random.key(1)
X = 3 + jax.random.normal(jax.random.key(0), (5, 16))


def test_rms_norm_is_the_paper():
    y = Norm("rms", 16, rngs=nnx.Rngs(0))(X)
    # one rsqrt and one product of float32
    np.testing.assert_allclose(y, X / np.sqrt(np.mean(np.square(X), -1, keepdims=True) + 1e-6), rtol=1e-6)


def test_layer_norm_is_the_paper():
    y = Norm("layer", 16, rngs=nnx.Rngs(0))(X)
    # the mean of 3 is taken off first: a few units in the last place of 3
    np.testing.assert_allclose(y, (X - X.mean(-1, keepdims=True)) / np.sqrt(X.var(-1, keepdims=True) + 1e-6), atol=2e-6)


def test_simple_rms_norm_learns_nothing_and_hears_no_scale():
    norm = Norm("simple_rms", 16, rngs=nnx.Rngs(0))
    assert not jax.tree.leaves(nnx.state(norm))
    y = norm(X)
    # of length sqrt(16), but for the epsilon beside a mean square of about 10
    np.testing.assert_allclose(np.linalg.norm(y, axis=-1), 4, rtol=1e-6)
    np.testing.assert_allclose(norm(1000 * X), y, rtol=1e-6)
    np.testing.assert_allclose(y, 4 * X / np.linalg.norm(X, axis=-1, keepdims=True), rtol=1e-6)
    assert not norm(jnp.zeros((1, 16))).any()


@pytest.mark.parametrize("kind", ["rms", "layer", "scale", "batch", "simple_rms"])
def test_bfloat16_has_float32_statistics(kind):
    norm, x = Norm(kind, 16, rngs=nnx.Rngs(0)), X.astype(jnp.bfloat16)
    y = norm(x, KEY)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, norm(x.astype(jnp.float32), KEY).astype(jnp.bfloat16))


def test_an_unknown_norm_is_refused():
    with pytest.raises((ValueError, TypeError), match="group"):
        Norm("group", 16, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("kind", ["rms", "layer", "scale", "batch", "simple_rms"])
def test_epsilon_stands_under_the_root(kind):
    # without a spread of its own, x is divided by the root of epsilon
    x = 1e-4 * jax.random.normal(KEY, (64, 16))
    y = Norm(kind, 16, 1.0, rngs=nnx.Rngs(0))(x, KEY)
    centred = {"layer": x - x.mean(-1, keepdims=True), "batch": x - x.mean(0, keepdims=True)}.get(kind, x)
    np.testing.assert_allclose(y, centred, atol=1e-10)


@pytest.mark.parametrize("epsilon", [0, -1e-5])
def test_an_epsilon_that_is_none_is_refused(epsilon):
    with pytest.raises(ValueError, match="A norm's epsilon must be above 0, got"):
        Norm("rms", 16, epsilon, rngs=nnx.Rngs(0))


def test_scale_norm_is_one_number_times_x_over_the_root_of_its_mean_square():
    norm = Norm("scale", 16, 1e-5, rngs=nnx.Rngs(0))
    (gain,) = jax.tree.leaves(nnx.state(norm))
    assert gain.shape == () and gain == 1
    norm.gain[...] = 2.5
    root = np.sqrt(np.mean(np.square(X), -1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(norm(X), 2.5 * X / root, rtol=1e-6)


def batch_norm(width=6):
    norm = Norm("batch", width, 1e-5, rngs=nnx.Rngs(0))
    norm.gain[...] = jnp.linspace(0.5, 2, width)
    norm.shift[...] = jnp.linspace(-1, 1, width)
    return norm


def test_a_batch_norm_is_the_paper_with_its_gradients(float64):  # noqa: F811
    norm, x = batch_norm(), 3 + jax.random.normal(KEY, (2, 5, 6))
    graphdef, state = nnx.split(norm)

    def written_out(state, x):
        mean = x.sum((0, 1)) / 10
        variance = ((x - mean[None, None]) ** 2).sum((0, 1)) / 10
        held = nnx.to_pure_dict(state)
        y = (x - mean[None, None]) / jnp.sqrt(variance + 1e-5)[None, None]
        return y * held["gain"][None, None] + held["shift"][None, None]

    def ours(state, x):
        return nnx.merge(graphdef, state)(x, KEY)

    np.testing.assert_allclose(ours(state, x), written_out(state, x), atol=1e-13)
    params, rest = nnx.split_state(state, nnx.Param, ...)

    def gradients(call):
        read = lambda params, x: (call(nnx.merge_state(params, rest), x) * jnp.cos(x)).sum()  # noqa: E731
        return jax.tree.leaves(jax.grad(read, (0, 1))(params, x))

    for got, want in zip(gradients(ours), gradients(written_out), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-12)


def test_evaluation_reads_averages_of_the_steps_there_were_and_nothing_else():
    norm = batch_norm()
    batches = [3 + jax.random.normal(key, (2, 5, 6)) * (1 + n) for n, key in enumerate(jax.random.split(KEY, 3))]
    assert norm.observed(batches[0], None) == {}
    norm.refresh({})
    weights = 0.9 ** np.arange(2, -1, -1)
    for x in batches:
        norm.refresh(norm.observed(x, KEY))
    # a step before which nothing was observed leaves all as it was
    norm.refresh(jax.tree.map(jnp.zeros_like, norm.observed(x, KEY)))
    rows = np.asarray(batches, np.float64).reshape(3, 10, 6)
    mean = np.average(rows.mean(1), 0, weights)
    variance = np.average(rows.var(1, ddof=1), 0, weights)
    np.testing.assert_allclose(norm.mean[...], mean, rtol=1e-6)
    np.testing.assert_allclose(norm.variance[...], variance, rtol=1e-5)
    assert norm.steps[...] == 3
    want = (np.asarray(X[:, :6]) - mean) / np.sqrt(variance + 1e-5) * np.linspace(0.5, 2, 6) + np.linspace(-1, 1, 6)
    np.testing.assert_allclose(norm(X[:, :6]), want, rtol=1e-5, atol=1e-5)


def test_sums_of_pieces_of_a_batch_are_its_own():
    x = 100 + jax.random.normal(KEY, (4, 5, 6))
    whole, pieces = batch_norm(), batch_norm()
    for norm in (whole, pieces):
        norm.mean[...] = jnp.full(6, 99.0)
        norm.steps[...] = 7
    whole.refresh(whole.observed(x, KEY))
    pieces.refresh(jax.tree.map(jnp.add, *(pieces.observed(x[cut], KEY) for cut in (slice(1), slice(1, None)))))
    # of the sum of squares about a mean that is off by 1
    np.testing.assert_allclose(pieces.variance[...], whole.variance[...], rtol=1e-5)
    np.testing.assert_allclose(pieces.mean[...], whole.mean[...], rtol=1e-7)


def test_a_mean_far_from_0_costs_no_digits():
    x = jax.random.normal(KEY, (2, 50, 6))
    far = x + 1000
    # 1000 + x is rounded to 6e-5 at most
    np.testing.assert_allclose(batch_norm()(far, KEY), batch_norm()(x, KEY), atol=5e-4)


def test_evaluation_before_any_step_is_refused_and_finite_where_it_is_compiled():
    norm = batch_norm()
    with pytest.raises(ValueError, match="A batch norm evaluates by the averages of training, got a model that no"):
        norm(X[:, :6])
    graphdef, state = nnx.split(norm)
    assert jnp.isfinite(jax.jit(lambda state: nnx.merge(graphdef, state)(X[:, :6]))(state)).all()


def test_what_a_batch_norm_keeps_is_not_learned():
    learned, kept = nnx.split(batch_norm(), nnx.Param, ...)[1:]
    assert set(nnx.to_pure_dict(learned)) == {"gain", "shift"}
    assert set(nnx.to_pure_dict(kept)) == {"mean", "variance", "steps"}


@pytest.mark.parametrize("kind", ["rms", "layer", "scale", "batch", "simple_rms"])
def test_without_gains_it_is_a_fresh_one_that_learns_nothing(kind):
    bare = Norm(kind, 16, gains="none", rngs=nnx.Rngs(0))
    assert not jax.tree.leaves(nnx.state(bare, nnx.Param))
    np.testing.assert_array_equal(bare(X, KEY), Norm(kind, 16, rngs=nnx.Rngs(0))(X, KEY))
    with pytest.raises((ValueError, TypeError), match="fixed"):
        Norm(kind, 16, gains="fixed", rngs=nnx.Rngs(0))
