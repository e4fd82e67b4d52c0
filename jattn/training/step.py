"""One optimizer step as a pure function: refresh, loss, gradients, update."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jattn.part import Stats, Variables
from jattn.training import state
from jattn.training.run import Run
from jattn.training.state import TrainState


class Metrics(NamedTuple):
    """What one step shows: the loss and entropies in nats, entropies of the forward pass that made the loss."""

    loss: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    learning_rate: Float[Array, ""]
    entropy: Float[Array, "l h"] | None


Step = Callable[[TrainState, dict[str, Int[Array, "b n"]]], tuple[TrainState, Metrics]]


def mean_entropy(stats: Stats) -> Float[Array, "l h"] | None:
    """The entropy of each head, averaged over the batch and its rows; None where the engine has no weights."""
    return None if stats.entropy is None else stats.entropy.astype(jnp.float32).mean((1, 2))


def training_step(run: Run) -> Step:
    """The compiled step of a run; it takes over the arrays of the state that it is given."""
    forward, refresh = state.forward(run), state.refreshed(run)
    optimizer = run.optimizer.transformation(run.steps)
    learning_rate = run.optimizer.learning_rate(run.steps)

    @partial(jax.jit, donate_argnums=0)
    def step(before: TrainState, batch: dict[str, Int[Array, "b n"]]) -> tuple[TrainState, Metrics]:
        # keys come from the seed and the step's number alone, so that a run can go on from any state
        refresh_key, forward_key = jax.random.split(jax.random.fold_in(state.key(run, state.STEPS), before.step))
        buffers = refresh(Variables(before.params, before.buffers), refresh_key, before.step)

        def loss_of(params):
            return run.objective(forward, Variables(params, buffers), batch, forward_key)

        (loss, terms), gradients = jax.value_and_grad(loss_of, has_aux=True)(before.params)
        updates, optimizer_state = optimizer.update(gradients, before.optimizer_state, before.params)
        params = optax.apply_updates(before.params, updates)
        metrics = Metrics(
            loss, optax.tree.norm(gradients), learning_rate(before.step), mean_entropy(terms["stats"])
        )
        return TrainState(params, buffers, optimizer_state, before.step + 1), metrics

    return step
