"""Dilation pair by pair, in a window, and by head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms.attention import Attention
from jattn.part import Place, Span
from jattn.parts.masks import Full
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.dilated import Dilated
from jattn.parts.masks.window import Window
from tests.parts.masks.test_causal import seen
from tests.support import compiled_attend as attend


@pytest.mark.parametrize("step", [2, 3, 5])
def test_distances_are_multiples_of_the_step(step):
    pairs, _ = seen(Dilated(step), 7, 11)
    for query, key in np.ndindex(7, 11):
        assert pairs[query, key] == ((query - key) % step == 0)


def test_a_step_of_one_is_full_and_a_long_one_the_diagonal():
    np.testing.assert_array_equal(seen(Dilated(1), 6, 6)[0], seen(Full(), 6, 6)[0])
    np.testing.assert_array_equal(seen(Dilated(6), 6, 6)[0], np.eye(6, dtype=bool))


def test_a_dilated_window_reaches_a_step_times_as_far():
    # Longformer, section 3.1: as many keys as a window of 2 on each side, with gaps
    pairs, visible = seen(Window(left=6, right=6) & Dilated(3), 20, 20)
    assert visible[10] == 5 and np.flatnonzero(pairs[10]).tolist() == [4, 7, 10, 13, 16]


def test_residues_are_attentions_of_their_own():
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=(12, 2, 4)), jnp.float32) for _ in range(3))

    def loss(q, k, v, mask):
        found = attend(q, k, v, Attention(mask=mask))
        return (found.out**2).sum() + found.stats.entropy.sum()

    found = jax.value_and_grad(loss, (0, 1, 2))(q, k, v, Causal() & Dilated(3))
    parts = [jax.value_and_grad(loss, (0, 1, 2))(q[n::3], k[n::3], v[n::3], Causal()) for n in range(3)]
    np.testing.assert_allclose(found[0], sum(value for value, _ in parts), rtol=1e-5)
    for whole, *each in zip(found[1], *(grads for _, grads in parts), strict=True):
        for n in range(3):
            # the same few terms, among others that are 0
            np.testing.assert_allclose(whole[n::3], each[n], rtol=1e-4, atol=1e-6)


def test_each_head_has_its_own():
    value = jnp.broadcast_to(jnp.eye(8)[:, None, :], (8, 3, 8))
    zero = jnp.zeros((8, 3, 2))
    found = attend(zero, zero, value, Attention(mask=Dilated((1, 2, 5))))
    for head, step in enumerate((1, 2, 5)):
        np.testing.assert_array_equal(np.asarray(found.out[:, head] > 0), seen(Dilated(step), 8, 8)[0])


def test_spans_between_two_steps_are_out_of_reach():
    # distances 3 and 4, 5 to 7, 8 alone
    first, last = np.array([3, 5, 8]), np.array([4, 7, 8])
    some, every = Dilated(8).reach(Span(first, last, 20), Span(np.zeros(3, int), np.zeros(3, int), 20), Place(0, 1, 1))
    assert some.tolist() == [False, False, True] == every.tolist()


def test_a_step_for_each_head_or_one_for_all():
    zero = jnp.zeros((4, 3, 2))
    with pytest.raises(ValueError, match="one step for each of the 3 query heads, got 2"):
        attend(zero, zero, zero, Attention(mask=Dilated((1, 2))))


@pytest.mark.parametrize("step", [0, -2, (1, 0)], ids=str)
def test_steps_below_one_are_refused(step):
    with pytest.raises(ValueError, match="Dilated.step must be at least 1 token"):
        Dilated(step)


@pytest.mark.parametrize("step", [1.5, True, [1, 2], (1, 2.0)], ids=str)
def test_steps_are_whole_numbers(step):
    with pytest.raises(TypeError, match="whole number of tokens"):
        Dilated(step)
