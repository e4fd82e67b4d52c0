"""The prefix pair by pair, as part of a prefix model, and as sinks beside a window."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import tiled
from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.parts.masks import Full
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.prefix import Prefix
from jattn.parts.masks.window import Window
from tests.engines.test_visits import planned, visited
from tests.parts.masks.test_causal import seen
from tests.support import attended, float64, make, small_tiles  # noqa: F401
from tests.support import compiled_attend as attend

SINKS = Causal() & (Window(left=8) | Prefix(4))


def test_every_query_sees_the_first_keys():
    pairs, visible = seen(Prefix(3), 5, 7)
    np.testing.assert_array_equal(pairs, np.arange(7)[None] < np.full((5, 1), 3))
    np.testing.assert_array_equal(visible, np.full(5, 3))


def test_nothing_and_everything_are_its_ends():
    assert not seen(Prefix(0), 5, 7)[0].any()
    np.testing.assert_array_equal(seen(Prefix(7), 5, 7)[0], seen(Full(), 5, 7)[0])


def test_a_prefix_model_is_causal_behind_a_prefix_that_sees_itself():
    pairs, _ = seen(Causal() | Prefix(3), 6, 6)
    want = np.tril(np.ones((6, 6), bool))
    want[:3, :3] = True
    np.testing.assert_array_equal(pairs, want)


def test_sinks_stand_beside_the_window():
    pairs, visible = seen(SINKS, 20, 20)
    for t, s in np.ndindex(20, 20):
        assert pairs[t, s] == (s <= t and (t - s <= 8 or s < 4))
    # from position 12 on: four sinks, eight tokens and its own
    np.testing.assert_array_equal(visible[12:], np.full(8, 13))


def test_tiles_between_sinks_and_window_are_skipped(monkeypatch):
    small_tiles(monkeypatch, 16, 16, elements=4 * 16 * 16)
    _, (forward, backward) = planned(SINKS, tokens=160)
    # the first tile, the one before and its own
    assert [len(visited(forward, 0, tile)) for tile in range(10)] == [1, 2, *[3] * 8]
    assert sorted(visited(forward, 0, 7)) == [0, 6, 7]
    # seen from the keys: the sinks by all, any other by two
    assert [len(visited(backward, 0, tile)) for tile in range(10)] == [10, *[2] * 8, 1]
    assert sorted(visited(backward, 0, 5)) == [5, 6]


def test_keys_between_sinks_and_window_are_not_touched(monkeypatch, float64):  # noqa: F811
    small_tiles(monkeypatch, 16, 16)
    made, buffers = make(Attention(), tokens=160, keys=160)
    hole = slice(16, 128)
    made = made._replace(key=made.key.at[hole].set(jnp.nan), value=made.value.at[hole].set(jnp.nan))
    found = attended(tiled, Attention(mask=SINKS), made, buffers)
    # the last two tiles of queries look back one tile of keys, to 128
    assert np.isfinite(found.out[144:]).all() and not np.isfinite(found.out[32:128]).any()


def test_the_first_tokens_of_each_segment_are_its_prefix():
    positions = jnp.asarray([0, 1, 2, 3, 0, 1, 2])
    layout = Layout(positions=positions, segments=jnp.asarray([0, 0, 0, 0, 1, 1, 1]))
    zero = jnp.zeros((7, 1, 2))
    found = attend(zero, zero, jnp.eye(7)[:, None], Attention(mask=Prefix(2)), layout=layout)
    want = np.zeros((7, 7), bool)
    want[:4, :2] = want[4:, 4:6] = True
    np.testing.assert_array_equal(np.asarray(found.out[:, 0] > 0), want)


def test_gradients_reach_sinks_from_the_end_and_nothing_between():
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=(30, 1, 4)), jnp.float32) for _ in range(3))
    read = lambda k, v: (attend(q, k, v, Attention(mask=SINKS)).out[-1] ** 2).sum()  # noqa: E731
    for gradient in jax.grad(read, (0, 1))(k, v):
        np.testing.assert_array_equal(
            np.asarray(gradient != 0).any((1, 2)), np.r_[[True] * 4, [False] * 17, [True] * 9]
        )


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="Prefix.tokens must be at least 0, got -1"):
        Prefix(-1)


@pytest.mark.parametrize("tokens", [1.5, True, (3, 4)], ids=str)
def test_the_size_is_a_whole_number(tokens):
    with pytest.raises(TypeError, match="Prefix.tokens must be a whole number"):
        Prefix(tokens)
