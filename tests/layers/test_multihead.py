"""Multi-head attention as a layer, against dense computation by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.buffers import Buffer
from jattn.layers.flow import Flow
from jattn.layers.heads.grouped import Grouped
from jattn.layers.multihead import MultiHead
from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.part import part
from jattn.parts.masks.causal import Causal
from jattn.parts.scores import Score
from jattn.parts.scores.forgetting import Forgetting


def layer(attention=Attention(), key_heads=2):
    made = MultiHead(attention, Grouped(key_heads), Grouped(key_heads).dims(16, 4, 2), rngs=nnx.Rngs(0))
    made.projecting["output"][...] = jax.random.normal(jax.random.key(1), (16, 16)) / 4
    return made


def draw(*shape):
    return jax.random.normal(jax.random.key(sum(shape)), shape)


def by_hand(weights, x, memory, visible, bias=0.0):
    """Softmax attention with 4 heads in 2 groups, in float64."""
    w = {name: np.asarray(variable[...], np.float64) for name, variable in weights.items()}
    x, memory = np.asarray(x, np.float64), np.asarray(memory, np.float64)
    query = (x @ w["query"]).reshape(*x.shape[:-1], 4, 4)
    key, value = (np.repeat((memory @ w[n]).reshape(*memory.shape[:-1], 2, 4), 2, -2) for n in ("key", "value"))
    logits = np.einsum("bthd,bshd->bhts", query, key) / 2 + bias
    logits = np.where(visible, logits, -np.inf)
    weight = np.exp(logits - logits.max(-1, keepdims=True))
    weight /= weight.sum(-1, keepdims=True)
    return np.einsum("bhts,bshe->bthe", weight, value).reshape(x.shape) @ w["output"], weight


def test_cross_attention_is_dense_by_hand():
    made, x, memory = layer(), draw(2, 5, 16), draw(2, 7, 16)
    valid = np.arange(7) < np.array([[7], [4]])
    flow = Flow(Layout(valid=(jnp.ones((2, 5), bool), jnp.asarray(valid))), memory=memory)
    y, after, record = jax.jit(lambda x: made(x, flow))(x)
    want, weight = by_hand(made.projecting, x, memory, valid[:, None, None, :])
    # float32 through four products of 16 terms
    np.testing.assert_allclose(y, want, atol=1e-5)
    surprise = np.where(weight > 0, -weight * np.log(np.where(weight > 0, weight, 1)), 0).sum(-1)
    np.testing.assert_allclose(record.stats.entropy, surprise.transpose(0, 2, 1), atol=1e-5)
    assert after.state is None and record.terms == {}


def test_what_parts_project_reaches_them():
    made, x = layer(Attention(Forgetting(), Causal())), draw(2, 5, 16)
    kernel = draw(16, 4) / 4
    made.attending["score"]["0"]["kernel"][...] = kernel
    y, _, _ = jax.jit(lambda x: made(x, Flow()))(x)
    bias = made.attending["score"]["0"]["bias"][...]
    sums = np.cumsum(np.asarray(jax.nn.log_sigmoid(x @ kernel + bias[None, None]), np.float64), 1).transpose(0, 2, 1)
    forgot = sums[..., :, None] - sums[..., None, :]
    want, _ = by_hand(made.projecting, x, x, np.tril(np.ones((5, 5), bool)), forgot)
    np.testing.assert_allclose(y, want, atol=1e-5)


@part
class Gain(Score):
    """Scales each pair by what query and key say of themselves."""

    def project(self, own, x):
        return {"gain": x[:, :1]}

    def pairs(self, own, logits, tile):
        return logits * tile.query.extra["gain"][:, :, None] * tile.key.extra["gain"][:, None, :]


def test_each_side_projects_its_own_input():
    made, x, memory = layer(Attention(Gain())), draw(2, 5, 16), draw(2, 7, 16)
    y, _, _ = jax.jit(lambda x, memory: made(x, Flow(memory=memory)))(x, memory)
    w = made.projecting
    query, key = (x @ w["query"][...]).reshape(2, 5, 4, 4), (memory @ w["key"][...]).reshape(2, 7, 2, 4)
    logits = jnp.einsum("bthd,bshd->bhts", query, jnp.repeat(key, 2, -2)) / 2
    gain = x[:, None, :, None, 0] * memory[:, None, None, :, 0]
    want, _ = by_hand(w, x, memory, np.ones((5, 7), bool), np.asarray(logits * (gain - 1), np.float64))
    np.testing.assert_allclose(y, want, atol=1e-4)


def test_leading_axes_are_batch():
    made, x = layer(Attention(Forgetting(), Causal())), draw(6, 5, 16)
    run = jax.jit(lambda x: made(x, Flow())[0])
    want = run(x)
    np.testing.assert_allclose(run(x.reshape(2, 3, 5, 16)).reshape(6, 5, 16), want, atol=1e-5)
    np.testing.assert_allclose(run(x[4]), want[4], atol=1e-5)


@part
class Counting(Score):
    """Counts its refreshes and remembers noise."""

    def buffers(self, rng, dims):
        return {"count": jnp.zeros((), jnp.int32), "noise": jax.random.normal(rng, (2,))}

    def refresh(self, own, observed, rng, step):
        return {"count": own["count"] + step, "noise": jax.random.normal(rng, (2,))}


def test_buffers_are_held_and_refreshed():
    made = layer(Attention((Forgetting(), Counting())))
    buffers = nnx.state(made, Buffer)
    held = made.attending["score"]["1"]
    assert len(jax.tree.leaves(buffers)) == 2 and held["count"].dtype == jnp.int32
    before = held["noise"][...]
    made.refresh({}, jax.random.key(3), jnp.int32(5))
    assert held["count"][...] == 5 and not np.array_equal(held["noise"][...], before)


def test_memory_with_a_state_is_refused():
    made = layer()
    with pytest.raises(ValueError, match="no decoding state for flow.memory"):
        made(draw(1, 2, 16), Flow(memory=draw(1, 3, 16), state=made.state(1, 4, jnp.float32)))
