"""The band reads its ceiling from the rows, learns its shares, and refuses what is none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms.entropy_penalty import entropy_penalty
from jattn.part import Dims, Stats
from jattn.training.penalties.entropy_band import EntropyBand

SHAPE = (2, 3, 6, 4)


def stats(rows=6):
    entropy = jnp.asarray(np.random.default_rng(0).uniform(0, 1.7, SHAPE), jnp.float32)
    visible = jnp.where(jnp.arange(6) < rows, jnp.arange(1, 7), 0)[None, None, :, None]
    nothing = jnp.zeros(SHAPE)
    return Stats(entropy, nothing, nothing, jnp.broadcast_to(visible, SHAPE), {})


def own(share=0.5):
    return {"threshold": jnp.full((2, 4), share)}


def test_a_share_for_every_layer_and_head():
    params = EntropyBand(start=0.3).init(jax.random.key(0), Dims(4, 4, 4, 8, 8, depth=2)).params
    np.testing.assert_allclose(params["threshold"], np.full((2, 4), 0.3, np.float32))


@pytest.mark.parametrize("ceiling", ["global", "causal"])
def test_the_ceiling_is_that_of_the_context_or_of_the_row(ceiling):
    part, given = EntropyBand(weight=2.0, ceiling=ceiling), stats(rows=5)
    tops = jnp.log(jnp.full(6, 6.0) if ceiling == "global" else jnp.arange(1.0, 7))[None, None, :, None]
    want = 2 * entropy_penalty(given.entropy, own()["threshold"], tops, valid=given.visible > 0)
    np.testing.assert_allclose(part(own(), given), want, rtol=1e-6)


def test_shares_stay_shares():
    np.testing.assert_array_equal(EntropyBand()(own(1.4), stats()), EntropyBand()(own(1.0), stats()))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weight": -1e-5}, "EntropyBand.weight must lie between 0"),
        ({"start": 1.2}, "EntropyBand.start must lie between 0 and 1"),
        ({"tolerance": -0.1}, "EntropyBand.tolerance must lie between 0 and 1"),
        ({"reduction": "mean"}, "EntropyBand.reduction must be 'sum_queries' or 'head_mean'"),
        ({"ceiling": "local"}, "EntropyBand.ceiling must be 'global' or 'causal'"),
    ],
    ids=str,
)
def test_wrong_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        EntropyBand(**options)


def test_attention_without_weights_is_refused():
    with pytest.raises(ValueError, match="needs attention that has weights"):
        EntropyBand()(own(), stats()._replace(entropy=None))
