"""Tokens dealt anew lie where they should, come back in order, and leave each device of a ring as much work."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import Pairs, Rule, visits, zigzag
from jattn.part import Place, Side
from jattn.parts.masks import Full
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.function import Function
from jattn.parts.masks.window import Window

PLACE = Place(np.arange(2), 2, 2)


def on_devices(run, array):
    """A function of what each device holds, over a leading axis of devices."""
    return jax.vmap(functools.partial(run, axis="a"), axis_name="a")(array)


@pytest.mark.parametrize("devices", [1, 2, 3, 4, 8])
def test_each_device_gets_its_two_chunks_and_gives_them_back(devices):
    tokens = np.arange(devices * 6).reshape(devices, 6)
    chunks = tokens.reshape(-1, 3)
    want = [np.concatenate([chunks[n], chunks[2 * devices - 1 - n]]) for n in range(devices)]
    found = on_devices(zigzag.deal, tokens)
    np.testing.assert_array_equal(found, want)
    np.testing.assert_array_equal(on_devices(zigzag.collect, found), tokens)
    pairs = tokens.reshape(1, 1, -1) + np.zeros((2, 3, 1), int)
    np.testing.assert_array_equal(zigzag.columns(jnp.asarray(pairs), devices)[1, 2], np.concatenate(want))


@pytest.mark.parametrize(("devices", "in_order", "dealt"), [(2, 7, 5), (4, 15, 9), (8, 31, 17)])
def test_a_causal_ring_takes_about_half_as_long(devices, in_order, dealt):
    chunks = np.arange(2 * devices)
    live = (chunks[:, None] >= chunks)[None]
    assert zigzag.critical_path(live, chunks.reshape(-1, 2)) == in_order
    assert zigzag.critical_path(live, zigzag.dealt(devices)) == dealt


@pytest.mark.parametrize(
    ("mask", "tokens", "devices", "pays"),
    [
        (Causal(), (64, 64), 4, True),
        (Causal(align="last"), (64, 96), 4, True),
        (Causal() & Window(left=(8, 200)), (64, 64), 4, True),
        (Causal() & Window(left=8), (64, 64), 4, False),
        (Full(), (64, 64), 4, False),
        (Function(lambda batch, head, query, key: query >= key), (64, 64), 4, False),
        (Causal(), (64, 64), 1, False),
        (Causal(), (63, 64), 4, False),
    ],
)
def test_tokens_are_dealt_where_the_mask_says_that_it_pays(mask, tokens, devices, pays):
    assert zigzag.pays(mask, PLACE, tokens, devices) is pays


def visited(devices, share, chunks):
    """How much of a share times a share each device visits at each turn, for the chunks that each has."""
    half = share // 2
    positions = [np.concatenate([half * n + np.arange(half) for n in mine]) for mine in chunks]
    vectors = jnp.zeros((share, 2, 8))
    found = np.zeros((devices, devices))
    for device in range(devices):
        for turn in range(devices):
            sides = [
                Side(vectors, jnp.asarray(mine), mine, None, None, devices * share, {})
                for mine in (positions[device], positions[device - turn])
            ]
            pieces = 1 if chunks[0][1] == 1 else 2
            (plan,), (listed,), _ = visits.plans(Rule(1.0, mask=Causal()), *sides, vectors, PLACE, Pairs(), pieces)
            _, ends = listed[0]
            found[device, turn] = ends[0, :, -1].sum() * plan.rows * plan.columns / share**2
    return found


def test_no_device_visits_more_than_another_and_none_a_dead_share_of_one_tile():
    in_order = visited(4, 1024, np.arange(8).reshape(4, 2))
    np.testing.assert_array_equal(in_order, np.tril(np.ones((4, 4))))
    # of its own tokens three quarters, of others' a half
    np.testing.assert_array_equal(visited(4, 1024, zigzag.dealt(4)), [[0.75, 0.5, 0.5, 0.5]] * 4)
