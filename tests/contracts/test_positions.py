"""What every position must hold: shape and dtype stay, and the whole of attention keeps its promises under it."""

import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms.attention import Attention
from jattn.part import Place, Side
from jattn.parts.masks.causal import Causal
from jattn.parts.positions import Position
from tests.support import (
    assert_causal,
    assert_decodes,
    assert_linear_memory,
    assert_padding_changes_nothing,
    assert_tiled_equals_dense,
    float64,  # noqa: F401
    padded_layout,
    parts_of,
    small_tiles,
)

every_position = pytest.mark.parametrize("position", parts_of(Position), ids=lambda cls: cls.__name__)


@pytest.fixture
def tiles_that_divide_nothing(monkeypatch, float64):  # noqa: F811
    small_tiles(monkeypatch)


@every_position
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_shape_and_dtype_stay(position, dtype):
    here = np.arange(7)
    vector = jnp.ones((7, 2, 8), dtype)
    made = position()
    turned = made.turn(made.own(None), vector, Side(vector, here, here, None, None, 7, {}), Place(np.arange(2), 2, 2))
    assert turned.shape == vector.shape and turned.dtype == vector.dtype


@every_position
def test_tiled_equals_dense_with_padding_and_an_empty_row(position, tiles_that_divide_nothing):
    assert_tiled_equals_dense(Attention(position=position(), mask=Causal()), padded_layout())


@every_position
def test_no_row_hears_the_future(position, tiles_that_divide_nothing):
    assert_causal(Attention(position=position(), mask=Causal()))


@every_position
def test_decoding_in_pieces_equals_one_pass(position, tiles_that_divide_nothing):
    assert_decodes(Attention(position=position(), mask=Causal()))


@every_position
def test_padding_changes_nothing(position, tiles_that_divide_nothing):
    assert_padding_changes_nothing(Attention(position=position(), mask=Causal()))


@every_position
def test_memory_is_linear_both_ways(position):
    assert_linear_memory(Attention(position=position(), mask=Causal()))
