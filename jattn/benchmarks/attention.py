"""Times attention, forward and with its gradient, beside `jax.nn.dot_product_attention`; compares the results first."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import jattn
from jattn.benchmarks import Row, turns
from jattn.mechanisms.attention import Attention
from jattn.numerics import divide, x_log_x
from jattn.parts.masks import Full, Mask
from jattn.parts.masks.causal import Causal

HEADS, WIDTH = 4, 64
PEER, BY_HAND, OURS = "jax.nn", "jax.numpy", "jattn"
# by name: our mask, and what the peer takes for it
MASKS: dict[str, tuple[Mask, dict]] = {"causal": (Causal(), {"is_causal": True}), "full": (Full(), {})}
# of the largest value; two float32 results over 4096 keys, summed in different orders, differ by a few times 1e-7 of it
TOLERANCE = 1e-5


class Case(NamedTuple):
    """One shape and mask; `turns` are calls a round, `reads` what of the result is used: "out", or "entropy" too."""

    mask: str
    length: int
    rounds: int
    turns: int
    batch: int = 1
    reads: str = "out"


FULL = (
    Case("causal", 256, 5, 20, batch=2),
    Case("full", 256, 5, 20, batch=2),
    Case("causal", 1024, 5, 4),
    Case("full", 1024, 5, 4),
    Case("causal", 1024, 5, 4, reads="entropy"),
    Case("full", 2048, 3, 2),
    # the peer's gradient takes seconds and a GiB here
    Case("causal", 4096, 3, 1),
)
SMOKE = (Case("causal", 24, 1, 1, batch=2, reads="entropy"),)


def measure(setting: tuple[Case, ...]) -> list[Row]:
    """A row for each case, direction and contender; temporary memory is that of the compiled program."""
    return [row for case in setting for row in _measured(case)]


def contenders(case: Case) -> dict[str, Callable]:
    """Functions from query, key and value to the output, and to the rows' entropy where it is read."""
    mask, same = MASKS[case.mask]
    attention = Attention(mask=mask)

    def peer(q, k, v):
        return jax.nn.dot_product_attention(q, k, v, **same), None

    def by_hand(q, k, v):
        return literal(q, k, v, jnp.tril(jnp.ones((case.length, case.length), bool)) if same else None)

    def ours(q, k, v):
        out, stats, _ = jattn.attend(q, k, v, attention)
        return out, stats.entropy if case.reads == "entropy" else None

    # the peer has no entropy to give: it stays the measure, and what one would write instead runs beside it
    return {PEER: peer, **({BY_HAND: by_hand} if case.reads == "entropy" else {}), OURS: ours}


def literal(
    q: Float[Array, "b t h d"], k: Float[Array, "b s h d"], v: Float[Array, "b s h e"], seen
) -> tuple[Float[Array, "b t h e"], Float[Array, "b t h"]]:
    """Softmax attention and its entropy as one would write them down."""
    logits = jnp.einsum("bthd,bshd->bths", q, k) * q.shape[-1] ** -0.5
    if seen is not None:
        logits = jnp.where(seen[None, :, None, :], logits, -jnp.inf)
    weights = jax.nn.softmax(logits)
    return jnp.einsum("bths,bshe->bthe", weights, v), -x_log_x(weights).sum(-1)


def directions(function: Callable) -> dict[str, Callable]:
    """The function itself, and its gradients from given ones of the results, the results among them."""

    def forward(arrays, cotangents):
        return function(*arrays)

    def gradient(arrays, cotangents):
        results, pull = jax.vjp(function, *arrays)
        return results, pull((cotangents[0], None if results[1] is None else cotangents[1]))

    return {"forward": forward, "gradient": gradient}


def compare(case: str, reference, found) -> None:
    """Refuses results that differ: the time of a wrong answer says nothing."""
    for right, ours in zip(jax.tree.leaves(reference), jax.tree.leaves(found), strict=True):
        apart = float(divide(jnp.abs(ours - right).max(), jnp.abs(right).max()))
        # written so that a NaN is refused too
        if not apart <= TOLERANCE:
            raise FloatingPointError(
                f"Results are compared before they are timed, and may differ by {TOLERANCE} of the largest value, got "
                f"{apart:.1e} for {case}; mend the attention first."
            )


def _measured(case: Case) -> list[Row]:
    shape = (case.batch, case.length, HEADS, WIDTH)
    *arrays, g_out = (jax.random.normal(jax.random.key(n), shape) for n in range(4))
    g_entropy = jax.random.normal(jax.random.key(4), shape[:3])
    functions = {name: directions(function) for name, function in contenders(case).items()}
    found = []
    for direction in ("forward", "gradient"):
        title = f"{case.mask}, {case.batch} of {case.length}{', entropy' * (case.reads != 'out')}, {direction}"
        made, memory, results = {}, {}, {}
        for name, own in functions.items():
            call, memory[name] = turns.compiled(own[direction], arrays, (g_out, g_entropy))
            made[name] = _turn(call, arrays, (g_out, g_entropy))
            results[name] = made[name]()
        # last but one stands who computes the same
        compare(title, list(results.values())[-2], results[OURS])
        del results
        found += turns.rows(title, turns.interleaved(made, case.rounds, case.turns), PEER, memory, {})
    return found


def _turn(call: Callable, *arguments) -> turns.Turn:
    return lambda: jax.block_until_ready(call(*arguments))
