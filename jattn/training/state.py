"""All that changes in training, as one tree of arrays, and the model as a function of it."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Int

from jattn.layers.axes import Axes
from jattn.layers.buffers import Buffer, named
from jattn.mechanisms import Layout
from jattn.models.network import Network
from jattn.part import Variables
from jattn.training import sharding
from jattn.training.objectives import LEARNED, Forward
from jattn.training.run import Run

# what the seed's key is folded with: streams for fresh params, for the steps, and for what the objective learns
FRESH, STEPS, OBJECTIVE = 0, 1, 2
# where the buffers of a run hold what the parts of its model observed in the step before, beside the model's own
OBSERVED = "observed"


class TrainState(NamedTuple):
    """Learned arrays, kept arrays, the optimizer's own and the number of steps done."""

    params: dict
    buffers: dict
    optimizer_state: Any
    step: Int[Array, ""]


def key(run: Run, stream: int) -> Array:
    """One stream of the run's randomness."""
    return jax.random.fold_in(jax.random.key(run.seed), stream)


def network(run: Run) -> Network:
    """The run's model with fresh arrays, which the seed alone decides."""
    return run.model.build(rngs=nnx.Rngs(key(run, FRESH)), dtype=jnp.dtype(run.dtype), remat=run.remat)


def variables(model: Network) -> Variables:
    """The model's arrays as nested dicts, by the names that the layers give them."""
    _, params, buffers = nnx.split(model, nnx.Param, Buffer)
    return Variables(nnx.to_pure_dict(params), nnx.to_pure_dict(buffers))


def with_objective(run: Run, params: dict) -> dict:
    """The model's params, and beside them fresh ones of what the objective learns, if anything."""
    dims = run.model.projection.dims(run.model.width, run.model.heads, run.model.depth)
    own = run.objective.init(key(run, OBJECTIVE), dims).params
    return params | {LEARNED: own} if own else params


def of_model(variables: Variables) -> Variables:
    """Without what the objective learns, and what was observed."""
    params, buffers = (
        {name: x for name, x in tree.items() if name != other}
        for tree, other in zip(variables, (LEARNED, OBSERVED), strict=True)
    )
    return Variables(params, buffers)


@functools.cache
def _observing(run: Run) -> dict:
    """The shape and dtype of what the parts of the model observe in a step; empty where none does."""
    made = jax.eval_shape(lambda: variables(network(run)))
    # nothing could be renewed
    if not jax.tree.leaves(made.buffers):
        return {}
    made = made._replace(params=jax.eval_shape(lambda: with_objective(run, {})) | made.params)
    size = run.batch // run.accumulate
    outline = run.source.outline(run.context)
    batch = {name: jax.ShapeDtypeStruct((size, *x.shape), x.dtype) for name, x in outline.items()}

    def stats(variables: Variables, batch: dict) -> Any:
        return run.objective(forward(run), variables, batch, key(run, STEPS))[1]["stats"].observed

    return jax.eval_shape(stats, made, batch)


def _made(run: Run) -> TrainState:
    params, buffers = variables(network(run))
    params = with_objective(run, params)
    if seen := _observing(run):
        buffers = buffers | {OBSERVED: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), seen)}
    optimizer_state = run.optimizer.transformation(run.steps).init(params)
    return TrainState(params, buffers, optimizer_state, jnp.zeros((), jnp.int32))


def fresh(run: Run) -> TrainState:
    """The state before the first step, spread over the run's mesh."""
    if (where := shardings(run)) is None:
        return _made(run)
    # each device makes its own part alone
    return jax.jit(lambda: _made(run), out_shardings=where)()


@functools.cache
def outline(run: Run) -> TrainState:
    """The shape and dtype of each array of the state, wherever it lies; none is made."""
    return jax.eval_shape(lambda: _made(run))


def shapes(run: Run) -> TrainState:
    """The shape, dtype and place of each array of the state; none is made."""
    found = outline(run)
    if (where := shardings(run)) is None:
        where = jax.tree.map(lambda _: sharding.alone(), found)
    return jax.tree.map(lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), found, where)


def shardings(run: Run) -> TrainState | None:
    """Where each array of the state lies; None on one device. Raises ValueError where the mesh does not divide one."""
    axes = sharding.axes(run.mesh)
    return None if axes is None else placed(run, axes)


@functools.cache
def placed(run: Run, axes: Axes) -> TrainState:
    """Where each array of the state lies on such a mesh; raises ValueError where that does not divide one."""
    sharding.check_batch(axes, run.batch, run.accumulate)
    found = outline(run)
    params_at, buffers_at = (
        sharding.placed(axes, *each) for each in zip(_names(run), (found.params, found.buffers), strict=True)
    )
    optimizer_at = sharding.like_weights(found.optimizer_state, found.params, params_at, axes)
    return TrainState(params_at, buffers_at, optimizer_at, sharding.whole(axes))


@functools.cache
def _names(run: Run) -> tuple[dict, dict]:
    """The names of the axes of params and of buffers."""
    _, *kinds = nnx.split(nnx.eval_shape(lambda: network(run)), nnx.Param, Buffer)
    params, buffers = map(named, kinds)
    own = jax.eval_shape(lambda: with_objective(run, {}))
    seen = {OBSERVED: _observing(run)} if _observing(run) else {}
    own, seen = (jax.tree.map(lambda leaf: (None,) * leaf.ndim, tree) for tree in (own, seen))
    return params | own, buffers | seen


def forward(run: Run) -> Forward:
    """The model as `forward(variables, inputs, rng, layout)`: logits, the record of its layers, what else it knows."""
    graph, axes = _graph(run), sharding.axes(run.mesh)

    def apply(variables: Variables, inputs: Any, rng: Array | None = None, layout: Layout | None = None):
        return nnx.merge(graph, *of_model(variables))(inputs, layout=layout, rng=rng, axes=axes)

    return apply


def refreshed(run: Run) -> Callable[[Variables, Array, Array], dict]:
    """The model's buffers after one optimizer step, from the run's variables, a key and the step's number."""
    graph = _graph(run)

    def apply(variables: Variables, rng: Array, step: Int[Array, ""]) -> dict:
        model = nnx.merge(graph, *of_model(variables))
        return nnx.to_pure_dict(model.refreshed(variables.buffers.get(OBSERVED, {}), rng, step))

    return apply


@jax.jit
def finite(params: dict) -> Bool[Array, ""]:
    """Whether every number that is learned is one."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()


def _graph(run: Run) -> nnx.GraphDef:
    return nnx.graphdef(nnx.eval_shape(lambda: network(run)))
