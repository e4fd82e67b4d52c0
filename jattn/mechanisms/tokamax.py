"""The calls of `dot_product_attention` that tokamax serves exactly, by the kernel that it chooses for the device.

Source: the tokamax library, github.com/openxla/tokamax, version 0.0.12; `tokamax.dot_product_attention`.
Departs: rows that see no key, which there hold what the chosen kernel leaves in them, are 0.
"""

from types import ModuleType

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jattn import extras
from jattn.engines.derivatives import reverse_only
from jattn.engines.tiles import platform
from jattn.mechanisms import jax_nn
from jattn.mechanisms.call import Call


def library() -> ModuleType:
    """tokamax, of the extra `bench`; ModuleNotFoundError where it is not installed."""
    import tokamax
    from absl import flags

    if not flags.FLAGS.is_parsed():
        # else it reads its options off the command line, which is that of another program
        flags.FLAGS(["jattn"])
    return tokamax


def out(call: Call, sees: Bool[Array, "*b t h"] | None) -> Float[Array, "*b t h e"]:
    """The output, 0 in the rows that see no key; `sees` is None where all do."""
    arrays, options = jax.tree.map(reverse_only, call.arrays), call.options
    mask = arrays.mask
    if mask is not None:
        # no row is empty to a kernel, whose gradient may be NaN there, which a 0 that comes behind it does not mend
        empty = ~jnp.moveaxis(sees[..., : mask.shape[-3]], -1, -2)[..., None]
        mask = jax.lax.broadcast_to_rank(mask, empty.ndim) | empty
    query, key, value = (jax_nn.one_batch(x) for x in arrays[:3])
    # without query lengths: rows past them see no key, and are made 0 below
    found = library().dot_product_attention(
        query,
        key,
        value,
        *(None if x is None else jax_nn.one_batch(x) for x in (arrays.bias, mask)),
        scale=call.attention.scale,
        is_causal=options.causal,
        key_value_seq_lengths=jax_nn.lengths_of_batch(arrays.key_lengths, key.shape[1]),
        local_window_size=options.window,
    )
    found = found.reshape(*arrays.query.shape[:-1], value.shape[-1])
    return found if sees is None else jnp.where(sees[..., None], found, 0)


def refusals(call: Call) -> list[str]:
    """Why tokamax cannot serve a call exactly."""
    arrays, options = call.arrays, call.options
    found = []
    if options.mask is not None:
        found.append(jax_nn.MASK_OBJECT)
    if arrays.key.shape[-2] != arrays.value.shape[-2]:
        found.append("its values have as many heads as its keys")
    if arrays.scale is not None:
        found.append(jax_nn.TRACED_SCALE)
    if options.residual:
        found.append("it returns no residual")
    if arrays.query.dtype == jnp.float64:
        found.append("its kernels sum float64 in float32")
    if arrays.query.dtype == jnp.float16 and platform() != "gpu":
        found.append("its products of float16 need a GPU")
    if options.window is not None and arrays.query.shape[-3] != arrays.key.shape[-3]:
        found.append("its windows are those of as many queries as keys")
    if jax_nn.may_be_empty(arrays, options.window):
        found.append(jax_nn.EMPTY_WINDOW)
    if found:
        return found
    try:
        return jax_nn.faults(out, call)
    except ModuleNotFoundError as error:
        return [(extras.sentence("it", error) or str(error)).rstrip(".")]
