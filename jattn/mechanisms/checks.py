"""Refuses arguments of `attend` that do not fit, each in one sentence, before any tile is traced.

Source: the rules are those of `jattn.attend`; the layout is that of `jax.nn.dot_product_attention`.
"""

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import dtypes
from jaxtyping import Array

from jattn.mechanisms import Layout, Mechanism, shapes
from jattn.numerics import known
from jattn.part import Dims, Part, Place, Rng, Side, Span, path_of, scope
from jattn.parts.caches import Cache, Kept
from jattn.parts.decays import Decay
from jattn.parts.masks import Mask
from jattn.parts.scores import Score

# what a call takes, and how it is made
KINDS = {
    "attention": (Mechanism, "a mechanism", "build one, as in jattn.Attention(normalizer=...)"),
    "layout": (Layout, "a Layout", "build one, as in jattn.Layout(mask=...)"),
    "variables": (
        tuple | None,
        "what attention.init gives",
        "pass attention.init(rng, jattn.Dims.of(query, key, value))",
    ),
    "rng": (Rng | jax.Array | np.ndarray | None, "a key", "make one, as in jax.random.key(0)"),
}


def kind(thing: Any) -> str:
    """What a thing is, for a sentence."""
    return f"the class {thing.__name__} and no {thing.__name__}()" if isinstance(thing, type) else type(thing).__name__


def axis(attention: Part) -> None:
    """Refuses what names no axis of a mesh."""
    name = attention.context_axis
    if not (name is None or isinstance(name, str) and name):
        raise ValueError(
            f"{type(attention).__name__}.context_axis must name one axis of a mesh, got {name!r}; leave it out where "
            f"tokens lie on one device."
        )


def kinds(attention: Any, layout: Any, variables: Any, rng: Any) -> None:
    """Refuses what is no mechanism, layout, variables or key."""
    for (name, (wanted, what, cure)), given in zip(KINDS.items(), (attention, layout, variables, rng), strict=True):
        if not isinstance(given, wanted):
            raise TypeError(f"The argument {name} must be {what}, got {kind(given)}; {cure}.")


def share(name: str, value: Any, cure: str) -> None:
    """Refuses numbers that are known not to lie between 0 and 1."""
    held = known(value)
    if held is None:
        return
    if held.dtype.kind not in "iuf" or not ((held >= 0) & (held <= 1)).all():
        got = repr(value) if held.ndim == 0 else f"numbers from {held.min():.10g} to {held.max():.10g}"
        raise ValueError(f"{name} must lie between 0 and 1, got {got}; {cure}.")


def arrays(query: Array, key: Array, value: Array, layout: Layout) -> None:
    """Refuses vectors, masks and biases of a wrong kind, dtype or shape."""
    for name, x in (("query", query), ("key", key), ("value", value)):
        dtype = getattr(x, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                f"Query, key and value are floating arrays, got {kind(x) if dtype is None else dtype} as {name}; "
                f"cast it, as in jnp.asarray({name}, jnp.float32)."
            )
    given = [dtypes.canonicalize_dtype(x.dtype) for x in (query, key, value)]
    if len(set(given)) > 1:
        raise TypeError(
            f"Query, key and value are of one dtype, got {', '.join(map(str, given))}; cast them to that of the query."
        )
    shapes.check(query.shape, key.shape, value.shape, {})
    for name in ("positions", "segments", "valid"):
        held = getattr(layout, name)
        if isinstance(held, list) or (isinstance(held, tuple) and len(held) != 2):
            got = f"a {type(held).__name__} of {len(held)}"
            raise TypeError(f"Layout.{name} is an array or a pair (query's, key's), got {got}; pass jnp.asarray of it.")
    if isinstance(layout.segments, tuple) and (layout.segments[0] is None) != (layout.segments[1] is None):
        raise ValueError("Segments are those of both sides, got those of one; give the other side its own.")
    whole("Numbers of layers", layout.layer)
    for name in ("mask", "bias"):
        array = getattr(layout, name)
        if array is not None and not hasattr(array, "dtype"):
            raise TypeError(f"A {name} is an array, got {type(array).__name__}; pass jnp.asarray of it.")
    if layout.mask is not None and layout.mask.dtype != bool:
        raise TypeError(
            f"A mask is boolean, True where a query attends to a key, got {layout.mask.dtype}; numbers that are added "
            f"to the logits go in as bias."
        )
    if layout.bias is not None and not jnp.issubdtype(layout.bias.dtype, jnp.floating):
        raise TypeError(
            f"A bias is floating, since it is added to the logits, got {layout.bias.dtype}; cast it, or pass as mask "
            f"what says where a query may attend."
        )


def variables(held: Part, own: dict, dims: Dims) -> None:
    """Refuses arrays that a part makes and that are absent or of other sizes, which a look-up would clamp, and those
    that no part reads."""
    children = dict(held.children())
    made = None if isinstance(held, Mechanism) else _shapes(held, dims)
    if made is not None:
        surplus = set(own) - set(made) - {name.partition("/")[0] for name in children}
        if surplus:
            raise ValueError(
                f"The variables hold the array {path_of(own, min(surplus))!r}, which {type(held).__name__} does not "
                f"read; make them by attention.init of this attention."
            )
        for name, shape in made.items():
            got = jnp.shape(own[name])
            # a call without values has no width of them
            if len(got) != len(shape) or any(size not in (n, 0) for n, size in zip(got, shape, strict=True)):
                raise ValueError(
                    f"The array {path_of(own, name)!r} has the shape {shape} in a call of these sizes and options, "
                    f"got {got}; make variables by attention.init for them."
                )
    for name, child in children.items():
        variables(child, functools.reduce(operator.getitem, name.split("/"), own), dims)


@functools.cache
def _shapes(held: Part, dims: Dims) -> dict[str, tuple[int, ...]] | None:
    """The shapes of the arrays that a part makes, None where a size is missing that only a layer knows."""
    try:
        made = jax.eval_shape(lambda: held.params(jax.random.key(0), dims) | held.buffers(jax.random.key(0), dims))
    except ValueError:
        return None
    return {name: leaf.shape for name, leaf in made.items()}


def decays(attention: Mechanism, layout: Layout) -> None:
    """Refuses logs of decays, given as data, that are known to be above 0 or no numbers."""
    decay = getattr(attention, "decay", None)
    # what is padded may be anything
    if not isinstance(decay, Decay) or layout.valid is not None:
        return
    theirs = scope(layout.extra[1] if isinstance(layout.extra, tuple) else layout.extra, "decay")
    for name in set(decay.logs) & set(theirs):
        # on the device: an array of all gates is large
        low, high = (known(jnp.asarray(found(theirs[name], initial=0))) for found in (jnp.min, jnp.max))
        if high is not None and not high <= 0:
            raise ValueError(
                f"{type(decay).__name__} reads logs of factors of at most 1, got {name!r} from {low:g} to "
                f"{high:g}; take jax.nn.log_sigmoid."
            )


def pairs(layout: Layout, sizes: tuple[int, int, int]) -> None:
    """Refuses a mask or a bias that has not the axes of one example."""
    for name in ("mask", "bias"):
        array = getattr(layout, name)
        if array is None:
            continue
        if array.ndim != 3 or any(n not in (1, size) for n, size in zip(array.shape, sizes, strict=True)):
            raise ValueError(
                f"A {name} has the shape [heads, queries, keys] = {sizes} for each example, or 1 in their place, got "
                f"{array.shape}; add or broadcast its axes."
            )


def row(name: str, array: Any, new: int) -> None:
    """Refuses what is not one value a token."""
    if array is not None and jnp.shape(array) != (new,):
        raise ValueError(
            f"{name} hold one value for each of the {new} tokens of a side, got shape {jnp.shape(array)}; where "
            f"queries and keys differ in number give a pair (query's, key's)."
        )


def whole(name: str, array: Any) -> None:
    """Refuses what are no whole numbers."""
    if array is not None and not jnp.issubdtype(jnp.asarray(array).dtype, jnp.integer):
        raise TypeError(f"{name} are whole numbers, got {jnp.asarray(array).dtype}; cast them to int32.")


def tokens(score: Score, before: list, after: tuple) -> None:
    """Refuses what a score made of tokens where it lost some, or widened one side."""
    was, now = ([side.vector.shape for side in sides] for sides in (before, after))
    if [shape[:2] for shape in was] != [shape[:2] for shape in now] or now[0][2] != now[1][2]:
        raise ValueError(
            f"{type(score).__name__}.tokens keeps tokens and heads of query and key, and gives both one width, got "
            f"{now[0]} and {now[1]} from {was[0]} and {was[1]}; change widths and extra alone."
        )


def distances(scores: tuple[Score, ...], mask: Mask, query: Side, key: Side, tokens: int, place: Place) -> None:
    """Refuses a score that has no numbers for keys as far away as the mask lets a row of so many tokens see.

    Positions that are known only when the call runs are taken to count from 0.
    """
    limited = [score for score in scores if score.near is not None]
    if not limited or not tokens or not query.position.shape[0]:
        return
    score = min(limited, key=lambda score: score.near)
    rows, keys = (_positions(side) for side in (query, key))
    if rows is None or keys is None:
        rows = keys = np.arange(tokens)
    if rows.size and keys.size and _farther(mask, score.near, (rows, keys), (query, key), place):
        name = type(score).__name__
        most = 1 + max(rows.max() - keys.min(), keys.max() - rows.min())
        raise ValueError(
            f"{name} has numbers for positions less than {score.near} tokens apart, got a mask that lets rows see "
            f"farther in a call of {tokens} tokens; make it with {name}(length={most}), keep rows near by a mask, as "
            f"BlockDiagonal({score.near}) does, or use RotaryBias, which has no limit."
        )


def looks_back(scores: tuple[Score, ...], mask: Mask, cache: Cache, dims: Dims) -> None:
    """Refuses a cache that lets go of tokens which rows may still see, or which a score sums over."""
    near = cache.looks_back()
    if near is None:
        return
    name = f"{type(cache).__name__}({near})"
    if summing := [type(score).__name__ for score in scores if score.mixes]:
        raise ValueError(
            f"{name} keeps the last {near} tokens, got {summing[0]}, which sums over all; keep them all by Whole()."
        )
    at, place = np.arange(3 * near), Place(np.arange(dims.heads), dims.heads, dims.key_heads)
    side = Side(at, at, at, None, None, len(at), {})
    if _farther(mask, near, (at, at), (side, side), place):
        raise ValueError(
            f"{name} keeps the last {near} tokens, got a mask that lets rows see farther; keep them all by Whole(), or "
            f"rows near by a mask, as BlockDiagonal({near}) does."
        )


def held(kept: Kept, key: Array, value: Array) -> None:
    """Refuses what was kept of keys and values of other heads and widths; leading batch axes are free."""
    want, got = ([x.shape[-2:] for x in pair] for pair in ((key, value), (kept.key, kept.value)))
    if want != got:
        raise ValueError(
            f"A decoding state goes on in the attention that it is of, got one of keys and values of heads and widths "
            f"{got[0]} and {got[1]} for {want[0]} and {want[1]}; start one by this model's state."
        )


def _positions(side: Side) -> np.ndarray | None:
    """Where the tokens of a side are, None where that is not known."""
    position, valid = known(side.position), None if side.valid is None else known(side.valid)
    # what is no token may have any position
    return position if position is None or valid is None else position[valid]


def _farther(
    mask: Mask, near: int, positions: tuple[np.ndarray, np.ndarray], sides: tuple[Side, Side], place: Place
) -> bool:
    """Whether a mask may let a row see a key that is so many tokens away, or more."""
    (rows, keys), place = positions, place._replace(head=np.arange(place.heads)[:, None, None])
    lengths = [len(at) if (n := known(side.length)) is None else n for at, side in zip(positions, sides, strict=True)]
    rows = np.unique(rows)
    for first, last in ((np.full_like(rows, keys.min()), rows - near), (rows + near, np.full_like(rows, keys.max()))):
        there = first <= last
        if not there.any():
            continue
        query, key = (
            Span(*(at[there][:, None] for at in ends), length)
            for ends, length in zip(((rows, rows), (first, last)), lengths, strict=True)
        )
        some = known(mask.reach(query, key, place)[0])
        # a mask that reads data of the call is not known to see less
        if some is None or some.any():
            return True
    return False
