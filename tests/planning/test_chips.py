"""Chips' numbers against the balances that the scaling book derives from them, and names of topologies."""

import pytest

from jattn.planning.chips import CHIPS, Topology


def test_v5e_needs_240_products_a_byte_and_v5p_2550_a_byte_between_chips():
    # part 1: a product is bound by memory below 240 tokens; part 5: C / W_ici of a v5p, both directions of a link
    assert CHIPS["v5e"].flops / CHIPS["v5e"].bandwidth == pytest.approx(240, rel=0.02)
    assert CHIPS["v5p"].flops / (2 * CHIPS["v5p"].link) == pytest.approx(2550, rel=1e-3)


def test_an_axis_is_a_ring_where_the_chips_close_it():
    # part 2: 16 close on a v5e, four on a v5p
    v5e, v5p = Topology.of("v5e:16x16"), Topology.of("v5p:4x4x4")
    assert v5e.count == 256 and v5e.path(16) == ((16,), True) and v5e.path(256) == ((16, 16), True)
    assert v5e.path(4) == ((4,), False) and Topology.of("v5e:2x4").path(8) == ((2, 4), False)
    assert v5p.path(4) == ((4,), True) and v5p.path(16) == ((4, 4), True) and v5p.path(64) == ((4, 4, 4), True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("v5f:2x4", "got 'v5f:2x4'; the nearest are v5p, v5e"),
        ("v5e", "The shape of v5e is one such as v5e:16x16, got 'v5e'"),
        ("v5e:2x2x2", "give every axis"),
        ("v5p:0x4x4", "one such as v5p:4x4x4"),
        ("h100:8x2", "one such as h100:8"),
        ("h100:16", "At most 8 chips of h100 are joined by its own links, got 'h100:16'"),
    ],
)
def test_what_names_no_topology_is_refused(name, words):
    with pytest.raises(ValueError, match=words):
        Topology.of(name)
