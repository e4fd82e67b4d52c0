"""Times FAVOR+ beside exact attention, as tokens double, and token by token; compares with the definition first.

A gradient's time is that of the value and the gradients together.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import jattn
from jattn.benchmarks import REFUSED, Row, attention, calls, contest, turns
from jattn.benchmarks.attention import Case
from jattn.benchmarks.calls import GRADIENT, Call
from jattn.mechanisms.linear import LinearAttention
from jattn.part import Dims, Variables
from jattn.parts.features.favor import Favor
from jattn.parts.features.projections import Projection

EXACT, FAVOR, HALF = "exact", "FAVOR+", "half as many tokens"
# what decoding may differ by from one pass over all tokens
CLOSE = 1e-5


class Decoding(NamedTuple):
    """A call whose tokens come one by one, in programs of `block` tokens; the first and the last block take turns."""

    call: Call
    block: int
    rounds: int


class Setting(NamedTuple):
    """A case beside exact attention, calls of which each has twice the tokens of the one before, and decoding."""

    beside: Case
    doublings: tuple[Call, ...]
    rounds: int
    decoding: Decoding


BASE = Call(4096, "Performer's heads and features", attention=LinearAttention(Favor()))
FULL = Setting(
    Case(
        "causal, 16384 tokens, 8 heads of 64, 256 features",
        {EXACT: Call(16384, "Performer's heads"), FAVOR: BASE._replace(length=16384)},
        directions=(GRADIENT,),
    ),
    tuple(BASE._replace(length=4096 << n) for n in range(6)),
    3,
    Decoding(BASE._replace(length=65536), block=1024, rounds=9),
)
TINY = Call(32, "none", heads=2, width=8, attention=LinearAttention(Favor(Projection(4))))
SMOKE = Setting(
    Case(
        "causal, 32 tokens", {EXACT: TINY._replace(attention=Call(1).attention), FAVOR: TINY}, (), (GRADIENT,), rounds=1
    ),
    (TINY._replace(length=16), TINY),
    1,
    Decoding(TINY, block=8, rounds=1),
)


def measure(setting: Setting) -> list[Row]:
    """Rows of the case, of the gradient at each length, and of decoding; nothing else where the case refuses FAVOR+."""
    rows = attention.measure((setting.beside,))
    if any(row.contender == FAVOR and row.note.startswith(REFUSED) for row in rows):
        return rows
    return [*rows, *_doublings(setting.doublings, setting.rounds), *_decoded(*setting.decoding)]


def _doublings(lengths: tuple[Call, ...], rounds: int) -> list[Row]:
    title = f"as tokens double, {GRADIENT}"
    made = [contest.ours(call, GRADIENT) for call in lengths]
    taken = turns.interleaved({str(n): each.turn for n, each in enumerate(made)}, rounds, 1)
    found = []
    for n, (call, each) in enumerate(zip(lengths, made, strict=True)):
        mine, before = taken[str(n)], taken[str(max(n - 1, 0))]
        ratio = turns.spread([one / other for one, other in zip(mine, before, strict=True)])
        memory = each.temporary_bytes
        found.append(Row(title, FAVOR, turns.spread(mine), ratio, HALF, memory, "", call.origin, call.length))
    return found


def _decoded(call: Call, block: int, rounds: int) -> list[Row]:
    """The first and the last block of tokens one by one, once all are held to one pass."""
    variables, arrays = Variables({}, calls.kept(call)), tuple(x[0] for x in calls.inputs(call).smooth[:3])

    def attend(arrays, state):
        found = jattn.attend(*arrays, call.attention, variables=variables, state=state)
        return found.state, found.out

    @jax.jit
    def one_by_one(state, arrays):
        def step(state, token):
            state, out = attend([x[None] for x in token], state)
            return state, out[0]

        return jax.lax.scan(step, state, arrays)

    start = call.attention.state(Dims.of(*arrays), call.dtype, call.attention.own(variables))
    whole, given, off = jax.jit(attend)(arrays, start)[1], [start], []
    blocks = [tuple(x[first : first + block] for x in arrays) for first in range(0, call.length, block)]
    for number, tokens in enumerate(blocks):
        state, out = one_by_one(given[-1], tokens)
        given.append(state)
        off.append(float(jnp.abs(out - whole[number * block :][:block]).max()))
    ends = {
        f"tokens 1 to {block}": (given[0], blocks[0]),
        f"tokens {call.length - block + 1} to {call.length}": (given[-2], blocks[-1]),
    }
    title, peer = f"decoding, {block} tokens", next(iter(ends))
    if not max(off) <= CLOSE:
        rule = f"decoding must equal one pass over all tokens within {CLOSE:.0e}"
        why = f"{REFUSED}{rule}, got {max(off):.1e} off in {call.length} tokens; mend it first."
        return [Row(title, name, None, None, peer, note=why, origin=call.origin, length=call.length) for name in ends]
    contenders = {name: functools.partial(_waited, one_by_one, *end) for name, end in ends.items()}
    taken = turns.interleaved(contenders, rounds, 1)
    notes = {
        name: f"state {sum(x.nbytes for x in jax.tree.leaves(state))} bytes, {max(off):.0e} off one pass"
        for name, (state, _) in ends.items()
    }
    rows = turns.rows(title, taken, peer, {}, notes)
    return [row._replace(origin=call.origin, length=call.length) for row in rows]


def _waited(function: Callable, *arguments: Any) -> Any:
    return jax.block_until_ready(function(*arguments))
