"""Tests that a step is a pure function of seed and number, compiled once, and shows its own forward pass."""

import chex
import jax
import numpy as np
import optax
import pytest

from jattn.mechanisms.linear import LinearAttention
from jattn.models.decoder import DecoderConfig
from jattn.part import Variables, part
from jattn.parts.features.favor import Favor
from jattn.parts.features.log_normal import LogNormal
from jattn.parts.features.projections import Projection
from jattn.training import state
from jattn.training.objectives.next_token import NextToken
from jattn.training.optimizers import Optimizer
from jattn.training.optimizers.adamw import AdamW
from jattn.training.run import Run
from jattn.training.step import training_step
from tests.support import largest_intermediate

TINY = Run(model=DecoderConfig(width=8, depth=2), optimizer=AdamW(), steps=4, batch=3, context=5)


def batch_of(number, run=TINY):
    tokens = np.random.default_rng(number).integers(0, 256, (run.batch, run.context + 1))
    return {"tokens": tokens.astype(np.int32)}


def trained(run, step=None, steps=3):
    step, reached, shown = step or training_step(run), state.fresh(run), []
    for number in range(steps):
        reached, metrics = step(reached, batch_of(number, run))
        shown.append(jax.device_get(metrics))
    return jax.device_get(reached), shown


@chex.assert_max_traces(1)
def once(tokens):
    return tokens


@part
class Once(NextToken):
    """Counts how often it is traced."""

    def __call__(self, forward, variables, batch, rng):
        return super().__call__(forward, variables, {"tokens": once(batch["tokens"])}, rng)


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    run = Run(**{**vars(TINY), "objective": Once()})
    step = training_step(run)
    one, two = trained(run, step), trained(run, step)
    chex.assert_trees_all_equal(one, two)
    other = state.fresh(Run(**{**vars(TINY), "seed": 1}))
    mine = state.fresh(TINY)
    assert np.any(mine.params["embedding"]["table"] != other.params["embedding"]["table"])


def test_metrics_are_those_of_the_forward_pass_before_the_update():
    reached, (shown, *_) = trained(TINY, steps=1)
    began, batch = state.fresh(TINY), batch_of(0)
    forward = state.forward(TINY)

    def loss(params):
        return NextToken()(forward, Variables(params, began.buffers), batch, None)

    (expected, terms), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(began.params)
    np.testing.assert_allclose(shown.loss, expected, rtol=1e-6)
    # a fresh head gives every byte the same odds
    np.testing.assert_allclose(shown.loss, np.log(256), rtol=1e-6)
    np.testing.assert_allclose(shown.gradient_norm, optax.tree.norm(gradients), rtol=1e-5)
    np.testing.assert_allclose(shown.entropy, np.mean(terms["stats"].entropy, (1, 2)), rtol=1e-5)
    assert shown.entropy.shape == (2, 2) and reached.step == 1
    assert shown.learning_rate == np.float32(AdamW().learning_rate(4)(0))


def test_bfloat16_keeps_the_params_in_float32():
    run = Run(**{**vars(TINY), "dtype": "bfloat16"})
    reached, shown = trained(run, steps=2)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(reached.params))
    assert all(np.isfinite(metrics.loss) for metrics in shown)


def test_memory_of_the_gradient_is_linear_in_the_context():
    # one head and one window, so that an array of all pairs would have context^2 elements
    def largest(context):
        run = Run(model=DecoderConfig(width=8, depth=2, heads=1, vocabulary=256), steps=1, batch=1, context=context)
        forward, began = state.forward(run), jax.eval_shape(lambda: state.fresh(run))
        batch = {"tokens": jax.ShapeDtypeStruct((1, context + 1), np.int32)}

        def loss(params, batch):
            return run.objective(forward, Variables(params, {}), batch, None)

        return largest_intermediate(jax.grad(loss, has_aux=True), began.params, batch)

    assert largest(1009) < 1009**2
    # from 2048 on tiles grow no more
    assert largest(8072) <= 2.1 * largest(4036)


@part
class Descent(Optimizer):
    """A tenth of the gradient: linear in it, so that its rounding stays rounding."""

    def transformation(self, steps):
        return optax.sgd(0.1)

    def learning_rate(self, steps):
        return lambda step: 0.1


def test_pieces_of_a_batch_give_the_step_of_the_whole():
    fields = {**vars(TINY), "optimizer": Descent(), "batch": 8}
    (whole, of_whole), (cut, of_cut) = (trained(Run(**{**fields, "accumulate": n})) for n in (1, 4))
    tokens, rounding = 8 * 5, np.finfo(np.float32).eps
    # a gradient sums so many tokens in another order, each sum off by that many units of its size at most; then the
    # params are rounded
    norm = max(metrics.gradient_norm for metrics in of_whole)
    for one, other in zip(jax.tree.leaves(whole.params), jax.tree.leaves(cut.params), strict=True):
        bound = 3 * (0.1 * norm * tokens * rounding + np.abs(one).max() * rounding)
        np.testing.assert_allclose(other, one, rtol=0, atol=bound)
    for one, other in zip(of_whole, of_cut, strict=True):
        np.testing.assert_allclose(other.loss, one.loss, rtol=tokens * rounding)
        np.testing.assert_allclose(other.gradient_norm, one.gradient_norm, rtol=tokens * rounding)
        np.testing.assert_allclose(other.entropy, one.entropy, rtol=tokens * rounding, atol=tokens * rounding)


def test_pieces_take_less_memory():
    def temporaries(accumulate):
        model = DecoderConfig(width=8, depth=1, heads=1)
        run = Run(model=model, optimizer=Descent(), batch=64, context=7, accumulate=accumulate)
        compiled = training_step(run).lower(jax.eval_shape(lambda: state.fresh(run)), batch_of(0, run)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    # a quarter of the activations, and once more the gradients
    assert temporaries(4) < temporaries(1) / 2


def test_each_piece_of_each_step_has_a_key_of_its_own():
    seen = []

    @part
    class Telling(NextToken):
        """Notes its keys."""

        def __call__(self, forward, variables, batch, rng):
            jax.debug.callback(lambda key: seen.append(tuple(np.asarray(key))), jax.random.key_data(rng))
            return super().__call__(forward, variables, batch, rng)

    trained(Run(**{**vars(TINY), "objective": Telling(), "accumulate": 3}), steps=2)
    jax.effects_barrier()
    assert len(seen) == len(set(seen)) == 6


@pytest.mark.slow
def test_random_directions_change_when_they_are_due_and_alike_after_a_resume():
    drawn = LinearAttention(Favor(Projection(6, redraw=3)))
    run = Run(**{**vars(TINY), "model": DecoderConfig(width=8, depth=2, attention=drawn)})
    step, reached = training_step(run), state.fresh(run)

    def directions(reached):
        (matrices,) = jax.tree.leaves(reached.buffers)
        return np.asarray(matrices)

    before, changed, saved = directions(reached), [], None
    assert before.shape == (2, 6, 4) and (before[0] != before[1]).any()
    for number in range(10):
        if number == 5:
            saved = jax.device_get(reached)
        reached, metrics = step(reached, batch_of(number, run))
        after = directions(reached)
        if (after != before).any():
            changed.append(number)
            assert (after != before).all() and (after[0] != after[1]).all()
        before = after
        assert np.isfinite(metrics.loss)
    assert changed == [3, 6, 9]
    resumed = jax.tree.map(jax.numpy.asarray, saved)
    for number in range(5, 10):
        resumed, _ = step(resumed, batch_of(number, run))
    np.testing.assert_array_equal(directions(resumed), before)


def test_what_parts_observe_renews_their_buffers_one_step_later():
    model = DecoderConfig(width=8, depth=1, attention=LinearAttention(LogNormal(momentum=0.5)))
    run = Run(**{**vars(TINY), "model": model, "accumulate": 3})
    step, reached = training_step(run), state.fresh(run)

    def kept(reached):
        (feature,) = (each["mixer"]["attending"]["feature"] for each in reached.buffers["stack"]["repeat"].values())
        return np.stack([feature["query_deviation"], feature["key_deviation"]], 1)

    def seen(reached):
        found = reached.buffers[state.OBSERVED]["feature"]
        return np.stack([found["query"], found["key"]], 1)

    assert (kept(reached) == 1).all() and not seen(reached).any()
    one, _ = step(jax.tree.map(np.asarray, reached), batch_of(0, run))
    # the first step has seen nothing before it; batch * context * width numbers of all three pieces
    assert (kept(one) == 1).all() and (seen(one)[..., 0] == 3 * 5 * 8).all()
    count, total, squares = np.moveaxis(seen(one), -1, 0)
    two, _ = step(jax.tree.map(np.asarray, one), batch_of(1, run))
    variance = squares / count - (total / count) ** 2
    np.testing.assert_allclose(kept(two), np.sqrt(0.5 + 0.5 * variance), rtol=1e-5)


def test_batch_norms_keep_averages_of_all_pieces_of_a_step():
    run = Run(**{**vars(TINY), "model": DecoderConfig(width=8, depth=1, norm="batch"), "accumulate": 3})
    step, reached = training_step(run), state.fresh(run)
    one, _ = step(reached, batch_of(0, run))
    seen = jax.tree.map(np.array, one.buffers[state.OBSERVED])
    assert seen["last"]["norm"]["count"] == 3 * 5 and one.buffers["norm"]["steps"] == 0
    two, _ = step(one, batch_of(1, run))
    (block,) = two.buffers["stack"]["repeat"].values()
    for held, found in (
        (two.buffers["norm"], seen["last"]["norm"]),
        (block["before_mixer"], seen["norms"]["before_mixer"]),
        (block["before_feedforward"], seen["norms"]["before_feedforward"]),
    ):
        assert (held["steps"] == 1).all()
        mean = found["total"] / 15
        np.testing.assert_allclose(held["mean"], mean, rtol=1e-6)
        np.testing.assert_allclose(held["variance"], (found["squares"] - 15 * mean**2) / 14, rtol=1e-4)
        assert held["variance"].min() > 0
