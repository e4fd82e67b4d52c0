"""Tests optax's optimizers by name: every one builds or is refused with its reason, and some train."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn import catalogue
from jattn.cli import options
from jattn.models.decoder import DecoderConfig
from jattn.training import state
from jattn.training.optimizers import muon, named
from jattn.training.optimizers.named import Optax
from jattn.training.run import Run
from jattn.training.step import training_step

# what asks at each step for the loss or a function of it, and what has arguments without defaults
ASK_FOR_MORE = {"lbfgs": "value_fn", "momo": "value", "momo_adam": "value", "sophia": "obj_fn"}
LACK_ARGUMENTS = {"dpsgd": "noise_multiplier", "schedule_free": "base_optimizer"}
PARAMS = {"head": {"table": jnp.arange(6.0).reshape(2, 3)}, "gain": jnp.ones(4)}


@pytest.mark.filterwarnings("ignore:Specifying a key:UserWarning")
@pytest.mark.parametrize("method", sorted(named.methods().keys() - ASK_FOR_MORE - LACK_ARGUMENTS.keys()))
def test_every_optimizer_of_optax_updates_each_array_and_shares_none(method):
    transformation = Optax(method).transformation(10)
    began = transformation.init(PARAMS)
    updates, after = jax.eval_shape(transformation.update, PARAMS, began, PARAMS)
    assert jax.tree.map(jnp.shape, updates) == jax.tree.map(jnp.shape, PARAMS)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, began)
    # a training step takes over params and state: an array in both could not be given twice
    places = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves((PARAMS, began)) if leaf.size]
    assert len(places) == len(set(places))


def test_the_list_holds_what_papers_compare():
    assert {"sgd", "adam", "adamw", "lars", "lamb", "lion", "muon", "adafactor", "prodigy"} <= set(named.methods())
    assert not [name for name in named.methods() if name.startswith(("scale", "_"))]


@pytest.mark.parametrize("method", ASK_FOR_MORE)
def test_what_needs_more_than_gradients_is_refused(method):
    with pytest.raises(ValueError, match="updates of gradients and params alone, got .*" + ASK_FOR_MORE[method]):
        Optax(method)


@pytest.mark.parametrize("method", LACK_ARGUMENTS)
def test_what_lacks_arguments_is_refused(method):
    with pytest.raises(ValueError, match=f"has no default for, got none of .*{LACK_ARGUMENTS[method]}"):
        Optax(method)


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"method": "sdg"}, "must be an optimizer of optax, got 'sdg'; did you mean sgd"),
        ({"method": "os.system"}, "must be an optimizer of optax, got 'os.system'"),
        ({"method": "scale_by_adam"}, "must be an optimizer of optax"),
        ({"arguments": ("momentun=0.9",)}, "must be those of optax's sgd, got 'momentun'; did you mean momentum"),
        ({"arguments": ("momentum",)}, "must be words name=value"),
        ({"arguments": ("momentum=__import__('os')",)}, "each value in JSON"),
        ({"arguments": ("momentum=0.9", "momentum=0.8")}, "each name once"),
        ({"arguments": ('momentum="much"',)}, "choose another or correct its arguments"),
        ({"arguments": ("learning_rate=1",)}, "set Optax.rate"),
        ({"rate": 0}, "Optax.rate must be a finite number above 0"),
        ({"clip": -1}, "Optax.clip must be a finite number above 0"),
        ({"warm_up": 2}, "Optax.warm_up must lie between"),
    ],
)
def test_unknown_names_and_unfit_values_are_refused(fields, words):
    with pytest.raises(ValueError) as refused:
        Optax(**fields)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_values_are_json():
    words = ("a=0.9", "b=true", "c=[0.9, 0.999]", 'd="bfloat16"', "e=null")
    assert named.values(words) == {"a": 0.9, "b": True, "c": (0.9, 0.999), "d": "bfloat16", "e": None}


def test_momentum_equals_the_formula():
    optimizer = Optax("sgd", ("momentum=0.9",), rate=0.2, warm_up=0.5, final=0.1, clip=2.0)
    transformation = optimizer.transformation(4)
    # up over two steps, then half a cosine down to a tenth
    rates = [0.1, 0.2, 0.2 * (0.1 + 0.9 * 0.5), 0.02]
    np.testing.assert_allclose([optimizer.learning_rate(4)(n) for n in range(4)], rates, rtol=1e-6)
    params, reached = jnp.array([1.0, -2.0, 0.5]), np.array([1.0, -2.0, 0.5])
    kept, mean = transformation.init(params), np.zeros(3)
    for number, rate in enumerate(rates):
        gradient = np.array([3.0, -4.0, 0.0]) / (number + 1)
        updates, kept = transformation.update(jnp.asarray(gradient, jnp.float32), kept, params)
        params = params + updates
        mean = 0.9 * mean + gradient * min(1.0, 2.0 / np.linalg.norm(gradient))
        reached = reached - rate * mean
        # four sums of float32 numbers of size 1
        np.testing.assert_allclose(params, reached, rtol=0, atol=1e-6)


def test_muon_makes_stacked_matrices_orthogonal_layer_by_layer():
    gradient = {"stack": {"repeat": {0: {"feedforward": {"up": jax.random.normal(jax.random.key(0), (2, 3, 5))}}}}}
    theirs = Optax("muon", rate=1.0, warm_up=0.0, clip=1e3).transformation(10)
    ours = muon.scale_by_muon(0.95, 5)
    update, _ = theirs.update(gradient, theirs.init(gradient), gradient)
    expected, _ = ours.update(gradient, ours.init(gradient))
    # five rounds of products in float32, in another order
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, -b, atol=2e-5), update, expected)


@pytest.mark.parametrize(
    "optimizer",
    [
        Optax("sgd", ("momentum=0.9",), rate=0.3),
        Optax("lars", ("momentum=0.9", "weight_decay=0.0001"), rate=10.0),
        Optax("muon", rate=0.02),
    ],
    ids=lambda optimizer: optimizer.method,
)
def test_a_tiny_model_learns(optimizer):
    run = Run(DecoderConfig(width=8, depth=1, heads=1), optimizer=optimizer, steps=20, batch=2, context=6)
    step, reached, losses = training_step(run), state.fresh(run), []
    tokens = np.random.default_rng(0).integers(0, 4, (2, 7)).astype(np.int32)
    for _ in range(run.steps):
        reached, shown = step(reached, {"tokens": tokens})
        losses.append(float(shown.loss))
    # four symbols of 256 in use: knowing that alone takes log 256 to log 4
    assert losses[-1] < losses[0] - 1
    assert float(shown.learning_rate) == np.float32(optimizer.learning_rate(20)(19))


def test_the_command_line_and_the_file_choose_it():
    line = "--optimizer optax --optimizer.method lars --optimizer.arguments momentum=0.9 weight_decay=0.0001"
    run = options.build(Run(), options.given(line.split()))
    assert run.optimizer == Optax("lars", ("momentum=0.9", "weight_decay=0.0001"))
    assert Run.from_json(run.to_json(), catalogue.find) == run
