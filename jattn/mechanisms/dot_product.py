"""`jax.nn.dot_product_attention`, on an engine whose memory grows with the length and not with its square.

Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, section 3.2.1; the signature is
that of `jax.nn.dot_product_attention`.
Departs: a row that sees no key is 0 and not the mean of the values; the residual is at least float32, and has its
gradient.
"""

import dataclasses
import functools
from typing import Any

import jax
from jaxtyping import Array, Bool, Float, Int

from jattn.engines.tiles import platform
from jattn.mechanisms import jax_nn, tokamax
from jattn.mechanisms.attention import Attention, attend
from jattn.mechanisms.call import Arrays, Call, Given, Options, read
from jattn.part import Own, Variables
from jattn.parts.masks import Mask

# by name, what serves a call outside our engines
OTHERS = {**dict.fromkeys(jax_nn.FORMS, jax_nn), "tokamax": tokamax}


def dot_product_attention(
    query: Float[Array, "*b t h d"],
    key: Float[Array, "*b s g d"],
    value: Float[Array, "*b s j e"],
    bias: Float[Array, "... #h #t #s"] | None = None,
    mask: Bool[Array, "... #h #t #s"] | Mask | None = None,
    *,
    scale: float | Float[Array, ""] | None = None,
    is_causal: bool = False,
    query_seq_lengths: Int[Array, "*b"] | None = None,
    key_value_seq_lengths: Int[Array, "*b"] | None = None,
    local_window_size: int | tuple[int, int] | None = None,
    implementation: str | None = None,
    return_residual: bool = False,
) -> Any:
    """Softmax attention with the arguments of `jax.nn`; the output, or with `return_residual` a pair.

    Any leading batch axes; values may be of another width than keys, and of another number of heads; `mask` is
    boolean, True = attend, or a part as in `jattn.masks`, and joins causality, window and lengths. The residual is the
    log-normalizer of each row, "*b t h", in nats, -inf where a row sees no key, with its gradient.

    `implementation` is "tiled"; "dense", for forward mode and second order; or, where that serves the call exactly,
    "xla" or "cudnn" of `jax.nn`, or "tokamax", which chooses its kernel by the device. Left out, it is "cudnn" on a GPU
    where that serves the call, else "tiled": `jattn.explain` says which. Raises ValueError for what does not fit or
    cannot be served, TypeError for a mask that is not boolean.
    """
    call = resolved(
        Given(
            query,
            key,
            value,
            bias,
            mask,
            scale,
            is_causal,
            query_seq_lengths,
            key_value_seq_lengths,
            local_window_size,
            implementation,
            return_residual,
        )
    )
    if reasons := refusals(call):
        raise ValueError(
            f"implementation={call.options.implementation!r} cannot serve this call: {'; '.join(reasons)}; leave it "
            f"out, and jattn's own serves it."
        )
    other = OTHERS.get(call.options.implementation)
    if other is None:
        return _serve(*call)
    return other.out(call, None if all_see(call) else _sees(call.arrays, call.own, call.attention))


def resolved(given: Given) -> Call:
    """The call of the arguments, by the implementation that is asked for, or else the one that serves it best."""
    call = read(given)
    if given.implementation is None and platform() == "gpu":
        by_kernel = call._replace(options=call.options._replace(implementation="cudnn"))
        if not refusals(by_kernel):
            return by_kernel
    return call


def all_see(call: Call) -> bool:
    """Whether it is known from shapes alone that every row sees a key."""
    arrays, options = call.arrays, call.options
    if any(x is not None for x in (arrays.mask, arrays.query_lengths, arrays.key_lengths, options.mask)):
        return False
    queries, keys = arrays.query.shape[-3], arrays.key.shape[-3]
    # the last row of a window looks back over so many tokens
    return keys > (0 if options.window is None else queries - 1 - options.window[0])


def refusals(call: Call) -> list[str]:
    """Why the implementation that a call names cannot serve it."""
    other = OTHERS.get(call.options.implementation)
    return [] if other is None else other.refusals(call)


# as a whole: operation by operation, a call at a new shape would compile dozens of small programs
@functools.partial(jax.jit, static_argnums=(2, 3))
def _serve(arrays: Arrays, own: Own, attention: Attention, options: Options) -> Any:
    attention = dataclasses.replace(attention, implementation=options.implementation)
    found = attend(*arrays[:3], attention, variables=Variables(own, {}), layout=arrays.layout())
    return (found.out, found.stats.log_normalizer) if options.residual else found.out


@functools.partial(jax.jit, static_argnums=2)
def _sees(arrays: Arrays, own: Own, attention: Attention) -> Bool[Array, "*b t h"]:
    """Whether a row sees a key: mask arithmetic alone, since no value is read."""
    query, key, value = (jax.lax.stop_gradient(x) for x in arrays[:3])
    layout = arrays.layout()._replace(bias=None)
    found = attend(query, key, value[..., :0], attention, variables=Variables(own, {}), layout=layout)
    return found.stats.visible > 0
