"""One optimizer step as a pure function: refresh, loss, gradients, update."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jattn.part import Stats, Variables
from jattn.training import sharding, state
from jattn.training.run import Run
from jattn.training.state import TrainState


class Metrics(NamedTuple):
    """What one step shows: the loss and entropies in nats, entropies of the forward pass that made the loss."""

    loss: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    learning_rate: Float[Array, ""]
    entropy: Float[Array, "l h"] | None


class Pass(NamedTuple):
    """What a forward and a backward pass give."""

    loss: Float[Array, ""]
    entropy: Float[Array, "l h"] | None
    observed: dict
    gradients: dict


Step = Callable[[TrainState, dict[str, Int[Array, "b n"]]], tuple[TrainState, Metrics]]


def mean_entropy(stats: Stats) -> Float[Array, "l h"] | None:
    """The entropy of each head, averaged over the batch's rows that see a key; None where the engine has no weights."""
    if stats.entropy is None:
        return None
    return stats.entropy.astype(jnp.float32).mean((1, 2), where=stats.visible > 0)


def gradients(run: Run) -> Callable[[Variables, dict[str, Int[Array, "b n"]], Array], Pass]:
    """The pass of a run over one batch: at once, or over pieces of it one after another, which it averages."""
    forward = state.forward(run)

    def whole(variables: Variables, batch: dict[str, Int[Array, "b n"]], rng: Array) -> Pass:
        def loss_of(params):
            return run.objective(forward, variables._replace(params=params), batch, rng)

        (loss, terms), found = jax.value_and_grad(loss_of, has_aux=True)(variables.params)
        return Pass(loss, mean_entropy(terms["stats"]), terms["stats"].observed, found)

    def pieces(variables: Variables, batch: dict[str, Int[Array, "b n"]], rng: Array) -> Pass:
        count = run.accumulate
        # every count-th window: a batch that lies on several devices stays where it is
        cut = jax.tree.map(lambda x: x.reshape(x.shape[0] // count, count, *x.shape[1:]).swapaxes(0, 1), batch)

        def piece(total: dict, given: tuple[dict[str, Int[Array, "b n"]], Array]) -> tuple[dict, tuple]:
            *shown, found = whole(variables, *given)
            return jax.tree.map(jnp.add, total, found), tuple(shown)

        nothing = jax.tree.map(jnp.zeros_like, variables.params)
        total, shown = jax.lax.scan(piece, nothing, (cut, jax.random.split(rng, count)))
        loss, entropy = jax.tree.map(lambda x: x.mean(0), shown[:2])
        observed = jax.tree.map(lambda x: x.sum(0), shown[2])
        return Pass(loss, entropy, observed, jax.tree.map(lambda x: x / count, total))

    return whole if run.accumulate == 1 else pieces


def _places(run: Run) -> dict:
    """Where the arrays of a step lie, as options of its compilation: all that is shown is on every device."""
    if (axes := sharding.axes(run.mesh)) is None:
        return {}
    held, batch = state.shardings(run), axes.sharding("batch")
    return {"in_shardings": (held, batch), "out_shardings": (held, sharding.whole(axes))}


def training_step(run: Run) -> Step:
    """The compiled step of a run; it takes over the arrays of the state that it is given."""
    passed, refresh = gradients(run), state.refreshed(run)
    optimizer = run.optimizer.transformation(run.steps)
    learning_rate = run.optimizer.learning_rate(run.steps)

    @partial(jax.jit, donate_argnums=0, **_places(run))
    def step(before: TrainState, batch: dict[str, Int[Array, "b n"]]) -> tuple[TrainState, Metrics]:
        # keys come from the seed and the step's number alone, so that a run can go on from any state
        refresh_key, forward_key = jax.random.split(jax.random.fold_in(state.key(run, state.STEPS), before.step))
        buffers = refresh(Variables(before.params, before.buffers), refresh_key, before.step)

        loss, entropy, observed, found = passed(Variables(before.params, buffers), batch, forward_key)
        if state.OBSERVED in before.buffers:
            buffers = buffers | {state.OBSERVED: observed}
        updates, optimizer_state = optimizer.update(found, before.optimizer_state, before.params)
        params = optax.apply_updates(before.params, updates)
        metrics = Metrics(loss, optax.tree.norm(found), learning_rate(before.step), entropy)
        return TrainState(params, buffers, optimizer_state, before.step + 1), metrics

    return step
