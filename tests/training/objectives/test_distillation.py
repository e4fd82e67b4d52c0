"""Distillation through a model: which distance, what trains, what is measured, and refusals."""

import dataclasses

import jax
import numpy as np
import pytest

from jattn.mechanisms.linear import LinearAttention
from jattn.mechanisms.mimicry import Mimicry
from jattn.models.decoder import DecoderConfig
from jattn.part import Variables
from jattn.parts.features.hedgehog import Hedgehog
from jattn.training import evaluate, state
from jattn.training.objectives.distillation import Distillation
from jattn.training.objectives.masked_tokens import MaskedTokens
from jattn.training.objectives.next_token import NextToken
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.step import training_step

SOFTMAX = DecoderConfig().attention
MODEL = DecoderConfig(
    width=16, depth=2, attention=Mimicry(SOFTMAX, LinearAttention(Hedgehog(), position=SOFTMAX.position))
)
RUN = Run(
    model=MODEL, objective=Distillation(), optimizer=AdamW(rate=0.03, decay=0.0), steps=4, batch=2, context=12
)  # fmt: skip
BATCH = {"tokens": np.random.default_rng(0).integers(0, 256, (2, 13))}


def started(run=RUN):
    held = state.fresh(run)
    # queries and keys large enough to have a shape to learn
    params = jax.tree_util.tree_map_with_path(
        lambda path, x: 4 * x if jax.tree_util.keystr(path)[-9:] in ("['query']", "']['key']") else x, held.params
    )
    return held._replace(params=params)


def test_the_loss_is_the_mean_over_layers_rows_and_heads():
    held = started()
    variables, forward = Variables(held.params, held.buffers), state.forward(RUN)
    weights = (1.0, 0.0), (0.0, 1000.0), (0.5, 2.0)

    @jax.jit
    def losses(variables):
        found = [Distillation(NextToken(), *each)(forward, variables, BATCH, None) for each in weights]
        return [loss for loss, _ in found], found[0][1]["stats"]

    found, stats = losses(variables)
    # two layers, examples and heads of 12 rows
    assert stats.observed["rows"].sum() == 2 * 2 * 2 * 12
    means = {name: float(x.sum()) / (2 * 2 * 2 * 12) for name, x in stats.observed.items()}
    assert min(means.values()) > 0 and stats.entropy.shape == (2, 2, 12, 2)
    for loss, (one, other) in zip(found, weights, strict=True):
        assert float(loss) == pytest.approx(one * means["cross_entropy"] + other * means["squared_error"], rel=1e-5)


def test_only_the_maps_train_and_the_loss_falls():
    before, losses = started(), []
    first = jax.tree.map(np.array, before.params)
    step = training_step(RUN)
    for _ in range(4):
        before, metrics = step(before, BATCH)
        losses.append(float(metrics.loss))
    assert losses[-1] < losses[0]
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), first, before.params)
    names = {jax.tree_util.keystr(path): each for path, each in jax.tree_util.tree_leaves_with_path(moved)}
    assert {name for name, each in names.items() if each} == {name for name in names if "'student'" in name}
    assert sum(names.values()) == 2


@pytest.mark.slow
def test_examples_that_fill_a_batch_are_not_measured():
    held = started()
    score = evaluate.scorer(RUN)
    variables = Variables(held.params, held.buffers)
    scored = np.ones((2, 12), np.float32)
    # the first example is scored in part, and still one of two
    scored[0, :5] = 0
    batch = BATCH | {"scored": scored, "number": np.arange(2, dtype=np.uint32)}
    sums, count = score(variables, batch)
    loss, _ = jax.jit(lambda variables: RUN.objective(state.forward(RUN), variables, BATCH, None))(variables)
    assert count == 2 and float(sums["loss"]) / 2 == pytest.approx(float(loss), rel=1e-5)
    scored[1] = 0
    alone, count = score(variables, batch | {"scored": scored})
    assert count == 1 and 0 < alone["loss"] < sums["loss"]


def test_refusals():
    with pytest.raises(ValueError, match="weigh one distance above 0, got 0 and 0"):
        Distillation(weights=0.0)
    with pytest.raises(ValueError, match="Distillation.outputs must"):
        Distillation(outputs=-1.0)
    plain = dataclasses.replace(RUN, model=dataclasses.replace(MODEL, attention=SOFTMAX))
    held = jax.eval_shape(lambda: state.fresh(plain))
    with pytest.raises(ValueError, match="needs a model whose attention is Mimicry, got one that observes no distance"):
        jax.eval_shape(
            lambda held: RUN.objective(state.forward(plain), Variables(held.params, held.buffers), BATCH, None)[0], held
        )
    assert not Distillation(inner=MaskedTokens()).mean and Distillation().mean
