"""Bytes that the forward pass of a step keeps on each device for its gradient, of that pass compiled alone."""

import contextlib
import math

import jax

from jattn.part import Variables
from jattn.training import sharding, state
from jattn.training.run import Run


def saved(run: Run) -> int:
    """Beside params, buffers and examples; of one piece, where the run cuts its batch into several.

    Nothing runs. The compiler decides which device keeps which part, as it does in the whole step.
    """
    forward, axes, shapes = state.forward(run), sharding.axes(run.mesh), state.shapes(run)

    def kept(params: dict, buffers: dict, batch: dict, rng: jax.Array) -> list[jax.Array]:
        def loss_of(params: dict):
            return run.objective(forward, Variables(params, buffers), batch, rng)

        return jax.tree.leaves(jax.vjp(loss_of, params, has_aux=True)[1])

    piece = batch(run, run.batch // run.accumulate)
    with jax.set_mesh(axes.mesh) if axes else contextlib.nullcontext():
        traced = jax.jit(kept).trace(shapes.params, shapes.buffers, piece, jax.eval_shape(jax.random.key, 0))
        places = traced.lower().compile().output_shardings
    # weights that the gradient reads as they are take no more room
    given = {id(x) for x in traced.jaxpr.jaxpr.invars}
    own = [id(x) not in given for x in traced.jaxpr.jaxpr.outvars]
    found = zip(own, traced.out_info, places, strict=True)
    return sum(math.prod(place.shard_shape(x.shape)) * x.dtype.itemsize for mine, x, place in found if mine)


def batch(run: Run, examples: int) -> dict[str, jax.ShapeDtypeStruct]:
    """So many examples of the run's source, as they lie on its mesh; none is read."""
    axes = sharding.axes(run.mesh)
    place = axes.sharding("batch") if axes else sharding.alone()
    shapes = {name: ((examples, *each.shape), each.dtype) for name, each in run.source.outline(run.context).items()}
    return {name: jax.ShapeDtypeStruct(*each, sharding=place) for name, each in shapes.items()}
