"""Tests that the state is plain arrays in nested dicts, decided by the seed."""

import chex
import jax
import jax.numpy as jnp
import pytest

from jattn.models.decoder import DecoderConfig
from jattn.training import state
from jattn.training.optimizers.adamw import AdamW
from jattn.training.presets import preset
from jattn.training.run import Run

TINY = Run(model=DecoderConfig(width=8, depth=1), optimizer=AdamW())


def test_the_seed_decides_the_arrays():
    chex.assert_trees_all_equal(state.fresh(TINY), state.fresh(TINY))


def test_no_fresh_array_would_change_its_type_in_a_step():
    # jax.jit would compile the second step anew
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(state.outline(preset("EReg(SM(t)+ScFuFFN)"))))


def test_streams_of_keys_differ():
    fresh, steps = (jax.random.key_data(state.key(TINY, stream)) for stream in (state.FRESH, state.STEPS))
    assert (fresh != steps).any()


def test_params_are_nested_dicts_of_arrays():
    params = state.fresh(TINY).params
    assert {"embedding", "stack", "head"} <= set(params)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize("wrong", [jnp.nan, jnp.inf])
def test_one_number_that_is_none_is_found(wrong):
    params = {"a": jnp.ones((2, 3)), "b": {"c": jnp.zeros(4)}}
    assert state.finite(params)
    assert not state.finite({**params, "b": {"c": params["b"]["c"].at[2].set(wrong)}})
