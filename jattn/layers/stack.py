"""Blocks in a row: some first, a pattern that repeats, some last; the repeats are one stacked set of weights."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jattn.engines.tiles import platform
from jattn.layers.buffers import Buffer
from jattn.layers.flow import Flow, Places, for_layer

Make = Callable[[nnx.Rngs], nnx.Module]
Remat = Literal["none", "block"]

# repeats side by side take seconds each to compile: on CPU more than these go through a loop
MANY = 16


class Stack(nnx.Module):
    """`first`, then `repeat` `depth` times over, then `last`; each entry makes one block from `nnx.Rngs`.

    `remat="block"` recomputes each block in the backward pass. `layers_at_once` is how many repeats are compiled side
    by side; None is all of them on CPU unless there are many, since a loop costs time there, and 1 elsewhere.
    """

    def __init__(
        self,
        first: tuple[Make, ...] = (),
        repeat: tuple[Make, ...] = (),
        last: tuple[Make, ...] = (),
        *,
        depth: int = 1,
        remat: Remat = "none",
        layers_at_once: int | None = None,
        rngs: nnx.Rngs,
    ):
        if depth < 1:
            raise ValueError(f"Stack.depth must be at least 1, got {depth}; it counts how often `repeat` is repeated.")
        if remat not in ("none", "block"):
            raise ValueError(f"Stack.remat must be 'none' or 'block', got {remat!r}; 'none' recomputes nothing.")
        if layers_at_once is not None and layers_at_once < 1:
            raise ValueError(f"Stack.layers_at_once must be at least 1, got {layers_at_once}; None chooses by device.")
        self.depth = depth
        self.remat = remat
        self.layers_at_once = layers_at_once
        self.first = nnx.List([make(rngs) for make in first])
        self.repeat = nnx.List([_stacked(make, depth, rngs) for make in repeat])
        self.last = nnx.List([make(rngs) for make in last])

    def __call__(self, x: Float[Array, "*b t m"], flow: Flow) -> tuple[Float[Array, "*b t m"], Flow, Places]:
        """A `flow.state` is `Places` of the blocks' states, as `state` makes them; the records come back likewise."""
        given = flow.state
        states = given or Places((None,) * len(self.first), (None,) * len(self.repeat), (None,) * len(self.last))
        period = len(self.repeat)
        x, shared, first = self._row(self.first, x, flow, states.first, 0)
        flow = flow._replace(shared=shared)
        x, shared, repeat = self._repeats(x, flow, states.repeat, len(self.first))
        flow = flow._replace(shared=shared)
        x, shared, last = self._row(self.last, x, flow, states.last, len(self.first) + period * self.depth)
        records = Places(*(tuple(record for record, _ in found) for found in (first, repeat, last)))
        states = Places(*(tuple(state for _, state in found) for found in (first, repeat, last)))
        return x, flow._replace(shared=shared, state=None if given is None else states), records

    def state(self, batch: int, length: int, dtype: DTypeLike) -> Places:
        """The blocks' empty decoding states: leading axis b, and in front of it l for those that repeat."""

        def one(block):
            return block.state(batch, length, dtype)

        repeat = tuple(_by_layer(one, block) for block in self.repeat)
        return Places(tuple(map(one, self.first)), repeat, tuple(map(one, self.last)))

    def refresh(self, observed: Places, rng: Array, step: Int[Array, ""]) -> None:
        """Renews every block's buffers from what its parts observed, placed as in the records, with a key a layer."""
        number = 0
        for block, seen in zip(self.first, observed.first, strict=True):
            block.refresh(seen, jax.random.fold_in(rng, number), step)
            number += 1
        for place, (block, seen) in enumerate(zip(self.repeat, observed.repeat, strict=True)):
            layers = number + place + len(self.repeat) * jnp.arange(self.depth)
            _refresh_stacked(block, seen, jax.vmap(jax.random.fold_in, (None, 0))(rng, layers), step)
        number += len(self.repeat) * self.depth
        for block, seen in zip(self.last, observed.last, strict=True):
            block.refresh(seen, jax.random.fold_in(rng, number), step)
            number += 1

    def _row(self, blocks: Any, x: Array, flow: Flow, states: tuple, number: Any) -> tuple:
        """Some blocks one after the other: what `_layer` gives, the records and states in a tuple."""
        found = []
        for place, (block, state) in enumerate(zip(blocks, states, strict=True)):
            x, shared, *rest = self._layer(block, x, flow, state, number + place)
            flow = flow._replace(shared=shared)
            found.append(tuple(rest))
        return x, flow.shared, tuple(found)

    def _layer(self, block: nnx.Module, x: Array, flow: Flow, state: Any, number: Any) -> tuple:
        graphdef, weights = nnx.split(block)

        def run(weights, x, shared, state):
            here = flow._replace(
                layout=flow.layout._replace(layer=number), shared=shared, state=state, rng=for_layer(flow.rng, number)
            )
            x, after, record = nnx.merge(graphdef, weights)(x, here)
            return x, after.shared, record, after.state

        run = jax.checkpoint(run) if self.remat == "block" else run
        return run(weights, x, flow.shared, state)

    def _repeats(self, x: Array, flow: Flow, states: tuple, number: int) -> tuple:
        if not self.repeat:
            return x, flow.shared, ()
        split = [nnx.split(block) for block in self.repeat]
        stacked = ([weights for _, weights in split], states)

        def period(carry, layer):
            (weights, states), turn = layer
            blocks = [nnx.merge(graphdef, own) for (graphdef, _), own in zip(split, weights, strict=True)]
            x, shared, found = self._row(
                blocks, carry[0], flow._replace(shared=carry[1]), states, number + turn * len(blocks)
            )
            return (x, shared), found

        at_once = self.layers_at_once or (self.depth if platform() == "cpu" and self.depth <= MANY else 1)
        if at_once < self.depth:
            (x, shared), found = lax.scan(period, (x, flow.shared), (stacked, jnp.arange(self.depth)), unroll=at_once)
            return x, shared, found
        # a plain loop, since a scan would pack what the gradient needs of all layers into one array and cut it again
        carry, found = (x, flow.shared), []
        for turn, layer in enumerate(_unstack(stacked, self.depth)):
            carry, one = period(carry, (layer, turn))
            found.append(one)
        return *carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)


def _stacked(make: Make, depth: int, rngs: nnx.Rngs) -> nnx.Module:
    """One block whose arrays have a leading layer axis, each layer made with its own key."""
    keys = jax.random.split(rngs.params(), depth)
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: make(nnx.Rngs(0))))
    # compiled as one: operation by operation, fresh weights would take seconds
    return nnx.merge(graphdef, jax.jit(jax.vmap(lambda key: nnx.state(make(nnx.Rngs(key)))))(keys))


def _unstack(stacked: Any, depth: int) -> list:
    leaves, tree = jax.tree.flatten(stacked)
    # the gradient of a split is one concatenation; that of indexing is a padded array for each layer
    rows = [[jnp.squeeze(row, 0) for row in lax.split(leaf, (1,) * depth)] for leaf in leaves]
    return [jax.tree.unflatten(tree, layer) for layer in zip(*rows, strict=True)]


def _by_layer(one: Callable, block: nnx.Module) -> Any:
    graphdef, weights = nnx.split(block)
    return jax.vmap(lambda weights: one(nnx.merge(graphdef, weights)))(weights)


def _refresh_stacked(block: nnx.Module, observed: dict, keys: Array, step: Array) -> None:
    graphdef, params, buffers = nnx.split(block, nnx.Param, Buffer)
    if not jax.tree.leaves(buffers):
        return

    def one(params, buffers, observed, key):
        layer = nnx.merge(graphdef, params, buffers)
        layer.refresh(observed, key, step)
        return nnx.state(layer, Buffer)

    nnx.update(block, jax.vmap(one)(params, buffers, observed, keys))
