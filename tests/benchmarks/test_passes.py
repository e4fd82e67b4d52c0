"""What is timed of a text is the loss and all gradients, of as many tokens as are asked for."""

import jax
import numpy as np

from jattn.benchmarks.passes import passes, turn
from jattn.models.decoder import DecoderConfig
from jattn.training import state
from jattn.training.run import Run

MODEL = DecoderConfig(width=8, depth=1, heads=2)


def test_what_is_timed_is_loss_and_all_gradients():
    call, (variables, tokens) = passes(MODEL, 7)
    loss, found = jax.eval_shape(call, variables, tokens)
    assert loss.shape == () and tokens.shape == (1, 8)
    assert jax.tree.structure(found) == jax.tree.structure(variables.params)


def test_a_turn_is_of_fresh_weights():
    loss, gradients = turn(MODEL, 7)()
    begun = state.fresh(Run(model=MODEL, batch=1, context=7))
    # fresh weights know next to nothing of random bytes
    np.testing.assert_allclose(loss, np.log(MODEL.vocabulary), rtol=0.05)
    shapes, wanted = (jax.tree.map(np.shape, tree) for tree in (gradients, begun.params))
    assert shapes == wanted and any(np.any(leaf) for leaf in jax.tree.leaves(gradients))
