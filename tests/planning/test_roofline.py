"""The roofline against worked examples of "How to Scale Your Model", jax-ml.github.io/scaling-book, by part."""

import dataclasses

import jax
import numpy as np
import pytest

from jattn import Attention, LinearAttention
from jattn.layers.heads.gated_norm import GatedNorm
from jattn.layers.heads.grouped import Grouped
from jattn.masks import Causal
from jattn.models.bag import BagConfig
from jattn.models.decoder import DecoderConfig
from jattn.models.encoder import EncoderConfig
from jattn.models.encoder_decoder import EncoderDecoderConfig
from jattn.models.vision_transformer import VisionTransformerConfig
from jattn.planning import roofline
from jattn.planning.chips import Chip, Topology
from jattn.planning.program import Collective
from jattn.training import state
from jattn.training.objectives.target_given_source import TargetGivenSource
from jattn.training.presets import preset
from jattn.training.run import Run
from jattn.training.sources.bags import Bags
from jattn.training.sources.digits import Digits

# part 2's table
V4P = Chip(2.75e14, 32 * 2**30, 1.2e12, 4.5e10, most=4096, axes=3, closed=4, hop=1e-6)
ONE = {"data": 1, "fsdp": 1, "tensor": 1, "context": 1}


def gather(size, devices, topology, kind="all-gather"):
    return roofline.seconds(Collective(kind, (), devices, size), topology)


def test_gathers_take_what_part_3_says():
    # pop quiz 2: bfloat16[2048, 8192] over 4 of a v5e; 560 us without a wraparound, 377 us if there were one
    size = 2 * 2048 * 8192
    assert gather(size, 4, Topology.of("v5e:8x4")) == pytest.approx(560e-6, rel=0.01)
    ring = Topology("v5e, closed", Topology.of("v5e:8x4").chip._replace(closed=4), (8, 4))
    assert gather(size, 4, ring) == pytest.approx(377e-6, rel=0.02)
    # question 2: bfloat16[1024, 4096] on a v4p cube, a quarter over one axis, all over two, and summed over one
    cube, size = Topology("v4p:4x4x4", V4P, (4, 4, 4)), 2 * 1024 * 4096
    assert gather(size / 4, 4, cube) == pytest.approx(23e-6, rel=0.02)
    assert gather(size, 16, cube) == pytest.approx(46e-6, rel=0.02)
    assert gather(size, 4, cube, "all-reduce") == pytest.approx(190e-6, rel=0.02)
    # little takes as long as its hops: 3 us for bfloat16[256, 256] in the quiz, 2 us for 256 bytes in question 3
    assert gather(2 * 256 * 256, 4, Topology.of("v5e:8x4")) == pytest.approx(3e-6)
    assert gather(2 * 128, 4, cube) == pytest.approx(2e-6)


@pytest.mark.parametrize(("shape", "devices", "tokens"), [((8, 4, 4), 8, 2550), ((4, 4, 4), 64, 850)])
def test_fsdp_stops_paying_at_the_tokens_a_chip_of_part_5(shape, devices, tokens):
    # over one axis of a v5p a chip needs 2550 tokens, over all three 850: forward gathers what it computes with once
    topology = Topology("v5p", Topology.of("v5p:4x4x4").chip, shape)
    matrix = 8192 * 4 * 8192
    products = 2 * tokens * matrix / topology.chip.flops
    assert gather(2 * matrix, devices, topology) == pytest.approx(products, rel=1e-3)


def test_tensor_stops_paying_at_the_features_a_chip_of_part_5():
    # forward, a layer of F = 30000 gathers and scatters its stream once each: over one axis of a v5p 11 devices
    topology, width, hidden, tokens = Topology.of("v5p:4x4x4"), 8192, 30_000, 4096
    devices = hidden / 2550
    products = 2 * 2 * tokens * width * hidden / devices / topology.chip.flops
    both = gather(2 * tokens * width, 4, topology) + gather(2 * tokens * width, 4, topology, "reduce-scatter")
    assert both == pytest.approx(products, rel=1e-3)


def test_products_are_six_times_parameters_times_tokens():
    # part 4: 6 times, and attention as much as its projections at twice the width, 12 B T^2 N H to 24 B T D N H
    model = DecoderConfig(width=4096, depth=2, heads=32, vocabulary=32_000, attention=Attention())
    run = Run(model=model, batch=4, context=8192)
    weights = roofline.Weights.of(run)
    attention = 6 * 4 * 8192 * 4 * 4096**2 * 2
    assert roofline.model_flops(run) == 6 * 4 * 8192 * (2 * weights.layer + weights.head) + attention
    # part 5, question 1: attention of LLaMA-2 13B, 40 layers of width 5120, has 4.2e9 weights and both tables 0.3e9
    llama = DecoderConfig(width=5120, depth=40, heads=40, vocabulary=32_000, expansion=1)
    weights = roofline.Weights.of(dataclasses.replace(run, model=llama))
    assert 40 * (weights.layer - 2 * 5120**2) == pytest.approx(4.2e9, rel=0.01)
    assert weights.head + weights.embedding == pytest.approx(0.33e9, rel=0.01)


def test_recomputing_a_block_takes_eight_for_six():
    # part 4 on block remat: from 6 N D to about 8 N D; the last product of a block is needed by nothing
    run = Run(model=DecoderConfig(width=1024, depth=8, heads=8), batch=4, context=16, remat="block")
    plain = roofline.flops(dataclasses.replace(run, remat="none"), ONE, "tpu")
    again = roofline.flops(run, ONE, "tpu")
    assert again / plain == pytest.approx((8 - 2 / 3) / 6, rel=0.01)


def test_pairs_are_those_that_the_mask_shows_a_device():
    run = Run(model=DecoderConfig(attention=Attention(mask=Causal())), context=64)
    assert roofline.seen(run, 1, 1) == 64 * 65 / 2
    # tiles of 16: four on the diagonal, whole, and six below
    assert roofline.seen(run, 1, 16) == 10 * 256
    # four devices in a ring: their own half, and in three turns some device sees a whole block
    assert roofline.seen(run, 4, 1) == 16 * 17 / 2 + 3 * 256
    # shares long enough to be dealt in halves: of a device's own three see something, and in each turn two
    run_dealt = dataclasses.replace(run, context=8 * 512)
    assert roofline.seen(run_dealt, 4, 512) == (3 + 3 * 2) * 512**2
    assert roofline.seen(run_dealt, 4, 1) == 512 * 513 + (1 + 3 * 2) * 512**2
    # a last tile that is shorter
    brute = sum(min(i // 24, j // 24) == j // 24 for i in range(64) for j in range(64))
    assert roofline.seen(run, 1, 24) == brute


FUSED = {"feedforward": "fused", "activation": "identity"}


def test_times_overlap_or_add_up():
    topology = Topology.of("v5e:2x4")
    each = {Collective("collective-permute", ("context",), 2, 45_000_000): 2}
    times = roofline.times(1.97e12, 8.1e9, each, topology)
    np.testing.assert_allclose(times, (1e-2, 1e-2, 2e-3), rtol=1e-12)
    assert times.overlapped == 1e-2 and times.one_by_one == pytest.approx(2.2e-2)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"expansion": 3},
        FUSED,
        {"pruned": 2},
        FUSED | {"pruned": 3},
        {"feedforward": "gated", "projection": GatedNorm()},
    ],
    ids=str,
)
def test_matrices_are_those_of_the_model(options):
    run = Run(model=DecoderConfig(width=32, depth=3, norm="none", **options))
    stack = state.outline(run).params["stack"]
    assert run.model.depth * roofline.Weights.of(run).layer == sum(leaf.size for leaf in jax.tree.leaves(stack))


@pytest.mark.parametrize(
    "run",
    [
        Run(model=EncoderConfig(width=32, depth=3, norm="none", classes=7)),
        Run(model=EncoderDecoderConfig(width=32, depth=3, norm="none"), objective=TargetGivenSource()),
        Run(model=VisionTransformerConfig(width=32, depth=3, norm="none"), source=Digits()),
        Run(model=BagConfig(width=32, depth=3, norm="none"), source=Bags()),
        Run(model=BagConfig(width=32, norm="none"), source=Bags()),
    ],
    ids=lambda run: type(run.model).__name__,
)
def test_matrices_of_the_other_models_are_all_there(run):
    params, weights = state.outline(run).params, roofline.Weights.of(run)
    # what is added: learned positions and the class token; and a pool
    added = [params[name] for name in ("positions", "class_token", "pooling") if name in params]
    whole, rest = (sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (params, added))
    assert run.model.depth * weights.layer + weights.embedding + weights.head == whole - rest


def test_vit_b_takes_the_known_products_an_image():
    # 17.58 billion multiply-adds forward with biases as timm counts them; pixels' gradients are not computed
    run = preset("vit-b")
    forward = roofline.model_flops(run) / run.batch / 6
    assert forward == pytest.approx(17.58e9, rel=0.005)


def test_the_head_of_an_encoder_reads_one_row_where_it_gives_a_class():
    each = {n: roofline.model_flops(Run(model=EncoderConfig(width=32, depth=1, classes=n), batch=2)) for n in (1, 5)}
    assert each[5] - each[1] == 6 * 2 * 4 * 32


def test_attention_of_an_encoder_decoder_is_three():
    # the target's own sees half of what the source and the way across do
    run = Run(model=EncoderDecoderConfig(width=32, depth=1, heads=2), objective=TargetGivenSource(), context=64)
    assert roofline.seen(run, 1, 1) == 64 * 65 / 2 + 2 * 64**2


def test_attention_without_a_mask_is_refused():
    run = Run(model=DecoderConfig(attention=LinearAttention()))
    with pytest.raises(ValueError, match="got LinearAttention; let the compiler plan it, without --paper"):
        roofline.flops(run, ONE, "cpu")


def test_matrices_of_a_model_are_those_that_it_has():
    gated = EncoderConfig(width=32, heads=2, projection=GatedNorm(), classes=5, reads="numbers", classifier_width=24)
    adaptive = DecoderConfig(
        width=32, heads=2, projection=Grouped(1), vocabulary=300, embedding="adaptive", cutoffs=(50, 100),
        feedforward="biased",
    )  # fmt: skip
    for model in (DecoderConfig(width=32, heads=4, embedding="tied"), adaptive, gated):
        params = state.outline(Run(model=model, context=16)).params
        block = params["stack"]["repeat"][0]
        inner = [block["mixer"]["projecting"], block["feedforward"]]
        weights = roofline.Weights.of(Run(model=model, context=16))
        # of the layers alone, along the first axis, and without biases
        assert weights.layer == sum(x.size for x in jax.tree.leaves(inner) if x.ndim == 3) / model.depth
        around = [params[name] for name in ("embedding", "head") if name in params]
        own = sum(x.size for x in jax.tree.leaves(around) if x.ndim == 2)
        if model == gated:
            assert weights.head == own and weights.embedding == 32
        elif model == adaptive:
            # the first band is widened on its way in alone
            assert weights.head == own - 32**2 and weights.embedding == 50 * 32 + 50 * 8 + 200 * 2
        else:
            assert weights.head == weights.embedding == own
