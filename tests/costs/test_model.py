"""The published columns of counts and FLOPs, for every preset and all four settings of the tables."""

import dataclasses
import functools

import pytest

from jattn.costs import model, paper
from jattn.mechanisms.linear import LinearAttention
from jattn.models.bag import BagConfig
from jattn.models.decoder import DecoderConfig
from jattn.models.encoder_decoder import EncoderDecoderConfig
from jattn.models.vision_transformer import VisionTransformerConfig
from jattn.parts.pools.mean import Mean
from jattn.parts.scores.temperature import Temperature
from jattn.training.presets import preset

# arXiv:2501.03489, tables of GPT-2: layers and tokens, then FFN and Attn in FLOPs as printed, by how many deepest
# feed-forward layers are pruned; one entry was a misprint, 7.3B for what all others' formula gives as 7.2B
FULL, FUSED = "full", "fused"
TABLES = {
    (12, 128): {FULL: "14.5B", FUSED: {0: "1.8B", 6: "0.9B"}, "attention": "7.7B"},
    (12, 256): {FULL: "29.0B", FUSED: {0: "3.6B", 6: "1.8B"}, "attention": "16.3B"},
    (18, 128): {FULL: "21.7B", FUSED: {0: "2.7B", 4: "2.1B"}, "attention": "11.6B"},
    (12, 512): {FULL: "58.0B", FUSED: {0: "7.2B", 1: "6.6B"}, "attention": "36.2B"},
}
# what each keeps: norms a layer, and the activation
PRESETS = {
    "SM+LN+G": (2, "gelu"), "SM+LN+R": (2, "relu"), "SM+LN": (2, None), "SM+G": (0, "gelu"), "SM+R": (0, "relu"),
    "SM": (0, None), "SM+ScFFN": (0, None), "SM+ScFuFFN": (0, None), "SM(t)+ScFuFFN": (0, None),
    "EReg(SM(t)+ScFuFFN)": (0, None),
}  # fmt: skip
# two names share one model
blocks = functools.cache(model.blocks)
ACTIVATIONS = ("gelu", "silu", "relu", "tanh", "erf", "logistic")


def rows():
    """Each row of the tables, and the rows of presets that these leave out."""
    for (depth, tokens), printed in TABLES.items():
        for name in PRESETS:
            fused = "Fu" in name
            for pruned, flops in (printed[FUSED] if fused else {0: printed[FULL]}).items():
                yield pytest.param(
                    name, depth, tokens, pruned, flops, printed["attention"], id=f"{name}_i{pruned} L{depth} T{tokens}"
                )


def config_of(name, depth, tokens, pruned):
    """The preset at the paper's width and heads."""
    held = preset(name).model
    attention = held.attention
    if attention.score:
        attention = dataclasses.replace(attention, score=(Temperature(length=tokens),))
    return dataclasses.replace(held, width=768, heads=12, depth=depth, pruned=pruned, attention=attention)


@pytest.mark.parametrize("name, depth, tokens, pruned, feed_forward, attention", list(rows()))
def test_counts_and_flops_are_the_published_ones(name, depth, tokens, pruned, feed_forward, attention):
    config = config_of(name, depth, tokens, pruned)
    made = blocks(config, tokens)
    norms, activation = PRESETS[name]
    assert made.shapes("softmax") == {(tokens, tokens): 12 * depth}
    assert made.shapes("layer_norm") == ({(tokens, 768): norms * depth} if norms else {})
    for kind in ACTIVATIONS:
        assert made.shapes(kind) == ({(tokens, 4 * 768): depth} if kind == activation else {}), kind
    # nothing else that is not linear, but for the scales of residuals
    assert set(made.kinds()) <= {"softmax", "layer_norm", activation, "multiplication", "product"}
    assert not made.open_loops
    told = paper.feed_forward_flops(config, tokens), paper.attention_flops(config, tokens)
    assert tuple(map(paper.billions, told)) == (feed_forward, attention)
    # true products: all pairs of weights times values, where the paper's formula takes half
    assert made.flops == sum(told) + depth * tokens**2 * 768


def test_a_decoder_has_a_norm_and_a_head_around_its_blocks():
    config = DecoderConfig(width=16, depth=2, heads=2, vocabulary=32, norm="layer")
    made = model.model(config, 8)
    assert made.around.shapes("layer_norm") == {(8, 16): 1}
    assert made.around.shapes("product") == {(8, 16, 32): 1}
    assert made.around.shapes("secret index") == {(8, 16): 1}
    assert made.whole.shapes("layer_norm") == {(8, 16): 5}
    assert made.whole.flops == made.blocks.flops + 2 * 8 * 16 * 32


def test_a_vision_transformer_has_patches_and_classes_around_its_blocks():
    made = model.model(VisionTransformerConfig(width=16, depth=2, heads=2, norm="layer", activation="relu"), 99)
    # 4 x 4 patches of 2 x 2 pixels, and the class token
    assert made.blocks.shapes("softmax") == {(17, 17): 4} and made.blocks.shapes("relu") == {(17, 64): 2}
    assert made.around.shapes("product") == {(16, 4, 16): 1, (1, 16, 10): 1}
    assert made.blocks.shapes("layer_norm") == {(17, 16): 4} and made.around.shapes("layer_norm") == {(17, 16): 1}


def test_an_encoder_decoder_has_two_stacks_and_looks_across():
    config = EncoderDecoderConfig(width=16, depth=3, heads=2, vocabulary=32, norm="layer", activation="relu")
    made = model.model(config, 8)
    # a feed-forward layer in each block, attention to oneself on both sides and across
    assert made.blocks.shapes("softmax") == {(8, 8): 3 * 2 * 3} and made.blocks.shapes("relu") == {(8, 64): 6}
    # the norms after the source's and after the target's blocks
    assert made.blocks.shapes("layer_norm") == {(8, 16): 3 * 5} and made.around.shapes("layer_norm") == {(8, 16): 2}
    assert made.around.shapes("secret index") == {(8, 16): 2} and made.around.shapes("product") == {(8, 16, 32): 1}


def test_a_bag_without_blocks_is_all_around_them():
    made = model.model(BagConfig(width=16, features=5, pool=Mean(), activation="relu"), 8)
    assert not made.blocks.calls and made.around.shapes("relu") == {(8, 16): 1}
    assert made.whole.shapes("product") == {(8, 5, 16): 1, (1, 8, 16): 1, (1, 16, 2): 1}


# what jattn.costs.private measured of one block of 128 tokens, width 768 and 12 heads: one party's bytes under SEMI2K
@pytest.mark.parametrize("name, sent", [("SM+LN+G", 281_139_968), ("SM+LN+R", 153_737_984), ("SM+G", 269_231_616)])
def test_a_bill_is_what_was_measured(name, sent):
    made = model.blocks(config_of(name, 1, 128, 0), 128).under("semi2k")
    # the measured block multiplies weights by its mask, and compares once less in each of its rows
    masks, comparisons = 4 * 12 * 128 * 128, 72 * 12 * 128
    assert made.complete and round(made.bytes) + masks - comparisons == sent


def test_attention_without_weights_is_refused():
    with pytest.raises(ValueError, match="counted for attention with weights, got LinearAttention; use Attention"):
        model.model(DecoderConfig(attention=LinearAttention()), 8)
