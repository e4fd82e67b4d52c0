"""The formulas on sizes small enough for a head."""

import pytest

from jattn.costs import paper
from jattn.models.decoder import DecoderConfig

CONFIG = {"width": 4, "heads": 2, "depth": 3}


def test_feed_forward_layers_by_hand():
    # up 4 x 16 and down 16 x 4: 64 products each, two operations a product, 5 tokens, 3 layers
    assert paper.feed_forward_flops(DecoderConfig(**CONFIG), 5) == 3 * 5 * 2 * (64 + 64)
    assert paper.feed_forward_flops(DecoderConfig(**CONFIG, pruned=1), 5) == 2 * 5 * 2 * (64 + 64)
    fused = DecoderConfig(**CONFIG, feedforward="fused", activation="identity")
    assert paper.feed_forward_flops(fused, 5) == 3 * 5 * 2 * 16
    assert paper.feed_forward_flops(DecoderConfig(**CONFIG, expansion=2), 5) == 3 * 5 * 2 * (32 + 32)


def test_attention_by_hand():
    # four maps 4 x 4 for 5 tokens, all 25 pairs of logits, half of the 25 pairs of values; 4 products each
    assert paper.attention_flops(DecoderConfig(**CONFIG), 5) == 3 * (2 * 4 * 16 * 5 + 2 * 25 * 4 + 25 * 4)


@pytest.mark.parametrize("flops, told", [(14_495_514_624, "14.5B"), (905_969_664, "0.9B"), (0, "0.0B")])
def test_numbers_are_told_as_the_tables_print_them(flops, told):
    assert paper.billions(flops) == told
