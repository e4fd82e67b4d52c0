"""Loss and gradients of one text as training makes them, to be compiled and timed at any length."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jattn.benchmarks import turns
from jattn.models.decoder import DecoderConfig
from jattn.training import state
from jattn.training.run import Run
from jattn.training.step import gradients


def passes(model: DecoderConfig, length: int, dtype: str = "float32") -> tuple[Callable, tuple]:
    """Loss and gradients of one text of that length, and the shapes of what they are of."""
    run = Run(model=model, batch=1, context=length, dtype=dtype)
    whole, held = gradients(run), state.outline(run)

    def both(variables, tokens):
        found = whole(variables, {"tokens": tokens}, jax.random.key(0))
        return found.loss, found.gradients

    given = state.Variables(held.params, held.buffers), jax.ShapeDtypeStruct((1, length + 1), jnp.int32)
    return both, given


def turn(model: DecoderConfig, length: int) -> turns.Turn:
    """The same for fresh weights and random tokens, compiled."""
    call, given = passes(model, length)
    made, _ = turns.compiled(call, *given)
    begun = state.fresh(Run(model=model, batch=1, context=length))
    tokens = jax.random.randint(jax.random.key(1), (1, length + 1), 0, model.vocabulary)
    return lambda: jax.block_until_ready(made(state.Variables(begun.params, begun.buffers), tokens))
