"""What every score must hold: tiled is dense, no row hears the future, decoding and padding change nothing."""

import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import dense
from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.parts.masks.causal import Causal
from jattn.parts.scores import Score
from tests.support import (
    assert_batches,
    assert_bfloat16,
    assert_causal,
    assert_decodes,
    assert_float32_close,
    assert_linear_memory,
    assert_padding_changes_nothing,
    assert_tiled_equals_dense,
    attended,
    float64,  # noqa: F401
    make,
    one_of_each,
    padded_layout,
    parts_of,
    small_tiles,
)

every_score = pytest.mark.parametrize("score", parts_of(Score), ids=lambda cls: cls.__name__)
# what the engine does alike for all of a kind
each_kind = pytest.mark.parametrize(
    "score",
    one_of_each(parts_of(Score), {"Forgetting", "T5Bias", "Neural", "ScalableSoftmax"}),
    ids=lambda cls: cls.__name__,
)


@pytest.fixture
def tiles_that_divide_nothing(monkeypatch, float64):  # noqa: F811
    small_tiles(monkeypatch)


@every_score
def test_tiled_equals_dense_with_padding_and_an_empty_row(score, tiles_that_divide_nothing):
    assert_tiled_equals_dense(Attention(score=score(), mask=Causal()), padded_layout())


@each_kind
def test_tiled_equals_dense_where_keys_outnumber_queries(score, tiles_that_divide_nothing):
    if score().mixes:
        pytest.skip("a score that mixes positions has its queries among its keys")
    assert_tiled_equals_dense(Attention(score=score()), tokens=29, keys=53, heads=(4, 1, 2))


@every_score
def test_float32_is_as_exact_as_dense_and_finite_at_ten_thousand(score, tiles_that_divide_nothing):
    assert_float32_close(Attention(score=score(), mask=Causal()), padded_layout())


@each_kind
def test_bfloat16_stays_bfloat16(score, tiles_that_divide_nothing):
    assert_bfloat16(Attention(score=score(), mask=Causal()))


@every_score
def test_no_row_hears_the_future(score, tiles_that_divide_nothing):
    assert_causal(Attention(score=score(), mask=Causal()))


@each_kind
def test_decoding_in_pieces_equals_one_pass(score, tiles_that_divide_nothing):
    assert_decodes(Attention(score=score(), mask=Causal()))


@each_kind
def test_padding_changes_nothing(score, tiles_that_divide_nothing):
    assert_padding_changes_nothing(Attention(score=score(), mask=Causal()))


@each_kind
def test_batches_by_vmap_and_by_loop_are_single_examples(score, tiles_that_divide_nothing, monkeypatch):
    assert_batches(Attention(score=score(), mask=Causal()), monkeypatch)


@pytest.mark.parametrize("score", [cls for cls in parts_of(Score) if not cls.positional], ids=lambda cls: cls.__name__)
def test_one_that_reads_no_position_says_so_truly(score, tiles_that_divide_nothing):
    made, buffers = make(Attention(score=score()), tokens=9, keys=9)
    elsewhere = Layout(positions=jnp.asarray([7, 0, 3, 30, 2, 2, 11, 1, 90]))
    here, there = (attended(dense, Attention(score=score()), made, buffers, layout) for layout in (Layout(), elsewhere))
    np.testing.assert_array_equal(here.out, there.out)


@every_score
def test_memory_is_linear_both_ways(score):
    assert_linear_memory(Attention(score=score(), mask=Causal()))
