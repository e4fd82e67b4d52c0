"""The vocabulary that every part, engine and mechanism shares: what a part is, and what it may look at."""

import dataclasses
import numbers
import typing
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple, dataclass_transform

import jax
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int


@dataclass_transform(frozen_default=True)
def part(cls: type) -> type:
    """Makes a class a frozen, hashable dataclass: its fields are its options, numbers in those of a `Part`."""
    rules = getattr(cls, "__post_init__", None)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            _check_number(self, field.name, field.type)
            _check_held(self, field.name, field.type)
        if rules is not None:
            rules(self)

    if issubclass(cls, Part):
        cls.__post_init__ = __post_init__
    return dataclasses.dataclass(frozen=True)(cls)


def _check_held(made: Any, name: str, kind: Any) -> None:
    value = getattr(made, name)
    if isinstance(kind, type) and issubclass(kind, Part) and not isinstance(value, kind):
        got = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise TypeError(f"{type(made).__name__}.{name} must be a {kind.__name__}, got {got}; build one.")


def _check_number(made: Any, name: str, kind: Any) -> None:
    kinds = set(typing.get_args(kind)) or {kind}
    number = kinds & {int, float}
    if not number or kinds - {int, float, type(None)}:
        return
    value, fits = getattr(made, name), numbers.Real if float in number else numbers.Integral
    good = isinstance(value, fits) and not isinstance(value, bool)
    if not good and not (value is None and type(None) in kinds):
        words = ("a number" if float in number else "a whole number") + (" or None" if type(None) in kinds else "")
        got = "an array" if hasattr(value, "shape") else repr(value)
        raise TypeError(
            f"{type(made).__name__}.{name} must be {words}, got {got}; an option is fixed when a call is compiled, "
            f"and what is learned is an array of a part."
        )


class Variables(NamedTuple):
    """Arrays of a part, nested by field name: `params` are learned, `buffers` are kept but not learned."""

    params: dict
    buffers: dict


class MissingArray(KeyError):
    """Prints its sentence as it is, where a KeyError prints it quoted."""

    def __str__(self) -> str:
        return self.args[0]


@jax.tree_util.register_pytree_with_keys_class
class Own(dict):
    """A part's arrays by name, params and buffers together; an absent one is refused by its path."""

    path: str = ""

    def __init__(self, entries: dict, path: str = ""):
        super().__init__(entries)
        self.path = path

    def __missing__(self, name: str):
        raise MissingArray(
            f"A part reads its array {path_of(self, name)!r}, which the variables lack; "
            f"pass what init makes, as in attention.init(rng, jattn.Dims.of(query, key, value)), or add it to them."
        )

    def tree_flatten_with_keys(self):
        """The arrays by name, in one order, and beside them what is no array."""
        names = tuple(sorted(self))
        return [(jax.tree_util.DictKey(name), self[name]) for name in names], (names, self.path)

    @classmethod
    def tree_unflatten(cls, aux, leaves):
        """What was taken apart, put together."""
        names, path = aux
        return cls(dict(zip(names, leaves, strict=True)), path)


@dataclasses.dataclass(frozen=True)
class Dims:
    """Sizes that a part's arrays may depend on, in the order of the letters h, g, j, d, e, m, l, t."""

    heads: int
    key_heads: int
    value_heads: int
    key_width: int
    value_width: int
    model_width: int | None = None
    depth: int | None = None
    length: int | None = None

    @staticmethod
    def of(query: Array, key: Array, value: Array, model_width: int | None = None) -> "Dims":
        """Reads the sizes off arrays `[..., t h d]`, `[..., s g d]`, `[..., s j e]`."""
        return Dims(
            heads=query.shape[-2],
            key_heads=key.shape[-2],
            value_heads=value.shape[-2],
            key_width=query.shape[-1],
            value_width=value.shape[-1],
            model_width=model_width,
        )

    def need(self, name: str, part: "Part") -> int:
        """The size called `name`, or one sentence that says which part lacks it."""
        size = getattr(self, name)
        if size is None:
            raise ValueError(
                f"{type(part).__name__} needs the size {name!r} to make its arrays, and Dims has None there; "
                f"give it: Dims(..., {name}=...) or Dims.of(query, key, value, model_width=...)."
            )
        return size


class Part:
    """Options are fields; arrays of its own come from `init`; every other method is pure and gets them as `own`."""

    def params(self, rng: Array, dims: Dims) -> dict:
        """Learned arrays of this part alone, by name."""
        return {}

    def buffers(self, rng: Array, dims: Dims) -> dict:
        """Arrays of this part alone that are kept but not learned, by name."""
        return {}

    def refresh(self, own: dict, observed: dict, rng: Array, step: Int[Array, ""]) -> dict:
        """Buffers of this part alone that change at an optimizer step, by name; the others stay."""
        return {}

    def children(self) -> Iterator[tuple[str, "Part"]]:
        """Parts held in fields, by name; members of a tuple as `field/0`, `field/1`."""
        for field in dataclasses.fields(self):
            held = getattr(self, field.name)
            if isinstance(held, Part):
                yield field.name, held
            elif isinstance(held, tuple):
                for number, member in enumerate(held):
                    if isinstance(member, Part):
                        yield f"{field.name}/{number}", member

    def init(self, rng: Array, dims: Dims) -> Variables:
        """Fresh params and buffers of this part and of every part it holds; final."""
        params = dict(self.params(_fold(rng, "params"), dims))
        buffers = dict(self.buffers(_fold(rng, "buffers"), dims))
        for name, child in self.children():
            theirs = child.init(_fold(rng, name), dims)
            _put(params, name, theirs.params)
            _put(buffers, name, theirs.buffers)
        return Variables(params, buffers)

    def own(self, variables: Variables | None, path: str = "") -> Own:
        """What this part's methods get as `own`: params and buffers merged, with a place for each held part; final."""
        params, buffers = variables if variables is not None else ({}, {})
        held = {name.partition("/")[0] for name, _ in self.children()}
        merged = {k: v for side in (params, buffers) for k, v in side.items() if k not in held}
        for name, child in self.children():
            theirs = Variables(_get(params, name), _get(buffers, name))
            _put(merged, name, child.own(theirs, f"{path}/{name}".lstrip("/")), keep_empty=True, path=path)
        return Own(merged, path)

    def closed(self, own: dict, dtype: DTypeLike) -> tuple["Part", dict]:
        """This part and its arrays with those that plain functions inside close over; logits are of that dtype."""
        part, arrays = self, own
        for name, child in self.children():
            theirs, held = child.closed(_get(own, name), dtype)
            if theirs is not child:
                part, arrays = _with(part, name, theirs), Own(arrays, getattr(own, "path", ""))
                _put(arrays, name, held, keep_empty=True)
        return part, arrays

    def refreshed(self, variables: Variables, observed: dict, rng: Array, step: Int[Array, ""]) -> dict:
        """Buffers after `refresh` of this part and of every part it holds; final."""
        return self._walk(self.own(variables), variables.buffers, observed, rng, step)

    def _walk(self, own: dict, buffers: dict, observed: dict, rng: Array, step: Any) -> dict:
        fresh = dict(buffers)
        changed = self.refresh(own, observed, _fold(rng, "refresh"), step)
        if unknown := set(changed) - set(buffers):
            raise ValueError(
                f"{type(self).__name__}.refresh may return its own buffers {sorted(buffers)}, got {sorted(unknown)}; "
                f"make them in `buffers` first."
            )
        fresh.update(changed)
        for name, child in self.children():
            theirs = child._walk(_get(own, name), _get(buffers, name), _get(observed, name), _fold(rng, name), step)
            _put(fresh, name, theirs)
        return fresh


def _with(part: Part, name: str, child: Part) -> Part:
    field, _, number = name.partition("/")
    if number:
        members = getattr(part, field)
        child = (*members[: int(number)], child, *members[int(number) + 1 :])
    return dataclasses.replace(part, **{field: child})


def _fold(rng: Array, name: str) -> Array:
    # a stable hash: Python's own differs from process to process
    return jax.random.fold_in(rng, zlib.crc32(name.encode()))


def _get(tree: dict, name: str) -> dict:
    for step in name.split("/"):
        tree = dict.get(tree, step, {})
    return tree


def _put(tree: dict, name: str, value: dict, keep_empty: bool | None = None, path: str = "") -> None:
    if not value and not keep_empty:
        return
    *above, last = name.split("/")
    for step in above:
        path = f"{path}/{step}".lstrip("/")
        # copied, so that renewing one branch never writes into the caller's tree
        tree[step] = Own(tree.get(step, {}), path) if keep_empty else dict(tree.get(step, {}))
        tree = tree[step]
    tree[last] = value


class Place(NamedTuple):
    """Where a tile lies: head numbers out of `heads`, the layer, the example. NumPy or traced."""

    head: Int[Array, " h"]
    heads: int
    key_heads: int
    layer: Any = 0
    example: Any = 0


class Side(NamedTuple):
    """One side of a tile, query or key.

    `vector` is "n h d" on whole sequences and "h n d" in a tile; `position` is what masks and positions read and may
    restart in a segment; `index` is the slot in the example, which noise reads; `length` counts the valid tokens of
    the example so far; `extra` holds per-token arrays, "n #heads ..." on whole sequences and "#h n ..." in a tile.
    """

    vector: Array
    position: Int[Array, " n"]
    index: Int[Array, " n"]
    segment: Int[Array, " n"] | None
    valid: Bool[Array, " n"] | None
    length: Any
    extra: dict


class Rng(NamedTuple):
    """Three keys: `step` is one for the model, `call` one for the batch, `example` one for the example."""

    step: Array
    call: Array
    example: Array


class Tile(NamedTuple):
    """Some queries against some keys of one example, for some heads.

    `key` is None where only rows are at hand. `visible` counts, for each row, the keys that mask, segments and
    lengths let it see; it is None unless the part's class says `visible = True`.
    """

    query: Side
    key: Side | None
    place: Place
    visible: Int[Array, "#h t"] | None = None
    rng: Rng | None = None


class Span(NamedTuple):
    """Positions from `first` to `last`, both included, of a side with `length` valid tokens."""

    first: Any
    last: Any
    length: Any


class Stats(NamedTuple):
    """What one pass knows of every row and head, before any dropout.

    `entropy` and `log_normalizer` in nats, float32 (float64 stays), "t h"; `max_logit` after scores and bias; `visible`
    counts keys; `observed` holds what parts noticed, by their path.
    """

    entropy: Float[Array, "t h"]
    log_normalizer: Float[Array, "t h"]
    max_logit: Float[Array, "t h"]
    visible: Int[Array, "t h"]
    observed: dict


class Attended(NamedTuple):
    """What every engine and mechanism returns: the output, the statistics of its rows, the state of decoding."""

    out: Float[Array, "t h e"]
    stats: Stats
    state: Any = None


def path_of(own: dict, name: str) -> str:
    """Where an array of a part lies in the variables, for a sentence."""
    return f"{getattr(own, 'path', '')}/{name}".lstrip("/")


def of_heads(own: dict, name: str, place: Place) -> Array:
    """The rows of a learned array that are those of a tile's heads; raises ValueError for one of other heads."""
    if len(own[name]) != place.heads:
        raise ValueError(
            f"The array {path_of(own, name)!r} holds a row for each of the {place.heads} query heads, "
            f"got {len(own[name])}; make variables by attention.init for the heads of this call."
        )
    return own[name][place.head]


def scope(extra: dict, path: str) -> dict:
    """What a part at `path` sees of `extra`: the caller's flat names, then its own; never another part's."""
    for step in path.split("/"):
        flat = {name: value for name, value in extra.items() if not isinstance(value, dict)}
        extra = flat | dict.get(extra, step, {})
    return extra


def by_head(values: Any, head: Any) -> Any:
    """Picks one value a head from a table; stays NumPy where `head` is, so that `reach` is known at trace time."""
    if isinstance(head, np.ndarray | np.integer):
        return np.asarray(values)[head]
    return jax.numpy.asarray(values)[head]
