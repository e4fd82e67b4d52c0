"""What several tests share: the parts of a slot, made-up examples, and tiled held against dense."""

import functools
import importlib
import json
import pkgutil
import re
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

from jattn.benchmarks import compilers
from jattn.engines import dense, tiled, tiles, visits
from jattn.mechanisms import Layout, Split
from jattn.mechanisms.attention import attend
from jattn.part import Dims, Place, Side, Tile, Variables

# operation by operation, a call at a new shape would compile dozens of small programs
compiled_attend = jax.jit(attend, static_argnums=3, static_argnames="attention")

NOTEBOOKS = Path(__file__).parents[1] / "experiments" / "notebooks"
TOKENS, KEYS = 53, 53
MODEL_WIDTH = 6
# stands for the infinities of rows that see no key
ABSENT = -7.0


def parts_of(slot: type) -> list[type]:
    """Every final class of a slot, found by walking its folder."""
    package = importlib.import_module(slot.__module__)
    modules = [package] + [
        importlib.import_module(f"{package.__name__}.{module.name}")
        for module in pkgutil.iter_modules(package.__path__)
    ]
    found = {
        thing
        for module in modules
        for thing in vars(module).values()
        if isinstance(thing, type)
        and issubclass(thing, slot)
        and thing is not slot
        and not thing.__name__.startswith("_")
        and thing.__module__ == module.__name__
    }
    return sorted(found, key=lambda cls: cls.__name__)


def one_of_each(parts: list[type], names: set[str]) -> list:
    """The parts for parametrization: those not named, which work like one that is, are marked slow."""
    assert names <= {part.__name__ for part in parts}
    return [part if part.__name__ in names else pytest.param(part, marks=pytest.mark.slow) for part in parts]


def needs_compiler(chip: str):
    """Skips the test where this machine cannot compile for the chip, with what to install for it."""
    if told := compilers.missing(chip):
        pytest.skip(told)


def own_lines(stderr: str) -> list[str]:
    """What a command wrote to its standard error, without the log of jaxlib, whose CUDA plugin misses a driver."""
    return [line for line in stderr.splitlines() if not re.match(r"[IW]\d{4} |WARNING: All log messages before", line)]


def notebook_cells(file: Path) -> list[str]:
    """The code of a notebook, cell by cell."""
    held = json.loads(file.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in held["cells"] if cell["cell_type"] == "code"]


def notebook_run(name: str) -> dict:
    """Runs a notebook of the experiments from top to bottom, its pictures unseen; gives what its names then hold."""
    matplotlib.use("agg")
    held = {}
    for number, cell in enumerate(notebook_cells(NOTEBOOKS / f"{name}.ipynb")):
        exec(compile(cell, f"{name}, code cell {number}", "exec"), held)
    return held


class Made(NamedTuple):
    """Inputs of one example, and what its loss weighs outputs and statistics with."""

    query: jax.Array
    key: jax.Array
    value: jax.Array
    x: jax.Array
    memory: jax.Array
    params: dict
    bias: jax.Array | None


def make(attention, tokens=TOKENS, keys=KEYS, heads=(4, 2, 2), bias_shape=None, seed=0):
    """Random float64 inputs and learned arrays for `heads` = query, key and value heads, widths 8 and 5."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape))

    dims = Dims(*heads, 8, 5, model_width=MODEL_WIDTH, depth=2, length=keys)
    params, buffers = attention.init(jax.random.key(seed), dims)
    # learned arrays that start at 0 would hide a wrong gradient
    params = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, float) + 0.5 * rng.normal(size=leaf.shape)), params)
    made = Made(
        draw(tokens, heads[0], 8),
        draw(keys, heads[1], 8),
        draw(keys, heads[2], 5),
        draw(tokens, MODEL_WIDTH),
        draw(keys, MODEL_WIDTH),
        params,
        None if bias_shape is None else draw(*bias_shape),
    )
    return made, buffers


def attended(engine, attention, made: Made, buffers: dict, layout: Layout = Layout()):
    """One example through `dense` or `tiled`, `project` included."""
    own = attention.own(Variables(made.params, buffers))
    extra = (attention.project(own, made.x), attention.project(own, made.memory))
    layout = layout._replace(extra=extra, bias=made.bias)
    arguments, _ = attention.arguments(own, Split(made.query, made.key, made.value), layout, None, None)
    return engine.attend(*arguments)


def cast(tree, dtype):
    """Arrays in another type, by NumPy: operation by operation JAX would compile each shape."""
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x).astype(dtype)), tree)


def row_tile(heads: int, rows: int = 3) -> Tile:
    """A tile of rows alone, as `null` and `begin` get it."""
    here = np.arange(rows)
    side = Side(jnp.zeros((heads, rows, 8)), here, here, None, None, rows, {})
    return Tile(side, None, Place(np.arange(heads), heads, heads))


def readings(found) -> dict:
    """Output and statistics with the infinities of empty rows taken out."""
    stats = {
        name: jnp.where(jnp.isfinite(x), x, ABSENT) for name, x in found.stats._asdict().items() if name != "observed"
    }
    return {"out": found.out, **stats}


@functools.partial(jax.jit, static_argnames=("engine", "attention", "read", "sizes"))
def _computed(made, buffers, layout, *, engine, attention, read, sizes):
    """What the engine gives, its readings, and the gradient of their weighted sum in every array of `made`."""

    def loss(made):
        found = attended(engine, attention, made, buffers, Layout(**layout))
        got = readings(found)
        rng = np.random.default_rng(7)
        weighed = 0.0
        for name, x in got.items():
            weights = rng.normal(size=x.shape)
            if name != "visible" and (read is None or name in read):
                weighed += (x * weights.astype(x.dtype)).sum()
        return weighed, (found, got)

    (_, (found, got)), grads = jax.value_and_grad(loss, has_aux=True)(made)
    return found, got, grads


def computed(engine, attention, made: Made, buffers: dict, layout: Layout = Layout(), read=None):
    """What the engine gives, readings, and gradients of all or of those in `read`; one program for data of a shape."""
    given = {name: data for name, data in layout._asdict().items() if jax.tree.leaves(data) and name != "layer"}
    # what tests change of the engines, which JAX does not see
    sizes = tiles.tile_sizes, tiles.SIZES["cpu"], visits.STEERED_FROM, visits.FINE_COST, visits.MOST_STEPS
    return _computed(made, buffers, given, engine=engine, attention=attention, read=read, sizes=sizes)


def run(engine, attention, made: Made, buffers: dict, layout: Layout = Layout(), read=None):
    """Readings and gradients."""
    return computed(engine, attention, made, buffers, layout, read)[1:]


@functools.cache
def _at_most(rows: int, columns: int):
    """Sizes of tiles, one function for each pair so that what is compiled for them is found again."""
    return lambda length, keys: (min(length, rows), min(keys, columns))


def small_tiles(monkeypatch, rows=16, columns=12, elements=2 * 16 * 12):
    """Tiles that no length here is a multiple of."""
    monkeypatch.setattr(tiles, "tile_sizes", _at_most(rows, columns))
    resize(monkeypatch, side=max(rows, columns), pairs=elements, slim_pairs=elements // 2, fine_side=5)


def resize(monkeypatch, **changed):
    """Other sizes of tiles in this test."""
    monkeypatch.setitem(tiles.SIZES, "cpu", tiles.SIZES["cpu"]._replace(**changed))


def assert_tiled_equals_dense(attention, layout=Layout(), read=None, **sizes):
    """Values, statistics and every gradient, to float64 rounding."""
    made, buffers = make(attention, **sizes)
    want = run(dense, attention, made, buffers, layout, read)
    got = run(tiled, attention, made, buffers, layout, read)
    # sums of 53 products of size 1, differently ordered: some hundred units in the last place
    assert_close(want, got, 1e-12)


def assert_float32_close(attention, layout=Layout()):
    """Tiled in float32 errs at most twice as much as dense in float32 does, and one unit in the last place.

    With logits of ten thousand all is finite, and the output may be off by the rounding of a logit, which is the
    rounding of a weight that is a difference of logits.
    """
    made, buffers = make(attention)
    narrow = cast(made, jnp.float32)
    free = attention.normalizer.kind == "free"
    # the mass of a free normalizer may be near 0, where its log magnifies the rounding of a logit without bound
    read = ("out", "entropy", "max_logit") if free else None
    dense_, tiled_ = (
        lambda made, engine=engine: run(engine, attention, made, buffers, layout, read) for engine in (dense, tiled)
    )
    # the float64 oracle sees what float32 sees
    exact = dense_(cast(narrow, jnp.float64))
    naive, got = dense_(narrow), tiled_(narrow)
    paths = jax.tree_util.tree_leaves_with_path(exact)
    for (path, a), b, c in zip(paths, jax.tree.leaves(naive), jax.tree.leaves(got), strict=True):
        a, b, c = (np.asarray(x, np.float64) for x in (a, b, c))
        if free and "log_normalizer" in jax.tree_util.keystr(path):
            a, b, c = (np.where(x == ABSENT, 0, np.exp(x)) for x in (a, b, c))
        bound = 2 * np.abs(a - b).max(initial=0) + np.finfo(np.float32).eps * np.abs(a).max(initial=0)
        error = np.abs(a - c).max(initial=0)
        assert error <= bound, f"{jax.tree_util.keystr(path)}: off by {error:.3g}, allowed {bound:.3g}"

    large = narrow._replace(query=jnp.asarray(np.asarray(narrow.query) * np.float32(1e4)))
    (exact, _), (got, grads) = dense_(cast(large, jnp.float64)), tiled_(large)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((got, grads)))
    if not free:  # rows that sum to 1: a row of squares of ten thousands has its own scale
        rounding = np.finfo(np.float32).eps * np.abs(exact["max_logit"]).max()
        assert np.abs(exact["out"] - got["out"]).max() <= 4 * rounding * np.abs(made.value).max()


def padded_layout() -> Layout:
    """Four segments, a query (number 20) of a segment that no key has, and padding in the middle and at the end."""
    segments = np.repeat([0, 1, 2, 3], [11, 17, 5, 20])
    alone = segments.copy()
    alone[20] = 9
    valid = np.arange(TOKENS) % 11 != 3
    valid[-4:] = False
    return Layout(segments=(jnp.asarray(alone), jnp.asarray(segments)), valid=jnp.asarray(valid))


def plain_layout() -> Layout:
    """Data of the shapes of `padded_layout` that change nothing: one segment, all valid."""
    padded = padded_layout()
    return Layout(segments=jax.tree.map(jnp.zeros_like, padded.segments), valid=jnp.ones_like(padded.valid))


def assert_causal(attention):
    """Changing tokens from 31 on leaves earlier rows as they were, to the bit, and changes row 31."""
    made, buffers = make(attention)

    @jax.jit
    def rows(made):
        return readings(attended(tiled, attention, made, buffers))

    before = rows(made)
    later = np.arange(TOKENS) >= 31
    changed = jax.tree.map(
        lambda x: np.where(later.reshape(-1, *(1,) * (x.ndim - 1)), x + 1, x), jax.device_get(made[:5])
    )
    after = rows(made._replace(**dict(zip(made._fields, changed, strict=False))))
    for name in before:
        np.testing.assert_array_equal(before[name][:31], after[name][:31])
    assert not np.array_equal(before["out"][31], after["out"][31])


def assert_decodes(attention, pieces=(13, 1, 1, 13, 1)):
    """Fed in pieces with a whole cache of 48, two examples at once: the rows of one pass, statistics too."""
    tokens = sum(pieces)
    made, buffers = make(attention, tokens=tokens, keys=tokens)
    variables = Variables(made.params, buffers)
    own = attention.own(variables)
    batch = [np.stack([x, x[::-1]]) for x in jax.device_get((made.query, made.key, made.value, made.x))]
    dims = Dims(4, 2, 2, 8, 5, model_width=MODEL_WIDTH, length=48)
    state = attention.state(dims, jnp.float64, own)
    state = jax.tree.map(lambda x: np.stack([x, x]), jax.device_get(state))

    def call(state, q, k, v, x):
        extra = jax.vmap(lambda x: attention.project(own, x))(x)
        return attend(q, k, v, attention, variables=variables, layout=Layout(extra=extra), state=state)

    whole = readings(jax.jit(lambda *data: call(None, *data))(*batch))
    step, found, at = jax.jit(call), [], 0
    for size in pieces:
        got = step(state, *(x[:, at : at + size] for x in batch))
        state, at = got.state, at + size
        found.append(readings(got))
    joined = {name: np.concatenate([piece[name] for piece in found], axis=1) for name in whole}
    assert_close(whole, joined, 1e-12)


def assert_padding_changes_nothing(attention):
    """Eleven more tokens that are not valid, at the end: the valid rows as without them, the others 0."""
    made, buffers = make(attention)
    full = jax.jit(lambda made, layout: readings(attended(tiled, attention, made, buffers, layout)))
    short = TOKENS - 11
    cut = made._replace(**{name: getattr(made, name)[:short] for name in ("query", "key", "value", "x", "memory")})
    want = full(cut, Layout())
    got = full(made, Layout(valid=jnp.asarray(short)))
    assert_close(want, {name: x[:short] for name, x in got.items()}, 1e-12)
    assert not np.asarray(got["out"][short:]).any()


def assert_batches(attention, monkeypatch):
    """A batch by vmap, a batch by loop and single examples are one."""
    from jattn.mechanisms import attention as module

    made, buffers = make(attention)
    variables = Variables(made.params, buffers)
    own = attention.own(variables)
    data = [np.stack([x, x[::-1], 2 * x]) for x in jax.device_get((made.query, made.key, made.value, made.x))]

    def call(q, k, v, x):
        project = lambda x: attention.project(own, x)  # noqa: E731
        extra = project(x) if x.ndim == 2 else jax.vmap(project)(x)
        return readings(attend(q, k, v, attention, variables=variables, layout=Layout(extra=extra)))

    together = jax.jit(call)(*data)
    monkeypatch.setattr(module, "MAP_FROM", 1)
    resize(monkeypatch, slim_pairs=1)
    looped = jax.jit(lambda *data: call(*data))(*data)
    single = jax.jit(lambda *data: call(*data))
    alone = [single(*(x[n] for x in data)) for n in range(3)]
    assert_close(together, looped, 1e-12)
    assert_close(together, {name: np.stack([one[name] for one in alone]) for name in together}, 1e-12)


def assert_bfloat16(attention):
    """bfloat16 in, bfloat16 out, statistics in float32; off from float64 by the rounding of inputs and output."""
    made, buffers = make(attention)
    narrow = cast(made, jnp.bfloat16)._replace(params=cast(made.params, jnp.float32))
    got, grads = run(tiled, attention, narrow, buffers)
    want, want_grads = run(dense, attention, cast(narrow, jnp.float64), buffers, plain_layout())
    assert got["out"].dtype == jnp.bfloat16 and got["entropy"].dtype == jnp.float32
    # weights and output are rounded to 8 bits once each, gradients a few times more on the way
    assert_close(want, got, 4 * 2.0**-8)
    assert_close(want_grads, grads, 8 * 2.0**-8)


def largest_intermediate(function, *arguments) -> int:
    """Elements of the largest value any equation of the function makes, inner functions included."""

    def sizes(jaxpr):
        for equation in jaxpr.eqns:
            yield from (getattr(v.aval, "size", 0) for v in equation.outvars)
            for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from sizes(inner)

    return max(sizes(jax.make_jaxpr(function)(*arguments).jaxpr))


def assert_linear_memory(attention, tokens=1009):
    """One head: no value of the gradient has tokens^2 elements, and twice the tokens at most 2.1 times the largest."""

    def largest(tokens):
        made, buffers = make(attention, tokens=tokens, keys=tokens, heads=(1, 1, 1))
        made = cast(made, jnp.float32)

        def loss(made):
            got = readings(attended(tiled, attention, made, buffers))
            return sum(x.sum() for name, x in got.items() if name != "visible")

        return largest_intermediate(jax.grad(loss), made)

    assert largest(tokens) < tokens**2
    # from 2048 on tiles grow no more
    assert largest(8 * tokens) <= 2.1 * largest(4 * tokens)


@pytest.fixture
def float64():
    """float64 for one test."""
    with jax.enable_x64(True):
        yield


def assert_close(want, got, relative):
    """Each array within `relative` of the largest value of what is wanted."""
    paths = jax.tree_util.tree_leaves_with_path(want)
    for (path, a), b in zip(paths, jax.tree.leaves(got), strict=True):
        assert a.shape == b.shape, (path, a.shape, b.shape)
        a, b = np.asarray(a, float), np.asarray(b, float)
        assert np.isfinite(b).all(), f"{jax.tree_util.keystr(path)} is not finite"
        scale = max(1.0, np.abs(a).max(initial=0))
        error = np.abs(a - b).max(initial=0)
        assert error <= relative * scale, f"{jax.tree_util.keystr(path)}: off by {error:.3g} of {scale:.3g}"
