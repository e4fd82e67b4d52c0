"""Mega's presets are its paper's, number by number, and have as many numbers to learn."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.layers.heads.mega import Mega
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.recurrence import Recurrence
from jattn.models.vision_transformer import VisionTransformerConfig
from jattn.part import Variables
from jattn.parts.caches.recent import Recent
from jattn.parts.masks.block_diagonal import BlockDiagonal
from jattn.parts.normalizers.laplace import Laplace
from jattn.parts.scores.relative_bias import RelativeBias
from jattn.parts.transitions.damped_ema import DampedEma
from jattn.training import state
from jattn.training.mega_presets import BLOCKS
from jattn.training.objectives.classification import Classification
from jattn.training.presets import preset
from jattn.training.run import Run
from jattn.training.sources.image_dataset import ImageDataset
from jattn.training.sources.pixel_sequences import PixelSequences
from jattn.training.step import training_step

# layers, width, shared, attention, norm, place, batch, rate, dropout, decay, warm-up, updates: as the paper's tables
# and the released commands have them; feed-forward layers and values are twice as wide as the stream
ROWS = {
    "mega-listops": (6, 80, 64, "softmax", "layer", "after", 64, 1e-3, 0.1, 0.01, 3000, 90_000),
    "mega-text": (4, 128, 64, "softmax", "scale", "after", 50, 4e-3, 0.1, 0.01, 10_000, 25_000),
    "mega-image": (8, 160, 96, "laplace", "batch", "before", 50, 1e-2, 0.0, 0.02, 9000, 180_000),
    "mega-pathfinder": (6, 128, 64, "laplace", "batch", "before", 128, 1e-2, 0.0, 0.01, 50_000, 250_000),
    "mega-path-x": (4, 64, 32, "laplace", "batch", "before", 128, 1e-2, 0.0, 0.01, 25_000, 125_000),
    "mega-sc-base": (6, 60, 30, "laplace", "batch", "before", 20, 1e-2, 0.0, 0.01, 10_000, 250_000),
    "mega-sc-big": (6, 72, 36, "laplace", "batch", "before", 20, 8e-3, 0.0, 0.01, 10_000, 250_000),
    "mega-enwik8": (12, 512, 128, "softmax", "layer", "before", 8, 5e-3, 0.1, 0.1, 24_000, 400_000),
    "mega-wikitext103": (16, 1024, 256, "softmax", "layer", "before", 24, 5e-3, 0.3, 0.1, 24_000, 400_000),
}  # fmt: skip
# tokens of a line, of a chunk, and those that an average hears where it is cut off within a line
LENGTHS = {
    "mega-listops": (2000, None, 1024),
    "mega-text": (4000, None, 1024),
    "mega-image": (1024, None, None),
    "mega-pathfinder": (1024, None, None),
    "mega-path-x": (128**2, None, 4096),
    "mega-sc-base": (16_000, 1000, 1000),
    "mega-sc-big": (16_000, 1000, 1000),
    "mega-enwik8": (8192, 2048, None),
    "mega-wikitext103": (6144, 1024, None),
}
# of the benchmark's tasks in chunks
CHUNKS = {"listops": 128, "text": 128, "image": 128, "pathfinder": 128, "path-x": 4096}


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def chunk(attention):
    """The size of the only blocks of its mask, if any."""
    masks = [attention.mask, *getattr(attention.mask, "members", ())]
    return next((each.size for each in masks if isinstance(each, BlockDiagonal)), None)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_the_papers(name):
    run = preset(name)
    model, optimizer = run.model, run.optimizer
    depth, width, shared, weights, norm, place, batch, rate, dropout, decay, warm_up, steps = ROWS[name]
    assert (model.depth, model.width, model.heads, model.expansion, model.epsilon) == (depth, width, 1, 2, 1e-5)
    mega = model.projection
    assert mega.shared == shared and mega.dims(width, 1, depth).value_width == 2 * width
    assert (model.norm, model.norm_place, model.feedforward, model.activation) == (norm, place, "biased", "silu")
    assert model.dropout == mega.dropout == dropout
    assert isinstance(model.attention.normalizer, Laplace) == (weights == "laplace")
    assert (run.batch, run.steps, optimizer.rate, optimizer.decay) == (batch, steps, rate, decay)
    # Adam: up to the rate over the warm-up, down to 0, and everything decays
    assert (optimizer.first_moment, optimizer.second_moment, optimizer.epsilon) == (0.9, 0.98, 1e-8)
    assert optimizer.decayed == "all" and optimizer.clip == (0.25 if steps == 400_000 else 1)
    at = optimizer.learning_rate(steps)
    half = warm_up + (steps - warm_up) / 2
    for step, share in ((warm_up - 1, 1), (warm_up // 2 - 1, 0.5), (half - 1, 0.5), (steps - 1, 0)):
        assert float(at(step)) / rate == pytest.approx(share, abs=1e-4)
    # averages of 16, along both directions where a class is asked for
    context, cut, taps = LENGTHS[name]
    other = DampedEma(16) if hasattr(model, "classes") else None
    assert mega.recurrence == Recurrence(DampedEma(16), other, truncation=taps)
    assert (run.context, chunk(model.attention)) == (context, cut)
    assert other or model.attention.cache == Recent(cut)


@pytest.mark.parametrize("task", CHUNKS)
def test_in_chunks_a_task_is_itself_but_for_its_attention(task):
    whole, cut = preset(f"mega-{task}"), preset(f"mega-chunk-{task}")
    attention = cut.model.attention
    assert chunk(attention) == CHUNKS[task] and chunk(whole.model.attention) is None
    (bias,) = [score for score in attention.score if isinstance(score, RelativeBias)]
    assert bias.length == CHUNKS[task]
    assert dataclasses.replace(cut, model=dataclasses.replace(cut.model, attention=whole.model.attention)) == whole


def block(width, shared, averages, bias):
    """What one block learns, array by array, with values and feed-forward layers of twice the width.

    Kernels with their biases for values, for the shared features and three gates, and for the output; a scale and an
    offset of queries and of keys; `averages` channels of 16, with four numbers each, and a residual; the bias of
    positions; two kernels with biases; two norms of two numbers a feature.
    """
    value = 2 * width
    attention = width * value + value
    attention += width * (width + shared + value + width) + (width + shared + value + width)
    attention += value * width + width + 4 * shared
    average = averages * 16 * 4 + width
    feedforward = 2 * width * value + value + width
    return attention + average + bias + feedforward + 2 * 2 * width


def test_enwik8_has_39_14_million():
    # one table for 205 symbols both ways, and a last norm that learns nothing
    by_hand = 12 * block(512, 128, 512, 2 * 128) + 205 * 512
    assert size(state.outline(preset("mega-enwik8")).params) == by_hand == 39_136_256


def test_wikitext_has_252_24_million():
    # three bands: tables of 1024, 256 and 64 wide, each with a projection to 1024 that the way out shares, the first
    # one's for the way in alone, and a logit of each narrow band
    tables = 20_000 * 1024 + 40_000 * 256 + (267_735 - 60_000) * 64
    by_hand = 16 * block(1024, 256, 1024, 2 * 256) + tables + (1024 + 256 + 64) * 1024 + 2 * 1024
    assert size(state.outline(preset("mega-wikitext103")).params) == by_hand == 252_237_248


@pytest.mark.parametrize("name, width, shared, count", [
    ("mega-sc-base", 60, 30, 343_134), ("mega-sc-big", 72, 36, 475_890),
])  # fmt: skip
def test_speech_has_as_many_as_the_released_models(name, width, shared, count):
    # averages along both directions, a bias of each of the 1999 distances in a chunk of 1000; a number becomes a vector
    # by two, a last norm learns, and ten classes are told through a layer of twice the width with a bias
    classes = width * 2 * width + 2 * width + 2 * width * 10
    by_hand = 6 * block(width, shared, 2 * width, 2 * 1000 - 1) + 2 * width + 2 * width + classes
    assert size(state.outline(preset(name)).params) == by_hand == count


def test_fresh_words_have_a_variance_of_one_by_the_width():
    for name in ("mega-listops", "mega-text"):
        model = preset(name).model
        assert model.embedding_deviation == model.width**-0.5 and model.pool == "mean"


def test_as_options_of_a_vision_transformer_it_has_the_papers_90_million():
    mega = Mega(256, recurrence=Recurrence(backward=DampedEma()))
    model = VisionTransformerConfig(
        width=768, depth=12, projection=mega, attention=Attention(RelativeBias(196)), norm="layer", image=224, patch=16,
        channels=3, classes=1000, positions="none", pool="mean", **BLOCKS,
    )  # fmt: skip
    run = Run(model, objective=Classification(), source=ImageDataset())
    by_hand = 12 * block(768, 256, 2 * 768, 2 * 196 - 1) + 16 * 16 * 3 * 768 + 2 * 768 + 768 * 1000
    assert size(state.outline(run).params) == by_hand == pytest.approx(90e6, rel=1e-3)


def test_a_smoothed_default_is_the_default_with_averages_in_front():
    run, plain = preset("smoothed"), Run()
    model = plain.model
    assert dataclasses.replace(run, model=dataclasses.replace(run.model, projection=model.projection)) == plain
    more = size(state.outline(run).params) - size(state.outline(plain).params)
    assert more == model.depth * (4 * 16 + 1) * model.width


def test_small_ones_read_the_embedded_text():
    for name in ("mega", "mega-chunk"):
        run = preset(name)
        assert run.source == Run().source and size(state.outline(run).params) < 1_000_000
        assert isinstance(run.model.projection, Mega) and isinstance(run.model.attention, Attention)
    assert preset("mega-chunk").context % chunk(preset("mega-chunk").model.attention) == 0


@pytest.mark.slow
def test_pixels_train_and_are_read_by_what_training_kept():
    run = preset("mega-image")
    mega = dataclasses.replace(run.model.projection, shared=4)
    model = dataclasses.replace(run.model, width=8, depth=1, projection=mega)
    run = dataclasses.replace(run, model=model, source=PixelSequences(), batch=4, context=64, steps=20)
    inputs = np.random.default_rng(0).uniform(size=(4, 64)).astype(np.float32)
    batch = {"inputs": inputs, "label": np.arange(4, dtype=np.int32), "valid": np.int32([64, 64, 64, 9])}
    step, reached, losses = training_step(run), state.fresh(run), []
    for _ in range(20):
        reached, metrics = step(reached, batch)
        losses.append(float(metrics.loss))
    assert losses[-1] < losses[0] and all(map(np.isfinite, losses))
    logits, *_ = state.forward(run)(Variables(reached.params, reached.buffers), jnp.asarray(inputs))
    assert logits.shape == (4, 10) and jnp.isfinite(logits).all()
