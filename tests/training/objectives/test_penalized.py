"""A penalty beside a loss: both add, and what it learns moves in training, apart from the model."""

import dataclasses

import jax
import numpy as np
import pytest

from jattn.models.decoder import DecoderConfig
from jattn.part import Variables
from jattn.parts.scores.temperature import Temperature
from jattn.training import state
from jattn.training.objectives import LEARNED
from jattn.training.objectives.next_token import NextToken
from jattn.training.objectives.penalized import Penalized
from jattn.training.penalties.entropy_band import EntropyBand
from jattn.training.presets import preset
from jattn.training.run import Run
from jattn.training.step import gradients, training_step
from tests.support import largest_intermediate

RUN = Run(
    model=DecoderConfig(width=16, depth=2), steps=4, batch=2, context=12,
    objective=Penalized(penalty=EntropyBand(weight=0.1, tolerance=0.0)),
)  # fmt: skip
BATCH = {"tokens": np.random.default_rng(0).integers(0, 256, (2, 13))}


def test_losses_add_and_gradients_reach_shares_and_weights():
    held = state.fresh(RUN)
    variables = Variables(held.params, held.buffers)
    assert held.params[LEARNED]["penalty"]["threshold"].shape == (2, 2)

    def loss(params, objective):
        return objective(state.forward(RUN), variables._replace(params=params), BATCH, None)

    (whole, terms), found = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)(
        held.params, RUN.objective
    )
    alone, _ = jax.jit(loss, static_argnums=1)(held.params, NextToken())
    np.testing.assert_allclose(whole, alone + terms["penalty"], rtol=1e-6)
    assert terms["penalty"] > 0 and np.abs(found[LEARNED]["penalty"]["threshold"]).min() > 0


def test_inside_the_band_the_gradient_of_the_penalty_is_0():
    # from half the ceiling, every entropy is nearer than 0.6 of it
    run = dataclasses.replace(RUN, objective=Penalized(penalty=EntropyBand(weight=0.1, tolerance=0.6)))
    held = state.fresh(run)

    def penalty(params):
        return run.objective(state.forward(run), Variables(params, held.buffers), BATCH, None)[1]["penalty"]

    for leaf in jax.tree.leaves(jax.grad(penalty)(held.params)):
        np.testing.assert_array_equal(leaf, 0)


@pytest.mark.parametrize("reduction", ["sum_queries", "head_mean"])
def test_the_gradient_of_a_step_holds_no_array_of_all_pairs(reduction):
    # one head and one window, so that an array of all pairs would have 1009^2 elements
    tokens = 1009

    def largest(implementation):
        guided = preset("EReg(SM(t)+ScFuFFN)")
        attention = dataclasses.replace(
            guided.model.attention, score=Temperature(length=tokens), implementation=implementation
        )
        model = dataclasses.replace(guided.model, width=8, depth=2, heads=1, attention=attention)
        objective = Penalized(penalty=EntropyBand(reduction=reduction))
        run = dataclasses.replace(guided, model=model, objective=objective, batch=1, context=tokens)
        held = jax.eval_shape(lambda: state.fresh(run))
        batch = {"tokens": jax.ShapeDtypeStruct((1, tokens + 1), np.int32)}
        key = jax.eval_shape(lambda: jax.random.key(0))
        return largest_intermediate(gradients(run), Variables(held.params, held.buffers), batch, key)

    assert largest("tiled") < tokens**2 <= largest("dense")


def test_a_step_moves_the_shares():
    before = state.fresh(RUN)
    shares = np.asarray(before.params[LEARNED]["penalty"]["threshold"])
    after, metrics = training_step(RUN)(before, BATCH)
    assert np.isfinite(metrics.loss) and (after.params[LEARNED]["penalty"]["threshold"] != shares).all()


def test_the_model_is_that_of_the_run_without_it():
    plain = state.fresh(dataclasses.replace(RUN, objective=NextToken()))
    held = state.of_model(Variables(*state.fresh(RUN)[:2]))
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), held.params, plain.params))


def test_a_sum_over_the_batch_is_not_cut_into_pieces():
    with pytest.raises(ValueError, match="accumulate must be 1 where the objective is no mean over the batch, got 2"):
        dataclasses.replace(RUN, accumulate=2)
