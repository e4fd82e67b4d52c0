"""What a call is read as, and what is refused before anything is computed."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms.call import Given, read
from jattn.parts.masks import Full
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.prefix import Prefix
from jattn.parts.masks.window import Window

ABSENT = Given(*(None,) * len(Given._fields))


def given(query=(2, 7, 4, 8), key=(2, 9, 2, 8), value=(2, 9, 2, 8), **others):
    return ABSENT._replace(query=jnp.zeros(query), key=jnp.zeros(key), value=jnp.zeros(value), **others)


@pytest.mark.parametrize(
    ("others", "mask"),
    [
        ({}, Full()),
        ({"is_causal": True}, Causal()),
        ({"local_window_size": 3}, Window(3, 3)),
        ({"local_window_size": [np.int64(3), 0], "is_causal": True}, Causal() & Window(3, 0)),
        ({"mask": ~Prefix(2), "is_causal": True}, Causal() & ~Prefix(2)),
    ],
    ids=str,
)
def test_masks_by_name_join_the_callers_own(others, mask):
    assert read(given(**others)).attention.mask == mask


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        ((), (1, 1, 1)),
        ((9,), (1, 1, 9)),
        ((4, 7, 9), (4, 7, 9)),
        ((1, 1, 4, 1, 9), (4, 1, 9)),
        ((3, 1, 7, 1), (2, 3, 1, 7, 1)),
        ((2, 3, 4, 7, 9), (2, 3, 4, 7, 9)),
    ],
    ids=str,
)
def test_a_bias_has_all_batch_axes_or_none(shape, kept):
    call = read(given((2, 3, 7, 4, 8), (2, 3, 9, 2, 8), (2, 3, 9, 2, 8), bias=jnp.zeros(shape)))
    assert call.arrays.bias.shape == kept


def test_a_bias_of_whole_numbers_becomes_floating():
    assert read(given(bias=jnp.zeros(9, int))).arrays.bias.dtype == jnp.float32


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        ({"mask": np.ones((7, 9), np.float32)}, TypeError, "boolean, .* got float32; numbers .* go in as bias"),
        ({"mask": Causal}, TypeError, "part of the slot Mask"),
        ({"bias": np.ones((7, 9), bool)}, TypeError, "got booleans; .* goes in as mask"),
        ({"mask": np.ones((3, 7, 9), bool)}, ValueError, r"mask of shape \(3, 7, 9\) .* = \(2, 4, 7, 9\)"),
        ({"bias": np.ones((2, 1, 4, 7, 9))}, ValueError, r"bias of shape \(2, 1, 4, 7, 9\) does not broadcast"),
        ({"key_value_seq_lengths": np.ones(3, int)}, ValueError, r"lengths of shape \(3,\) .* \[batch\] = \(2,\)"),
        ({"query_seq_lengths": np.ones(2)}, TypeError, "query_seq_lengths counts tokens, .* got float"),
        ({"query": (2, 7, 5, 8)}, ValueError, "5 query heads are no multiple of 2 key heads"),
        ({"value": (2, 9, 3, 8)}, ValueError, "4 query heads are no multiple of 3 value heads"),
        ({"query": (2, 7, 4, 6)}, ValueError, "queries have width 6 and keys 8"),
        ({"value": (2, 6, 2, 8)}, ValueError, "9 keys and 6 values"),
        ({"query": (3, 7, 4, 8)}, ValueError, "leading batch axes"),
        ({"query": (7, 4, 8)}, ValueError, "share their rank"),
        ({"local_window_size": -1}, ValueError, "of at least 0, .* got -1; to see every key leave it out"),
        ({"local_window_size": (2, -1)}, ValueError, r"got \(2, -1\)"),
        ({"local_window_size": (1, 2, 3)}, ValueError, r"a pair \(left, right\)"),
        ({"local_window_size": 1.5}, ValueError, "got 1.5"),
        ({"scale": np.ones(4)}, ValueError, r"one number for all logits, got shape \(4,\)"),
        ({"scale": float("inf")}, ValueError, "scale must be a finite number"),
        ({"implementation": "flash"}, ValueError, "one of 'tiled', 'dense', 'xla', 'cudnn', 'tokamax', got 'flash'"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_what_does_not_fit_is_refused(data, error, said):
    with pytest.raises(error, match=said):
        read(given(**data))


def test_dtypes_that_differ_are_refused():
    with pytest.raises(ValueError, match="of one dtype, got float32, bfloat16, float32; cast them first"):
        read(given()._replace(key=jnp.zeros((2, 9, 2, 8), jnp.bfloat16)))


@pytest.mark.parametrize(
    "data",
    [
        {"query": (2, 8, 100, 64), "key": (2, 8, 120, 64), "value": (2, 8, 120, 64)},
        {"query": (2, 8, 64, 4), "key": (2, 8, 64, 4), "value": (2, 8, 64, 4), "mask": np.ones((64, 64), bool)},
    ],
    ids=["heads", "mask"],
)
def test_a_swapped_layout_is_refused_with_both_readings(data):
    heads = data["query"][2]
    with pytest.raises(
        ValueError, match=rf"8 queries of {heads} heads .* 8 heads of {heads} queries and .* swap the axes"
    ):
        read(given(**data))


@pytest.mark.parametrize(("time", "heads", "warned"), [(8, 33, 1), (8, 32, 0), (1, 64, 0), (33, 8, 0)])
def test_a_layout_that_looks_swapped_and_fits_both_ways_is_served_with_one_warning(time, heads, warned):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        read(given(*((2, time, heads, 4),) * 3))
    assert len(told) == warned and all("swap the axes" in str(one.message) for one in told)
