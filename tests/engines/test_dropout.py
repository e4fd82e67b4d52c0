"""Dropout: the same pairs in any tiling, batch and engine, independent of each other, with real gradients."""

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import dense, dropout, tiled, tiles
from jattn.mechanisms import Layout, Split
from jattn.mechanisms.attention import Attention, attend
from jattn.part import Place, Rng, Side, Tile
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers.sink import Sink
from jattn.parts.normalizers.sparsemax import Sparsemax
from jattn.parts.normalizers.squared_relu import SquaredRelu
from tests.support import assert_close, float64, make, padded_layout, readings, run, small_tiles  # noqa: F401

KEY = jax.random.key(3)


def pattern(rate, heads=3, rows=400, columns=600, seed=0):
    query, key = (Side(jnp.zeros(0), n, n, None, None, n.size, {}) for n in (jnp.arange(rows), jnp.arange(columns)))
    tile = Tile(query, key, Place(jnp.arange(heads), heads, heads))
    noise = dropout.words(Rng(KEY, KEY, jax.random.key(seed)))
    return np.asarray(dropout.kept(noise, rate, tile))


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.9])
def test_pairs_are_kept_at_the_rate_independently_of_their_neighbors(rate):
    kept = pattern(rate)
    dropped = 1.0 - kept

    def assert_mean(sample, mean):
        deviation = np.sqrt(mean * (1 - mean) / sample.size)
        assert abs(sample.mean() - mean) < 4 * deviation

    assert_mean(dropped, rate)
    for other in (
        np.roll(dropped, 1, 0), np.roll(dropped, 1, 1), np.roll(dropped, 1, 2), np.roll(dropped, (1, 1), (1, 2)),
        1.0 - pattern(rate, seed=1),
    ):  # fmt: skip
        assert_mean(dropped * other, rate**2)
    # corners of rectangles, where a hash of rows and columns apart would show
    corners = dropped[:, ::2, ::2] * dropped[:, 1::2, ::2] * dropped[:, ::2, 1::2] * dropped[:, 1::2, 1::2]
    assert_mean(corners, rate**4)
    # sums of rows and of columns vary as those of coins
    for axis, count in ((2, 600), (1, 400)):
        spread = dropped.sum(axis).var() / (count * rate * (1 - rate))
        assert abs(spread - 1) < 0.15


@pytest.mark.parametrize("normalizer", [Attention().normalizer, Sink(), SquaredRelu(), Sparsemax()])
def test_tiled_drops_what_dense_drops(normalizer, monkeypatch, float64):  # noqa: F811
    small_tiles(monkeypatch)
    attention = Attention(mask=Causal(), normalizer=normalizer, dropout=0.3)
    made, buffers = make(attention)
    rng = Rng(KEY, KEY, KEY)

    def graded(engine, attention):
        def loss(made):
            own = attention.own((made.params, buffers))
            split = Split(made.query, made.key, made.value)
            arguments, _ = attention.arguments(own, split, padded_layout(), rng, None)
            found = readings(engine.attend(*arguments))
            return sum(jnp.sin(x).sum() for x in found.values()), found

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(made)

    want, got = graded(dense, attention), graded(tiled, attention)
    assert_close(want, got, 1e-12)
    plain, _ = run(tiled, dataclasses.replace(attention, dropout=0.0), made, buffers, padded_layout())
    assert not np.allclose(plain["out"], got[0][1]["out"])
    # statistics are those of the whole weights
    assert_close(*({name: x for name, x in found.items() if name != "out"} for found in (plain, got[0][1])), 1e-12)


@pytest.mark.parametrize("rows, columns", [(64, 64), (256, 256), (512, 512)])
def test_the_same_key_drops_the_same_pairs_in_any_tiling_and_batch(rows, columns, monkeypatch):
    q, k = (jax.random.normal(jax.random.key(n), (2, 520, 2, 4)) for n in range(2))
    # each key's weight comes out by itself
    v = jnp.broadcast_to(jnp.eye(520)[None, :, None], (2, 520, 1, 520))
    attention = Attention(dropout=0.4)
    whole = attend(q, k, v, attention, rng=KEY).out
    monkeypatch.setattr(tiles, "tile_sizes", lambda *_: (rows, columns))
    alone = Rng(KEY, KEY, jax.random.fold_in(KEY, 1))
    for found in (attend(q, k, v, attention, rng=KEY).out[1], attend(q[1], k[1], v[1], attention, rng=alone).out):
        np.testing.assert_array_equal(found == 0, whole[1] == 0)
        np.testing.assert_allclose(found, whole[1], rtol=1e-5)
    assert abs((whole == 0).mean() - 0.4) < 0.01 and ((whole[0] == 0) != (whole[1] == 0)).mean() > 0.4


SHARDED = """
import chex
chex.set_n_cpu_devices(8)
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jattn.mechanisms.attention import Attention, attend

mesh = jax.make_mesh((8,), ("devices",), axis_types=(AxisType.Auto,))
q, k = (jax.random.normal(jax.random.key(n), (8, 20, 8, 4)) for n in range(2))
v = jnp.broadcast_to(jnp.eye(20)[None, :, None], (8, 20, 8, 20))
call = jax.jit(lambda *qkv: attend(*qkv, Attention(dropout=0.4), rng=jax.random.key(3)).out)
whole = call(q, k, v)
assert len(whole.sharding.device_set) == 1 and abs((whole == 0).mean() - 0.4) < 0.02
for axes in (("devices",), (None, None, "devices")):
    split = call(*jax.device_put((q, k, v), NamedSharding(mesh, PartitionSpec(*axes))))
    assert len(split.sharding.device_set) == 8, split.sharding
    np.testing.assert_array_equal(split == 0, whole == 0)
    np.testing.assert_allclose(split, whole, rtol=1e-5)
print("equal")
"""


def test_the_same_key_drops_the_same_pairs_on_one_and_on_eight_devices():
    # the number of devices is fixed when JAX starts
    done = subprocess.run([sys.executable, "-c", SHARDED], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "equal", done.stderr


def test_weights_keep_their_mean_and_a_dropped_pair_frees_no_other():
    q, k = (jax.random.normal(jax.random.key(n), (64, 1, 4)) for n in range(2))
    v, mask = jnp.eye(64)[:, None], jnp.tri(64, dtype=bool)[None]
    layout = Layout(mask=mask)
    whole = attend(q, k, v, layout=layout).out[:, 0]
    thin = attend(q, k, v, Attention(dropout=0.25), rng=KEY, layout=layout).out[:, 0]
    np.testing.assert_allclose(thin[thin != 0], whole[thin != 0] / 0.75, rtol=1e-5)
    assert not thin[~mask[0]].any()


def test_without_a_key_nothing_is_dropped():
    q = jax.random.normal(KEY, (8, 1, 4))
    np.testing.assert_array_equal(attend(q, q, q, Attention(dropout=0.5)).out, attend(q, q, q).out)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_that_is_no_probability_is_refused(rate):
    with pytest.raises(ValueError, match=r"Attention.dropout must be a probability in \[0, 1\), got"):
        Attention(dropout=rate)
