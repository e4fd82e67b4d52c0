"""Both reductions as loops, exact zeros inside the band, and where gradients push."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms.entropy_penalty import entropy_penalty
from tests.support import float64  # noqa: F401

pytestmark = pytest.mark.usefixtures("float64")

LAYERS, BATCH, TOKENS, HEADS = 2, 3, 5, 4


def drawn():
    rng = np.random.default_rng(0)
    entropy = rng.uniform(0, np.log(TOKENS), (LAYERS, BATCH, TOKENS, HEADS))
    threshold = rng.uniform(0.2, 0.8, (LAYERS, HEADS))
    valid = np.broadcast_to(np.arange(TOKENS)[None, :, None] < np.array([5, 3, 0])[:, None, None], entropy.shape)
    return entropy, threshold, valid


def by_loops(entropy, threshold, valid, tolerance, reduction):
    ceiling, total = np.log(TOKENS), 0.0
    for layer, head in np.ndindex(LAYERS, HEADS):
        rows = [entropy[layer, b, t, head] for b, t in np.ndindex(BATCH, TOKENS) if valid[layer, b, t, head]]
        rows = [np.mean(rows)] if reduction == "head_mean" else rows
        distances = [row - threshold[layer, head] * ceiling for row in rows]
        total += sum(d**2 for d in distances if abs(d) > tolerance * ceiling)
    return total / LAYERS / HEADS


@pytest.mark.parametrize("reduction", ["sum_queries", "head_mean"])
@pytest.mark.parametrize("tolerance", [0.0, 0.1, 0.2])
def test_it_is_the_algorithm_in_loops(reduction, tolerance):
    entropy, threshold, valid = drawn()
    options = {"tolerance": tolerance, "reduction": reduction}
    found = entropy_penalty(
        jnp.asarray(entropy), jnp.asarray(threshold), jnp.full((1, 1, 1, 1), np.log(TOKENS)), valid=valid, **options
    )
    np.testing.assert_allclose(found, by_loops(entropy, threshold, valid, tolerance, reduction), rtol=1e-12)


@pytest.mark.parametrize("reduction", ["sum_queries", "head_mean"])
def test_inside_the_band_nothing_and_outside_towards_it(reduction):
    ceiling, threshold = jnp.full((1, 1, 1, 1), 2.0), jnp.full((1, 3), 0.5)
    # the band is 1 +- 0.4: below, inside, above
    entropy = jnp.broadcast_to(jnp.array([0.3, 1.2, 1.7]), (1, 2, 4, 3))

    def penalty(entropy, threshold):
        return entropy_penalty(entropy, threshold, ceiling, reduction=reduction)

    by_entropy, by_threshold = jax.grad(penalty, (0, 1))(entropy, threshold)
    assert (by_entropy[..., 0] < 0).all() and not by_entropy[..., 1].any() and (by_entropy[..., 2] > 0).all()
    assert by_threshold[0, 0] > 0 and by_threshold[0, 1] == 0 and by_threshold[0, 2] < 0


def test_a_batch_without_valid_rows_costs_nothing():
    entropy, threshold, valid = drawn()
    for reduction in ("sum_queries", "head_mean"):

        def penalty(entropy, reduction=reduction):
            ceiling = jnp.ones((1, 1, 1, 1))
            return entropy_penalty(entropy, threshold, ceiling, valid=valid & False, reduction=reduction)

        found, slope = jax.value_and_grad(penalty)(jnp.asarray(entropy))
        assert found == 0 and not slope.any()


def test_a_share_outside_comes_back():
    ceiling, entropy = jnp.full((1, 1, 1, 1), 2.0), jnp.full((1, 1, 4, 2), 1.0)

    @jax.jit
    def penalty(threshold):
        return entropy_penalty(entropy, threshold, ceiling)

    # of 1.3 and -0.2 as of 1 and 0: four rows, 1 nat from either end
    found, slope = jax.value_and_grad(penalty)(jnp.array([[1.3, -0.2]]))
    np.testing.assert_allclose(found, 4, rtol=1e-12)
    np.testing.assert_allclose(slope, [[2 * 4 * 2 / 2, -2 * 4 * 2 / 2]], rtol=1e-12)


WRONG = {
    "threshold": (jnp.full((LAYERS, HEADS), 1.5), "Thresholds must lie between 0 and 1, got numbers from 1.5 to 1.5"),
    "threshold of one layer": (jnp.ones(HEADS), r"one for each of 2 layers and 4 heads, got shape \(4,\)"),
    "tolerance": (-0.1, "The tolerance must lie between 0 and 1, got -0.1"),
    "tolerance above": (1.5, "The tolerance must lie between 0 and 1, got 1.5"),
    "ceiling": (jnp.ones(3), r"ceiling has the shape of the entropy, .* got \(3,\)"),
    "valid": (jnp.ones((LAYERS, 7, TOKENS, HEADS), bool), "valid has the shape of the entropy"),
    "entropy": (jnp.ones((TOKENS, HEADS)), r"axes \[layers, batch, rows, heads\], got shape \(5, 4\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_share_or_does_not_fit_is_refused(name):
    entropy, threshold, valid = drawn()
    given = {"entropy": entropy, "threshold": threshold, "ceiling": jnp.ones((1, 1, 1, 1)), "valid": valid}
    wrong, said = WRONG[name]
    with pytest.raises(ValueError, match=said):
        entropy_penalty(**(given | {name.split()[0]: wrong}))


def test_another_reduction_is_refused():
    entropy, threshold, _ = drawn()
    with pytest.raises(ValueError, match="A reduction must be one of sum_queries, head_mean, got 'max'"):
        entropy_penalty(jnp.asarray(entropy), jnp.asarray(threshold), jnp.ones((1, 1, 1, 1)), reduction="max")
