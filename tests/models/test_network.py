"""What networks share: records of all layers joined, and taken apart again for their blocks."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.flow import Places, Record
from jattn.models import network
from jattn.models.decoder import DecoderConfig
from jattn.models.network import joined
from jattn.part import Rng


def test_records_are_joined_by_layer_and_terms_summed():
    record = Record({"x": jnp.arange(6.0).reshape(2, 3)}, {"router": jnp.array([1.0, 2.0])})
    last = Record({"x": jnp.array([6.0, 7, 8])}, {"router": jnp.float32(4)})
    found = joined(Places(repeat=(record,), last=(last,)))
    np.testing.assert_array_equal(found.stats["x"], np.arange(9).reshape(3, 3))
    assert found.terms["router"] == 7


def test_a_statistic_that_one_block_lacks_is_absent():
    whole, less = ({"x": jnp.ones((1, 2)), "y": y} for y in (jnp.ones((1, 2)), None))
    found = joined(Places(repeat=(Record(whole, {}), Record(less, {}))))
    assert found.stats["x"].shape == (2, 2) and found.stats["y"] is None


def test_blocks_that_observe_different_things_are_refused():
    one, other = (Record({"x": jnp.ones((1, 2)), "observed": {name: jnp.ones((1, 3))}}, {}) for name in ("a", "b"))
    with pytest.raises(ValueError, match=r"must observe the same, got \['observed'\]\['a'\], .*'b'\] of some alone"):
        joined(Places(repeat=(one, other)))
    assert joined(Places(repeat=(one, one))).stats["observed"]["a"].shape == (2, 3)


def test_what_was_joined_is_taken_apart():
    stack = network.stack(
        DecoderConfig(width=4, depth=3, heads=1, pruned=1), DecoderConfig().attention, rngs=nnx.Rngs(0)
    )
    places, end = network._apart(stack, {"seen": jnp.arange(5)}, 2)
    np.testing.assert_array_equal(places.repeat[0]["seen"], [2, 3])
    assert places.last[0]["seen"] == 4 and end == 5


def test_each_example_has_a_key():
    rng = network.for_batch(nnx.Rngs(0).params(), 3)
    assert isinstance(rng, Rng) and len(rng.example) == 3 and network.for_batch(rng, 3) is rng
    assert network.for_batch(None, 3) is None
