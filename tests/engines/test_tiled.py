"""The tiled engine where its loops are hardest; every part goes through the contracts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import dense, tiled
from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.window import Window
from jattn.parts.normalizers.sink import Sink
from jattn.parts.normalizers.sparsemax import Sparsemax
from jattn.parts.normalizers.squared_relu import SquaredRelu
from jattn.parts.scores.forgetting import Forgetting
from jattn.parts.scores.t5_bias import T5Bias
from tests.support import (
    TOKENS,
    assert_close,
    assert_tiled_equals_dense,
    attended,
    float64,  # noqa: F401
    make,
    padded_layout,
    readings,
    small_tiles,
)


@pytest.fixture(autouse=True)
def tiles_that_divide_nothing(monkeypatch, float64):  # noqa: F811
    small_tiles(monkeypatch)


# pairs that share state: learned arrays of several parts, counts, and the null merged over them
MIXTURES = [
    Attention(score=(T5Bias(), Forgetting()), mask=Causal(), normalizer=Sparsemax()),
    Attention(score=(Forgetting(), T5Bias(sides="both")), mask=Window(left=(3, 30, 9, 50)), normalizer=Sink()),
    Attention(score=T5Bias(), mask=Causal() & Window(left=20), normalizer=SquaredRelu(), scale=0.3),
]


@pytest.mark.parametrize(
    "attention",
    [pytest.param(MIXTURES[0], marks=pytest.mark.slow), *MIXTURES[1:]],
    ids=["sparsemax", "sink", "squared_relu"],
)
def test_parts_together(attention):
    assert_tiled_equals_dense(attention, padded_layout())


@pytest.mark.parametrize("shape", [(4, TOKENS, TOKENS), (1, TOKENS, 1), (4, 1, TOKENS), (1, 1, 1)], ids=str)
def test_bias_of_every_shape_that_broadcasts(shape):
    assert_tiled_equals_dense(Attention(mask=Causal()), bias_shape=shape)


@pytest.mark.parametrize("heads", [(4, 1, 4), (4, 4, 1), (6, 3, 2), (1, 1, 1)], ids=str)
def test_key_heads_and_value_heads_of_their_own_number(heads):
    assert_tiled_equals_dense(Attention(score=T5Bias(), mask=Causal()), heads=heads)


@pytest.mark.parametrize("read", ["out", "entropy", "log_normalizer", "max_logit"])
@pytest.mark.parametrize("normalizer", [Sink(), Sparsemax(), SquaredRelu()], ids=lambda n: type(n).__name__)
def test_each_reading_has_its_own_gradient(read, normalizer):
    assert_tiled_equals_dense(Attention(mask=Causal(), normalizer=normalizer), padded_layout(), read=(read,))


@pytest.mark.parametrize(("tokens", "keys"), [(1, 1), (1, 30), (30, 1)])
def test_shortest_lengths(tokens, keys):
    assert_tiled_equals_dense(Attention(mask=Causal()), tokens=tokens, keys=keys)


@pytest.mark.parametrize("attention", [Attention(), Attention(normalizer=Sink())], ids=["softmax", "sink"])
@pytest.mark.parametrize(("tokens", "keys"), [(5, 0), (0, 5)])
def test_no_keys_and_no_queries(attention, tokens, keys):
    made, buffers = make(attention, tokens=tokens, keys=keys)
    found = attended(tiled, attention, made, buffers)
    assert found.out.shape == (tokens, 4, 5) and not found.out.any()
    assert (found.stats.log_normalizer == -jnp.inf).all() and not found.stats.visible.any()
    grads = jax.grad(lambda made: readings(attended(tiled, attention, made, buffers))["out"].sum())(made)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(grads))


def test_positions_that_came_as_data_skip_as_known_ones_do():
    attention = Attention(mask=Causal() & Window(left=20))
    made, buffers = make(attention)
    traced = jax.jit(lambda p: readings(attended(tiled, attention, made, buffers, Layout(positions=p))))
    assert_close(readings(attended(dense, attention, made, buffers)), traced(jnp.arange(TOKENS)), 1e-12)


def test_half_the_heads_with_their_true_numbers_are_half_of_the_result():
    attention = Attention(score=T5Bias(), mask=Window(left=(3, 30, 9, 50)), normalizer=Sink())
    made, buffers = make(attention)
    whole = jax.jit(lambda made: readings(attended(dense, attention, made, buffers)))(made)
    half = made._replace(query=made.query[:, 2:], key=made.key[:, 1:], value=made.value[:, 1:])

    def run(numbers):
        return readings(attended(tiled, attention, half, buffers, Layout(head=(numbers, 4, 2))))

    for found in (jax.jit(lambda: run(np.array([2, 3])))(), jax.jit(run)(jnp.array([2, 3]))):
        assert_close({name: x[:, 2:] for name, x in whole.items()}, found, 1e-12)


def test_array_masks_by_head_and_shared():
    made, buffers = make(Attention())
    seen = np.random.default_rng(3).random((4, TOKENS, TOKENS)) < 0.5
    seen[:, 7] = False
    for mask in (seen, seen[:1]):
        layout = Layout(mask=jnp.asarray(mask))
        want, got = (readings(attended(engine, Attention(), made, buffers, layout)) for engine in (dense, tiled))
        assert_close(want, got, 1e-12)


def test_heads_that_do_not_divide_are_refused():
    made, buffers = make(Attention())
    odd = made._replace(query=made.query[:, :3])
    with pytest.raises(ValueError, match="3 query heads and 2 key heads; make the first a multiple"):
        attended(tiled, Attention(), odd, buffers)


def test_the_backward_pass_has_the_precision_of_the_forward():
    made, buffers = make(Attention())

    def loss(made):
        with jax.default_matmul_precision("highest"):
            return attended(tiled, Attention(), made, buffers).out.sum()

    text = str(jax.make_jaxpr(jax.grad(loss))(made))
    products = text.count("dot_general[")
    assert products > 4 and text.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == products
