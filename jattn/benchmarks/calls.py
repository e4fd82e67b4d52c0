"""One call of attention that is timed, and what its results must equal: those of the definition, in float64."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

import jattn
from jattn.benchmarks import turns
from jattn.engines import prefix
from jattn.mechanisms import Layout, Mechanism
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.linear import LinearAttention
from jattn.part import Dims, Place, Side, Variables
from jattn.parts.masks.causal import Causal

FORWARD, GRADIENT = "forward", "gradient"
# longer calls are checked at a half of their length, or a half of that: all pairs in float64 take 32 MiB a head here
LONGEST_CHECKED = 2048
# of linear attention the definition has a number for each pair and feature; two chunks of the engine
LONGEST_LINEAR = 256
DRAWS = 4


class Call(NamedTuple):
    """Shape and attention of one call; `origin` says where they are from.

    `reads` is what of the result is used: "out", or "entropy" too. So many `documents` of one length are packed.
    """

    length: int
    origin: str = ""
    heads: int = 8
    width: int = 64
    batch: int = 1
    attention: Mechanism = Attention(mask=Causal())
    documents: int = 1
    reads: str = "out"
    dtype: str = "float32"

    def checked(self) -> "Call":
        """The same short enough for the oracle."""
        length, documents = self.length, self.documents
        while length > (LONGEST_LINEAR if isinstance(self.attention, LinearAttention) else LONGEST_CHECKED):
            length, documents = length // 2, -(-documents // 2)
        return self._replace(length=length, documents=documents)


class Inputs(NamedTuple):
    """What a call is given: `smooth` is query, key, value and learned arrays, `cotangents` those of its results."""

    smooth: tuple[Array, Array, Array, dict]
    segments: Int[Array, " n"] | None
    cotangents: tuple[Array, Array | None]


class Made(NamedTuple):
    """A contender made ready: results and gradients at each turn, its temporary bytes, and what there is to say."""

    turn: turns.Turn
    temporary_bytes: int | None
    note: str = ""


class Reference(NamedTuple):
    """Results and gradients in float64, and by how much each may be off."""

    wanted: Any
    allowed: Any


def inputs(call: Call, draw: int = 0) -> Inputs:
    """Normal noise, in each draw other, the same for every contender; learned arrays as they start."""
    keys = [jax.random.key(6 * draw + n) for n in range(6)]
    shape = (call.batch, call.length, call.heads, call.width)
    *arrays, g_out = (jax.random.normal(key, shape, call.dtype) for key in keys[:4])
    params, _ = call.attention.init(keys[5], Dims.of(*arrays))
    segments = jnp.arange(call.length) * call.documents // call.length if call.documents > 1 else None
    g_entropy = jax.random.normal(keys[4], shape[:3]) if call.reads == "entropy" else None
    return Inputs((*arrays, params), segments, (g_out, g_entropy))


def ours(call: Call) -> Callable:
    """From `smooth` and segments to the output, and to the rows' entropy where it is read."""
    return _attends(call, call.attention)


def by_definition(call: Call) -> Callable:
    """The same by all pairs at once."""
    if isinstance(call.attention, LinearAttention):
        return _all_products(call)
    return _attends(call, dataclasses.replace(call.attention, implementation="dense"))


def kept(call: Call) -> dict:
    """The buffers of a call's attention, the same for every contender."""
    return call.attention.init(jax.random.key(5), Dims(*[call.heads] * 3, call.width, call.width)).buffers


def _all_products(call: Call) -> Callable:
    attention, buffers, here = call.attention, kept(call), np.arange(call.length)
    rule = prefix.Rule(attention.feature, attention.decay, attention.order)
    place = Place(np.arange(call.heads), call.heads, call.heads)

    def function(smooth, segments):
        *arrays, params = smooth
        own = attention.own(Variables(params, buffers))

        def one(query, key, value):
            query, key = (Side(x, here, here, segments, None, call.length, {}) for x in (query, key))
            return prefix.quadratic(rule, own, query, key, value, place).out

        return jax.vmap(one)(*arrays), None

    return function


def _attends(call: Call, attention: Mechanism) -> Callable:
    rng = jax.random.key(6) if getattr(attention, "dropout", 0) else None
    buffers = kept(call)

    def function(smooth, segments):
        *arrays, params = smooth
        found = jattn.attend(
            *arrays, attention, variables=Variables(params, buffers), rng=rng, layout=Layout(segments=segments)
        )
        return found.out, found.stats.entropy if call.reads == "entropy" else None

    return function


def directed(function: Callable, direction: str) -> Callable:
    """From `Inputs` to results and, beside them, the gradients of `smooth` where the direction asks for them."""

    def forward(given: Inputs):
        return function(given.smooth, given.segments), None

    def gradient(given: Inputs):
        results, pull = jax.vjp(lambda smooth: function(smooth, given.segments), given.smooth)
        return results, pull(given.cotangents)[0]

    return {FORWARD: forward, GRADIENT: gradient}[direction]


def made(function: Callable, call: Call, direction: str) -> Made:
    """A function of JAX compiled for a call."""
    given = inputs(call)
    compiled, temporary = turns.compiled(directed(function, direction), given)
    return Made(lambda: jax.block_until_ready(compiled(given)), temporary)


def reference(call: Call) -> Reference:
    """What a contender must give.

    It may be off twice as far as the definition is in the call's own precision, and a unit in the last place more. In
    one draw the largest error is that of one unlucky row, so the definition's is the largest of several draws.
    """
    gradient = jax.jit(directed(by_definition(call), GRADIENT))
    pairs = []
    for draw in range(DRAWS):
        given = inputs(call, draw)
        naive = gradient(given)
        with jax.enable_x64(True):
            wanted = gradient(jax.tree.map(_widened, given))
            pairs.append((jax.tree.map(np.asarray, wanted), naive))
    errors = [jax.tree.map(_off, *pair) for pair in pairs]
    units = jax.tree.map(_unit, *pairs[0])
    allowed = jax.tree.map(lambda unit, *off: 2 * max(off) + unit, units, *errors)
    return Reference(pairs[0][0], allowed)


def check(who: str, right: Reference, found: tuple) -> None:
    """Refuses results or gradients that are off: the time of a wrong answer says nothing."""
    results, gradients = found
    pairs = [(right.wanted[0], right.allowed[0], results)]
    if gradients is not None:
        pairs.append((right.wanted[1], right.allowed[1], gradients))
    for wanted, allowed, got in pairs:
        leaves = (jax.tree.leaves(tree) for tree in (wanted, allowed, got))
        for want, most, have in zip(*leaves, strict=True):
            off = _off(want, have)
            # written so that a NaN is refused too
            if not off <= most:
                raise FloatingPointError(
                    f"What is timed must first equal the definition in float64 within {most:.1e}, got {off:.1e} for "
                    f"{who}; mend it first."
                )


def _widened(array: Array) -> Array:
    return array.astype(jnp.float64) if jnp.issubdtype(array.dtype, jnp.floating) else array


def _off(want: np.ndarray, found: Any) -> float:
    return float(np.abs(want - np.asarray(found, np.float64)).max(initial=0))


def _unit(want: np.ndarray, found: Array) -> float:
    return float(jnp.finfo(found.dtype).eps) * float(np.abs(want).max(initial=0))
