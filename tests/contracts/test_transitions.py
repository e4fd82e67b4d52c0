"""What every transition must hold: nothing grows, each token by itself, complex where there is a phase, in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.part import Dims
from jattn.parts.transitions import Transition
from tests.support import parts_of

every_transition = pytest.mark.parametrize("transition", parts_of(Transition), ids=lambda cls: cls.__name__)
TOKENS, CHANNELS = 7, 5
DIMS = Dims(1, 1, 1, CHANNELS, CHANNELS, model_width=CHANNELS)
X = np.random.default_rng(0).normal(size=(TOKENS, CHANNELS)).astype(np.float32)


def learned(transition):
    made = transition()
    return made, made.own(made.init(jax.random.key(0), DIMS))


@every_transition
def test_factors_are_below_one_and_shapes_those_that_the_engine_reads(transition):
    made, own = learned(transition)
    for x in (jnp.asarray(X), jnp.asarray(X, jnp.bfloat16)):
        found = made.diagonal(own, x)
        lead, channels, states = found.log_decay.shape
        assert lead in (1, TOKENS) and channels == CHANNELS
        assert found.log_decay.dtype == jnp.float32 and (found.log_decay < 0).all()
        turned = jnp.float32 if found.phase is None else jnp.complex64
        assert found.phase is None or found.phase.shape == (lead, channels, states)
        for weights in (found.drive, found.read):
            assert weights.shape[1:] == (channels, states) and weights.dtype == turned
        assert found.skip is None or found.skip.shape[1:] == (channels,)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


@every_transition
def test_fresh_arrays_are_of_a_dtype_that_training_keeps(transition):
    # a weak one would become a strong one by the first step, which would be compiled again
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(learned(transition)[1]))


@every_transition
def test_each_token_is_read_by_itself(transition):
    made, own = learned(transition)
    whole, alone = made.diagonal(own, jnp.asarray(X)), made.diagonal(own, jnp.asarray(X[3:4]))
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(one[3 if len(one) > 1 else 0], other[0], rtol=1e-6)


@every_transition
def test_arrays_far_from_their_start_leave_all_finite(transition):
    made, own = learned(transition)

    @jax.jit
    def found(own):
        def summed(own):
            return sum(jnp.abs(leaf).sum() for leaf in jax.tree.leaves(made.diagonal(own, jnp.asarray(X))))

        return jax.value_and_grad(summed)(own)

    for size in (-30.0, 30.0):
        moved = {name: leaf + size for name, leaf in own.items()}
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found(moved)))
        assert (made.diagonal(moved, jnp.asarray(X)).log_decay <= 0).all()
