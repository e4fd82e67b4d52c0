"""The calls of `dot_product_attention` that `jax.nn` serves exactly, by its XLA form or by cuDNN.

Source: Chetlur et al., "cuDNN: Efficient Primitives for Deep Learning", 2014, arXiv:1410.0759 (the library);
`jax.nn.dot_product_attention`.
Departs: rows that see no key, which there hold the mean of the values, are 0.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jattn.engines.derivatives import reverse_only
from jattn.mechanisms.call import Arrays, Call

# implementations, as `jax.nn` names them
FORMS = ("xla", "cudnn")
# reasons that kernels of other libraries share
MASK_OBJECT = "its mask is an array, not an object"
TRACED_SCALE = "its scale is a number that is known when it is compiled"
EMPTY_WINDOW = "its gradient is not known to be finite where a window holds no key"


def out(call: Call, sees: Bool[Array, "*b t h"] | None) -> Float[Array, "*b t h e"]:
    """The output, 0 in the rows that see no key; `sees` is None where all do."""
    arrays, options = call.arrays, call.options
    if options.implementation == "cudnn":
        arrays = jax.tree.map(reverse_only, arrays)
    query, key, value = (one_batch(x) for x in arrays[:3])
    found = jax.nn.dot_product_attention(
        query,
        key,
        value,
        *(None if x is None else one_batch(x) for x in (arrays.bias, arrays.mask)),
        scale=call.attention.scale if arrays.scale is None else arrays.scale,
        is_causal=options.causal,
        query_seq_lengths=lengths_of_batch(arrays.query_lengths, query.shape[1]),
        key_value_seq_lengths=lengths_of_batch(arrays.key_lengths, key.shape[1]),
        local_window_size=options.window,
        implementation=options.implementation,
    )
    found = found.reshape(*arrays.query.shape[:-1], value.shape[-1])
    return found if sees is None else jnp.where(sees[..., None], found, 0)


def refusals(call: Call) -> list[str]:
    """Why `jax.nn` cannot serve a call exactly, by the implementation that its options name."""
    arrays, options = call.arrays, call.options
    found = []
    if options.mask is not None:
        found.append(MASK_OBJECT)
    if arrays.key.shape != arrays.value.shape:
        found.append("its values have the shape of its keys")
    if options.residual:
        found.append("its residual has no gradient, and the precision of the inputs")
    if arrays.query.dtype == jnp.float64:
        found.append("its softmax of float64 is taken in float32")
    if options.implementation == "cudnn":
        found += _cudnn_refusals(arrays, options.window)
    return found or faults(out, call)


def _cudnn_refusals(arrays: Arrays, window: tuple[int, int] | None) -> list[str]:
    found = []
    if arrays.scale is not None:
        found.append(TRACED_SCALE)
    if arrays.bias is not None and arrays.bias.dtype != arrays.query.dtype:
        found.append(f"its bias has the dtype of the query, {arrays.query.dtype}, not {arrays.bias.dtype}")
    if may_be_empty(arrays, window):
        found.append(EMPTY_WINDOW)
    return found


def faults(out: Callable, call: Call) -> list[str]:
    """What stops the output of a call or its gradient, by their shapes alone; ImportError where a library is absent."""
    arrays = call.arrays
    sees = jnp.ones(arrays.query.shape[:-1], bool)
    try:
        jax.eval_shape(
            jax.grad(lambda query: out(call._replace(arrays=arrays._replace(query=query)), sees).sum()), arrays.query
        )
    except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
        return [str(error).splitlines()[0].rstrip(".")]
    return []


def may_be_empty(arrays: Arrays, window: tuple[int, int] | None) -> bool:
    """Whether some row's window may hold no key."""
    if window is None:
        return False
    return arrays.key_lengths is not None or arrays.query.shape[-3] - window[0] > arrays.key.shape[-3]


def one_batch(x: Array) -> Float[Array, "b x y z"]:
    """With one batch axis in the place of all."""
    return x.reshape(int(np.prod(x.shape[:-3])), *x.shape[-3:])


def lengths_of_batch(lengths: Int[Array, "*b"] | None, tokens: int) -> Int[Array, " b"] | None:
    """With one batch axis, at least 1: softmax over no key is another thing in each implementation."""
    return None if lengths is None else jnp.clip(lengths.reshape(lengths.size), 1, tokens).astype(jnp.int32)
