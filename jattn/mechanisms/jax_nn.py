"""The calls of `dot_product_attention` that `jax.nn` serves exactly, by its XLA form or by cuDNN.

Source: Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014, arXiv:1410.0759 (the library);
`jax.nn.dot_product_attention`.
Departs: rows that see no key, which there hold the mean of the values, are 0.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jattn.engines.derivatives import reverse_only
from jattn.mechanisms.call import Arrays, Call

# implementations, as `jax.nn` names them
FORMS = ("xla", "cudnn")


def out(call: Call) -> Float[Array, "*b t h e"]:
    """The output as `jax.nn` gives it; what it holds where a row sees no key is finite, and no output of ours."""
    arrays, options = call.arrays, call.options
    if options.implementation == "cudnn":
        arrays = jax.tree.map(reverse_only, arrays)
    query, key, value = (_one_batch(x) for x in arrays[:3])
    found = jax.nn.dot_product_attention(
        query,
        key,
        value,
        *(None if x is None else _one_batch(x) for x in (arrays.bias, arrays.mask)),
        scale=call.attention.scale if arrays.scale is None else arrays.scale,
        is_causal=options.causal,
        query_seq_lengths=_lengths(arrays.query_lengths, query.shape[1]),
        key_value_seq_lengths=_lengths(arrays.key_lengths, key.shape[1]),
        local_window_size=options.window,
        implementation=options.implementation,
    )
    return found.reshape(*arrays.query.shape[:-1], value.shape[-1])


def refusals(call: Call) -> list[str]:
    """Why `jax.nn` cannot serve a call exactly, by the implementation that its options name."""
    arrays, options = call.arrays, call.options
    found = []
    if options.mask is not None:
        found.append("its mask is an array, not an object")
    if arrays.key.shape != arrays.value.shape:
        found.append("its values have the shape of its keys")
    if options.residual:
        found.append("its residual has no gradient, and the precision of the inputs")
    if arrays.query.dtype == jnp.float64:
        found.append("its softmax of float64 is taken in float32")
    if options.implementation == "cudnn":
        found += _cudnn_refusals(arrays, options.window)
    if found:
        return found
    try:
        jax.eval_shape(
            jax.grad(lambda query: out(call._replace(arrays=arrays._replace(query=query))).sum()), arrays.query
        )
    except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
        found.append(str(error).splitlines()[0].rstrip("."))
    return found


def _cudnn_refusals(arrays: Arrays, window: tuple[int, int] | None) -> list[str]:
    found = []
    if arrays.scale is not None:
        found.append("its scale is a number that is known when it is compiled")
    if arrays.bias is not None and arrays.bias.dtype != arrays.query.dtype:
        found.append(f"its bias has the dtype of the query, {arrays.query.dtype}, not {arrays.bias.dtype}")
    if window is not None:
        beyond = arrays.query.shape[-3] - window[0] > arrays.key.shape[-3]
        if beyond or arrays.key_lengths is not None:
            found.append("its gradient is not known to be finite where a window holds no key")
    return found


def _one_batch(x: Array) -> Float[Array, "b x y z"]:
    return x.reshape(int(np.prod(x.shape[:-3])), *x.shape[-3:])


def _lengths(lengths: Int[Array, "*b"] | None, tokens: int) -> Int[Array, " b"] | None:
    # at least 1: softmax over no key is another thing in each implementation, and such rows are made 0 behind it
    return None if lengths is None else jnp.clip(lengths.reshape(lengths.size), 1, tokens).astype(jnp.int32)
