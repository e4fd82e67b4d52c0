"""The path through heads as a function is the layer; a projection's state is carried beside the attention's."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jattn.layers import through_heads
from jattn.layers.buffers import arrays
from jattn.layers.flow import Flow
from jattn.layers.heads import Heads
from jattn.layers.heads.grouped import Grouped
from jattn.layers.multihead import MultiHead
from jattn.mechanisms.attention import Attention
from jattn.part import part
from jattn.parts.masks.causal import Causal

X = jax.random.normal(jax.random.key(0), (2, 6, 8))


@part
class Summing(Heads):
    """Adds to each token all before it."""

    inner: Heads = Grouped()

    def dims(self, width, heads, depth):
        return self.inner.dims(width, heads, depth)

    def axes(self):
        return {"inner": self.inner.axes()}

    def state(self, own, dims, dtype):
        return jnp.zeros(dims.model_width, dtype)

    def split(self, own, x, flow):
        before = jnp.zeros(x.shape[:-2] + x.shape[-1:]) if flow.state is None else flow.state
        sums = before[..., None, :] + jnp.cumsum(x, -2)
        split = self.inner.split(own["inner"], sums, flow._replace(state=None))
        return split._replace(kept=flow.stream, state=None if flow.state is None else sums[..., -1, :])

    def merge(self, own, out, split, flow):
        assert split.kept is flow.stream
        return self.inner.merge(own["inner"], out, split, flow)


def layer(projection=Summing()):
    made = MultiHead(Attention(mask=Causal()), projection, projection.dims(8, 2, None), rngs=nnx.Rngs(0))
    output = made.projecting["inner"]["output"] if "inner" in made.projecting else made.projecting["output"]
    output[...] = jnp.eye(8)
    return made


def test_a_projections_state_goes_on_beside_the_attentions():
    made = layer()
    given = arrays(made.projecting), arrays(made.attending)
    dims = dataclasses.replace(made.dims, length=6)

    def through(x, state=None):
        y, flow, _ = through_heads.apply(made.projection, made.attention, given, dims, x, Flow(state=state))
        return y, flow.state

    through = jax.jit(through)
    whole, nothing = through(X)
    np.testing.assert_allclose(jax.jit(lambda x: made(x, Flow())[0])(X), whole, atol=1e-6)
    assert nothing is None
    state = through_heads.start(made.projection, made.attention, given, dims, (2,), jnp.float32)
    assert jax.tree.structure(state) == jax.tree.structure(made.state(2, 6, jnp.float32))
    rows = []
    for cut in (slice(0, 3), slice(3, 6)):
        y, state = through(X[:, cut], state)
        rows.append(y)
    np.testing.assert_allclose(np.concatenate(rows, 1), whole, atol=1e-5)
    np.testing.assert_allclose(state.projection, X.sum(1), atol=1e-5)


def test_without_one_the_state_is_the_attentions():
    made = layer(Grouped())
    assert type(made.state(2, 6, jnp.float32)).__name__ == "Kept"


def test_a_state_of_other_heads_is_refused():
    plain, summing = layer(Grouped()), layer()
    with pytest.raises(ValueError, match="got nothing of Summing where this one carries .*(8,)"):
        summing(X, Flow(state=plain.state(2, 6, jnp.float32)))
    with pytest.raises(ValueError, match=r"got .*\(8,\) of Grouped where this one carries nothing"):
        plain(X, Flow(state=summing.state(2, 6, jnp.float32)))
