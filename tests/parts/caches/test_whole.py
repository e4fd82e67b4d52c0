"""The whole cache: what is put in lies in order, and rows without a token are not valid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.part import Dims, Side
from jattn.parts.caches.whole import Whole

CACHE, DIMS = Whole(), Dims(2, 1, 1, 4, 3, length=7)


def side(first, count, valid=None):
    here = jnp.arange(first, first + count)
    vector = jnp.arange(first, first + count, dtype=jnp.float32)[:, None, None] * jnp.ones((1, 1, 4))
    extra = {"score": {"0": {"gate": vector[:, :, 0]}}, "time": vector}
    return Side(vector, here, here, None, valid, first + count, extra)


def filled():
    extra = jax.eval_shape(lambda: {"score": {"0": {"gate": jnp.zeros((1, 1))}}})
    held = CACHE.start(DIMS, jnp.float32, extra)
    for first, count in ((0, 3), (3, 1)):
        new = side(first, count, jnp.array([True, False, True])[:count] if first == 0 else None)
        held = CACHE.append(held, new, new.vector[..., :3])
    return held


def test_tokens_lie_in_order_and_are_counted():
    held = filled()
    assert held.length == 4
    np.testing.assert_array_equal(held.key[:, 0, 0], [0, 1, 2, 3, 0, 0, 0])
    np.testing.assert_array_equal(held.value[:, 0, 2], [0, 1, 2, 3, 0, 0, 0])
    np.testing.assert_array_equal(held.extra["score"]["0"]["gate"][:, 0], [0, 1, 2, 3, 0, 0, 0])
    np.testing.assert_array_equal(held.valid, [True, False, True, True, False, False, False])


def test_view_shows_all_rows_with_their_index():
    shown = CACHE.view(filled(), side(3, 1))
    np.testing.assert_array_equal(shown.index, np.arange(7))
    np.testing.assert_array_equal(shown.position, [0, 1, 2, 3, 0, 0, 0])
    assert shown.length == 4 and set(shown.extra) == {"score"}


@pytest.mark.parametrize("length", [None, 0, -2])
def test_room_must_be_at_least_one_token(length):
    with pytest.raises(ValueError, match=f"at least 1 token, got length {length}"):
        CACHE.start(Dims(2, 1, 1, 4, 3, length=length), jnp.float32, {})


def test_tokens_without_a_row_are_refused():
    held = filled()
    CACHE.check(held, 3)
    with pytest.raises(ValueError, match="cache of 7 tokens .* got 4 new ones behind 4"):
        CACHE.check(held, 4)
    with pytest.raises(ValueError, match="got 8 new ones"):
        jax.jit(lambda held: CACHE.check(held, 8))(held)
