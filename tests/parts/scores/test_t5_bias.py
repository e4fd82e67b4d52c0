"""T5's buckets against the formula of its released code, and its table against a loop."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import tiled
from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.part import Variables, part
from jattn.parts.masks.causal import Causal
from jattn.parts.scores.t5_bias import T5Bias, bucket, edges
from tests.support import assert_close, float64, make, padded_layout, run, small_tiles  # noqa: F401
from tests.support import compiled_attend as attend


def bucket_by_formula(distance, buckets=32, farthest=128):
    exact = buckets // 2
    if distance < exact:
        return distance
    steps = math.log(distance / exact) / math.log(farthest / exact) * (buckets - exact)
    return min(exact + int(steps + 1e-9), buckets - 1)


@pytest.mark.parametrize(("buckets", "farthest"), [(32, 128), (16, 64), (8, 20)])
def test_buckets_of_the_past_follow_the_formula(buckets, farthest):
    distance = np.arange(300)
    want = [bucket_by_formula(d, buckets, farthest) for d in distance]
    np.testing.assert_array_equal(bucket(jnp.asarray(distance)[:, None], buckets, farthest, "past")[:, 0], want)


def test_both_sides_give_later_keys_the_upper_half():
    offset = jnp.asarray([[5, -5, 0, 200, -200]])
    np.testing.assert_array_equal(bucket(offset, 32, 128, "both"), [[5, 21, 0, 15, 31]])


def test_the_papers_numbers():
    # 32 buckets, one a token at first, everything from 128 on in the last
    found = edges(32, 128)
    assert len(found) == 31 and list(found[:15]) == list(range(1, 16)) and found[-1] < 128
    assert bucket(jnp.asarray([[127, 128, 10**6]]), 32, 128, "past").tolist() == [[31, 31, 31]]


def test_the_table_is_added_to_logits():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(2, 32)).astype(np.float32)
    q = k = jnp.zeros((40, 2, 4))
    v = jnp.asarray(rng.normal(size=(40, 2, 3)), jnp.float32)
    variables = Variables({"score": {"0": {"table": jnp.asarray(table)}}}, {})
    found = attend(q, k, v, Attention(score=T5Bias(), mask=Causal()), variables=variables)
    for t, h in ((0, 0), (17, 1), (39, 0)):
        logits = np.array([table[h, bucket_by_formula(t - s)] for s in range(t + 1)])
        weights = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(found.out[t, h], weights @ np.asarray(v[: t + 1, h]), rtol=2e-5)


@part
class ByPair(T5Bias):
    """The bias as it is defined, by a look-up for each pair."""

    def pairs(self, own, logits, tile):
        offset = tile.query.position[:, None] - tile.key.position[None, :]
        return logits + own["table"][tile.place.head][:, bucket(offset, self.buckets, self.farthest, self.sides)]


@pytest.mark.parametrize(
    ("sides", "positions"), [("both", np.arange(53) + 70), ("past", np.r_[0:20, 0:33])], ids=["running", "restarting"]
)
def test_values_and_gradients_are_those_of_a_look_up_a_pair(sides, positions, float64, monkeypatch):  # noqa: F811
    small_tiles(monkeypatch)
    layout = padded_layout()._replace(positions=jnp.asarray(positions))
    made, buffers = make(Attention(score=T5Bias()))
    want = run(tiled, Attention(score=ByPair(sides=sides)), made, buffers, layout)
    got = run(tiled, Attention(score=T5Bias(sides=sides)), made, buffers, layout)
    # the same terms, summed along diagonals first in the gradient of the table
    assert_close(want, got, 1e-13)
    for name, value in want[0].items():
        np.testing.assert_array_equal(value, got[0][name])


def test_examples_of_a_batch_have_positions_of_their_own(float64):  # noqa: F811
    made, buffers = make(Attention(score=T5Bias()))
    positions = jnp.asarray([np.arange(53), np.r_[0:20, 0:33], np.r_[0:50, 51:54]])
    batch = [jnp.stack([x] * 3) for x in (made.query, made.key, made.value)]

    def read(table, score):
        variables = Variables({"score": {"0": {"table": table}}}, buffers)
        found = attend(*batch, Attention(score=score), variables=variables, layout=Layout(positions=positions))
        return (found.out**2).sum() + found.stats.entropy.sum()

    table = made.params["score"]["0"]["table"]
    want, got = (jax.value_and_grad(read)(table, score) for score in (ByPair(), T5Bias()))
    assert_close(want, got, 1e-13)


def test_a_batch_with_positions_in_common_skips_the_look_up_of_pairs():
    # under vmap a branch that differs by example is no branch: both would be computed
    q = jnp.zeros((3, 40, 2, 4))
    variables = Variables({"score": {"0": {"table": jnp.zeros((2, 32))}}}, {})

    def branches(positions):
        layout = Layout(positions=positions)
        call = lambda q: attend(q, q, q, Attention(score=T5Bias()), variables=variables, layout=layout).out  # noqa: E731
        return " cond[" in str(jax.make_jaxpr(call)(q))

    assert branches(None) and branches(jnp.arange(40))
    assert not branches(jnp.stack([jnp.arange(40)] * 3))


@pytest.mark.parametrize("options", [{"buckets": 2}, {"buckets": 33}, {"farthest": 16}, {"sides": "future"}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="T5Bias"):
        T5Bias(**options)
