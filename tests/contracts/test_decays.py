"""What every decay must hold: logs of factors of at most 1, a number for each head, token or feature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.part import Dims, Place, Side
from jattn.parts.decays import Decay, Undecayed
from tests.support import parts_of

every_decay = pytest.mark.parametrize("decay", parts_of(Decay), ids=lambda cls: cls.__name__)
TOKENS, HEADS, WIDTH, MODEL_WIDTH = 7, 3, 8, 6


def logs(decay, heads):
    """The logs for some heads out of all, of random tokens."""
    made, rng = decay(), np.random.default_rng(0)
    own = made.own(made.init(jax.random.key(0), Dims(HEADS, HEADS, HEADS, WIDTH, WIDTH, MODEL_WIDTH, depth=2)))
    extra = made.project(own, jnp.asarray(rng.normal(size=(TOKENS, MODEL_WIDTH)), jnp.float32))
    here = np.arange(TOKENS)
    side = Side(jnp.zeros((TOKENS, HEADS, WIDTH)), here, here, None, None, TOKENS, extra)
    return made.log(own, side, Place(np.arange(HEADS)[heads], HEADS, HEADS))


@every_decay
def test_factors_are_at_most_one_and_a_shape_that_the_engine_reads(decay):
    found = logs(decay, slice(None))
    if decay is Undecayed:
        assert found is None
        return
    found = np.asarray(found)
    assert np.isfinite(found).all() and (found <= 0).all()
    assert found.shape[:2] in ((HEADS,), (TOKENS, HEADS)) and found.ndim <= 3
