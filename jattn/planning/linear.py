"""Products that linear attention asks for in a training step, from shapes.

Source: Katharopoulos et al., "Transformers are RNNs", ICML 2020, arXiv:2006.16236, sections 3.2 and 3.3 (features times
values, summed, and what a row reads of the sums).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jattn.mechanisms.linear import LinearAttention
from jattn.part import Dims, Place, Side, Variables
from jattn.parts.decays import Undecayed


def token_flops(attention: LinearAttention, dims: Dims) -> float:
    """Of one token in one layer, forward and backward: nothing computed again, and no pairs of a chunk.

    Backward takes two products for each, and for features with nothing to learn one.
    """
    params, buffers = jax.eval_shape(lambda: attention.feature.init(jax.random.key(0), dims))
    place = Place(np.arange(dims.heads), dims.heads, dims.key_heads)

    def maps(params, buffers, query, key):
        own = attention.feature.own(Variables(params, buffers))
        given = (("query", query), ("key", key))
        sides = ((role, Side(x, np.arange(1), np.arange(1), None, None, 1, {})) for role, x in given)
        return [attention.feature.map(own, side, role, place)[0] for role, side in sides]

    vectors = (jax.ShapeDtypeStruct((1, heads, dims.key_width), jnp.float32) for heads in (dims.heads, dims.key_heads))
    traced = jax.make_jaxpr(maps)(params, buffers, *vectors)
    # heads that share keys share sums, unless they forget at rates of their own
    alike = attention.decay == Undecayed() and dims.key_heads == dims.value_heads
    summed = (dims.key_heads if alike else dims.heads) * dims.value_width
    sums = traced.out_avals[0].shape[-1] * (summed + dims.heads * (dims.value_width + attention.feature.normalized))
    return 2.0 * (3 * sums + (3 if jax.tree.leaves(params) else 2) * _multiply_adds(traced.jaxpr))


def _multiply_adds(jaxpr: core.Jaxpr) -> int:
    """Those of matrix products, wherever they are called."""
    found = 0
    for each in jaxpr.eqns:
        if each.primitive.name == "dot_general":
            (contracted, _), _ = each.params["dimension_numbers"]
            shape = each.invars[0].aval.shape
            found += each.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
        inner = (value for value in each.params.values() if isinstance(value, core.ClosedJaxpr))
        found += sum(_multiply_adds(value.jaxpr) for value in inner)
    return found
