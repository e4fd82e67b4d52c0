"""A recurrence in front of heads: the inner layer of what is heard, decoding, names of axes, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers.buffers import arrays, named
from jattn.layers.flow import Flow
from jattn.layers.heads.grouped import Grouped
from jattn.layers.heads.smoothed import Smoothed
from jattn.layers.multihead import MultiHead
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.recurrence import Recurrence
from jattn.parts.masks.causal import Causal
from jattn.parts.scores.forgetting import Forgetting
from jattn.parts.transitions.damped_ema import DampedEma

X = np.random.default_rng(0).normal(size=(2, 9, 8)).astype(np.float32)
RECURRENCE = Recurrence(DampedEma(2))


def layer():
    projection = Smoothed(Grouped(1), RECURRENCE)
    # whose gates read the layer's input
    made = MultiHead(Attention(Forgetting(), Causal()), projection, projection.dims(8, 2, None), rngs=nnx.Rngs(0))
    made.projecting["inner"]["output"][...] = jnp.eye(8)
    return made


def test_the_inner_heads_get_what_is_heard():
    made = layer()
    inner = MultiHead(made.attention, Grouped(1), made.dims, rngs=nnx.Rngs(1))
    for name, array in arrays(made.projecting).params["inner"].items():
        inner.projecting[name][...] = array
    for each in (made, inner):
        each.attending["score"]["0"]["kernel"][...] = jnp.linspace(-1, 1, 16).reshape(8, 2)
    own = RECURRENCE.own(arrays(made.projecting["recurrence"]))
    heard = jnp.stack([RECURRENCE.apply(own, jnp.asarray(x))[0] for x in X])
    got, alone = (jax.jit(lambda x, layer=layer: layer(x, Flow())[0]) for layer in (made, inner))
    got = got(X)
    np.testing.assert_allclose(got, alone(heard), atol=1e-5)
    assert np.abs(got - alone(X)).max() > 0.1


def test_it_decodes_token_by_token():
    made = layer()
    whole, state, rows = jax.jit(lambda x: made(x, Flow())[0])(X), made.state(2, 9, jnp.float32), []
    step = jax.jit(lambda x, state: made(x, Flow(state=state))[:2])
    for token in range(9):
        y, flow = step(X[:, token : token + 1], state)
        state = flow.state
        rows.append(y)
    np.testing.assert_allclose(np.concatenate(rows, 1), whole, atol=1e-5)


def test_kernels_keep_the_names_of_their_axes():
    names = named(nnx.state(layer().projecting, nnx.Param))["inner"]
    assert names == {name: Grouped.AXES[name] for name in Grouped.AXES}


def test_what_hears_later_tokens_says_so():
    ema = DampedEma(2)
    assert Smoothed(recurrence=RECURRENCE).looks_ahead() is None
    assert Smoothed(recurrence=Recurrence(ema, ema)).looks_ahead() == "recurrence.backward none"
    assert Smoothed(Smoothed(recurrence=Recurrence(ema, ema))).looks_ahead() == "inner.recurrence.backward none"


def test_a_memory_is_refused():
    with pytest.raises(ValueError, match="goes along the tokens that attend, got a flow.memory"):
        layer()(X, Flow(memory=X))
