"""What engines share: groups of heads, per-token values by head, and the order in which logits are made."""

import jax.numpy as jnp
import numpy as np
import pytest

from jattn import engines
from jattn.engines import Rule
from jattn.part import Place, Side
from jattn.parts.masks.causal import Causal
from jattn.parts.scores import Score


@pytest.mark.parametrize(("heads", "least"), [((8, 8, 8), 1), ((8, 2, 8), 4), ((6, 3, 2), 6), ((4, 1, 1), 4)])
def test_the_least_group_uses_whole_key_and_value_heads(heads, least):
    assert engines.share(*heads) == least


@pytest.mark.parametrize("heads", [(4, 3, 1), (4, 1, 3), (4, 0, 1)])
def test_heads_that_do_not_divide_are_refused(heads):
    with pytest.raises(ValueError, match="make the first a multiple of the second"):
        engines.share(*heads)


@pytest.mark.parametrize("held", [1, 2, 4])
def test_values_held_by_groups_are_spread_over_their_heads(held):
    leaf = jnp.arange(3 * held).reshape(3, held)
    whole = np.repeat(np.asarray(leaf).T, 4 // held, axis=0)
    np.testing.assert_array_equal(np.broadcast_to(engines.spread(leaf, 0, 4, 4), (4, 3)), whole)
    np.testing.assert_array_equal(np.broadcast_to(engines.spread(leaf, 2, 2, 4), (2, 3)), whole[2:])


class Doubled(Score):
    """Doubles what came before it."""

    def pairs(self, own, logits, tile):
        return 2 * logits


class Raised(Score):
    """Adds one."""

    def pairs(self, own, logits, tile):
        return logits + 1


def tile_of_ones():
    here = np.arange(3)
    side = Side(jnp.ones((3, 2, 4)), here, here, None, None, 3, {})
    return engines.whole_tile(side, side, Place(np.arange(2), 2, 2))


@pytest.mark.parametrize(("scores", "value"), [((Doubled(), Raised()), 5.5), ((Raised(), Doubled()), 6.5)])
def test_logits_are_scale_then_scores_in_order_then_bias(scores, value):
    found = engines.logits(Rule(0.5, scores), {"score": {"0": {}, "1": {}}}, tile_of_ones(), jnp.full((1, 1, 1), 0.5))
    np.testing.assert_array_equal(found, np.full((2, 3, 3), value))


def test_seen_joins_mask_segments_and_validity():
    tile = tile_of_ones()
    valid = jnp.array([True, True, False])
    tile = tile._replace(
        query=tile.query._replace(segment=jnp.array([0, 0, 1])),
        key=tile.key._replace(segment=jnp.array([0, 1, 1]), valid=valid),
    )
    found = engines.seen(Rule(1.0, mask=Causal()), {"mask": {}}, tile, None)
    np.testing.assert_array_equal(found[0], [[True, False, False], [True, False, False], [False, True, False]])
