"""What every mask must hold: `reach` by brute force, decoding, and tiles skipped without a trace."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms.attention import Attention
from jattn.part import Place, Side, Span, Tile
from jattn.parts.masks import Full, Mask
from jattn.parts.masks.apart import Apart
from jattn.parts.masks.block_diagonal import BlockDiagonal
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.dilated import Dilated
from jattn.parts.masks.prefix import Prefix
from jattn.parts.masks.window import Window
from tests.support import (
    assert_decodes,
    assert_linear_memory,
    assert_tiled_equals_dense,
    float64,  # noqa: F401
    padded_layout,
    parts_of,
    small_tiles,
)

# every final class as it is built empty, and what is hard: by head, both alignments, combinations
MASKS = [mask() for mask in parts_of(Mask)] + [
    Causal(align="last"),
    Window(left=(0, 3, 40, 9), right=(2, 0, 0, 5)),
    Window(left=7, right=7) & Causal(),
    Causal() & (Window(left=3) | ~Window(left=30)) & ~Window(left=0),
    Causal() & (Window(left=5) | Prefix(2)),
    Dilated(step=(1, 2, 3, 7)),
    Apart(sink=2, length=5, count=3),
    Causal() & BlockDiagonal(5),
    ~(Causal() & Window(left=(1, 2, 3, 4))),
]
every_mask = pytest.mark.parametrize("mask", MASKS, ids=repr)
# where each is long to compile, every second one shows it
some_masks = pytest.mark.parametrize(
    "mask",
    [pytest.param(mask, marks=pytest.mark.slow) if n % 2 else mask for n, mask in enumerate(MASKS)],
    ids=repr,
)


@pytest.fixture
def tiles_that_divide_nothing(monkeypatch, float64):  # noqa: F811
    small_tiles(monkeypatch)


def pairs(mask, query, key, lengths, head):
    def side(position, length):
        return Side(None, position, position, None, None, length, {})

    own = Attention(mask=mask).own(None)["mask"]
    tile = Tile(side(query, lengths[0]), side(key, lengths[1]), Place(head, 4, 4))
    shape = (len(head), len(query), len(key))
    return np.broadcast_to(np.asarray(mask.pairs(own, tile)), shape)


@every_mask
def test_reach_never_lies(mask):
    lengths, head = (23, 31), np.arange(4)
    every = pairs(mask, np.arange(23), np.arange(31), lengths, head)
    rows, columns = [(a, min(a + 5, 22)) for a in range(0, 23, 3)], [(a, min(a + 6, 30)) for a in range(0, 31, 4)]
    queries, keys = np.array(rows), np.array(columns)
    spans = (
        Span(queries[None, :, None, 0], queries[None, :, None, 1], 23),
        Span(keys[None, None, :, 0], keys[None, None, :, 1], 31),
    )
    some, whole = (
        np.broadcast_to(x, (4, len(rows), len(columns))) for x in mask.reach(*spans, Place(head[:, None, None], 4, 4))
    )
    for (i, (a, b)), (j, (c, d)), h in itertools.product(enumerate(rows), enumerate(columns), range(4)):
        block = every[h, a : b + 1, c : d + 1]
        assert some[h, i, j] or not block.any(), (h, (a, b), (c, d))
        assert not whole[h, i, j] or block.all(), (h, (a, b), (c, d))


@every_mask
def test_reach_of_a_single_pair_is_the_pair(mask):
    # not required of a mask in general, and true of these: so that skipping really skips
    if not isinstance(mask, Window | Causal | Full | Prefix | Dilated | Apart):
        pytest.skip("combinations may err on the safe side")
    every = pairs(mask, np.arange(23), np.arange(31), (23, 31), np.arange(4))
    query, key = (
        Span(np.arange(23)[None, :, None], np.arange(23)[None, :, None], 23),
        Span(np.arange(31)[None, None], np.arange(31)[None, None], 31),
    )
    for found in mask.reach(query, key, Place(np.arange(4)[:, None, None], 4, 4)):
        np.testing.assert_array_equal(np.broadcast_to(found, every.shape), every)


@every_mask
def test_reach_takes_traced_numbers(mask):
    def reach(first, head):
        some, whole = mask.reach(Span(first, first + 3, 23), Span(first - 2, first, 23), Place(head, 4, 4))
        return jnp.asarray(some), jnp.asarray(whole)

    known = mask.reach(
        Span(np.int32(9), np.int32(12), 23), Span(np.int32(7), np.int32(9), 23), Place(np.arange(4), 4, 4)
    )
    traced = jax.jit(reach)(jnp.int32(9), jnp.arange(4))
    for a, b in zip(known, traced, strict=True):
        np.testing.assert_array_equal(a, b)


@some_masks
def test_tiled_equals_dense_with_padding_and_an_empty_row(mask, tiles_that_divide_nothing):
    assert_tiled_equals_dense(Attention(mask=mask), padded_layout())


@some_masks
def test_tiled_equals_dense_at_unequal_lengths(mask, tiles_that_divide_nothing):
    assert_tiled_equals_dense(Attention(mask=mask), tokens=37, keys=53)


@pytest.mark.parametrize(
    "mask",
    [
        Causal(),
        Causal(align="last"),
        Window(left=9),
        Window(left=(0, 3, 40, 9)) & Causal(),
        Causal() & (Window(left=5) | Prefix(2)),
        Causal() & Dilated(3),
        Causal() & Apart(sink=2, length=5, count=3),
    ],
    ids=repr,
)
def test_decoding_in_pieces_equals_one_pass(mask, tiles_that_divide_nothing):
    assert_decodes(Attention(mask=mask))


@every_mask
def test_memory_is_linear_both_ways(mask):
    if mask == MASKS[-1] or any(isinstance(getattr(mask, side, 0), tuple) for side in ("left", "right", "step")):
        pytest.skip("one size a head, and the measure is of one head")
    assert_linear_memory(Attention(mask=mask))
