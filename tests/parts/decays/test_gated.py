"""Gated linear attention against the recurrence of its paper, one token at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jattn
from jattn.decays import Gated
from jattn.features import Identity
from jattn.part import Dims, part
from jattn.parts.features import Feature

TOKENS, HEADS, WIDTH, VALUES, MODEL = 21, 2, 3, 4, 6
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(TOKENS, MODEL)).astype(np.float32)
QUERY, KEY = jnp.asarray(RANDOM.normal(size=(2, TOKENS, HEADS, WIDTH)), jnp.float32)
VALUE = jnp.asarray(RANDOM.normal(size=(TOKENS, HEADS, VALUES)), jnp.float32)
ATTENTION = jattn.LinearAttention(feature=Identity(), decay=Gated(rank=2, temperature=4.0))
VARIABLES = ATTENTION.init(jax.random.key(1), Dims(HEADS, HEADS, HEADS, WIDTH, VALUES, model_width=MODEL))


@jax.jit
def ours(variables, x):
    own = ATTENTION.own(variables)
    layout = jattn.Layout(extra=ATTENTION.project(own, jnp.asarray(x)))
    return jattn.attend(QUERY, KEY, VALUE, ATTENTION, variables=variables, layout=layout).out


def recurrence(variables, x):
    """S = diag(alpha) S + k v, o = q S / sqrt(d), in float64."""
    own = {name: np.asarray(each, np.float64) for name, each in variables.params["decay"].items()}
    alpha = 1 / (1 + np.exp(-(np.einsum("nr,rhf->nhf", x @ own["down"], own["up"]) + own["bias"]))) ** (1 / 4)
    query, key, value = (np.asarray(each, np.float64) for each in (QUERY, KEY, VALUE))
    out = np.zeros((TOKENS, HEADS, VALUES))
    for head in range(HEADS):
        state = np.zeros((WIDTH, VALUES))
        for n in range(TOKENS):
            state = alpha[n, head, :, None] * state + np.outer(key[n, head], value[n, head])
            out[n, head] = query[n, head] @ state / np.sqrt(WIDTH)
    return out


def test_it_is_the_papers_recurrence():
    # float32 sums of some twenty products of order 1
    np.testing.assert_allclose(ours(VARIABLES, X), recurrence(VARIABLES, X.astype(np.float64)), atol=1e-5)


def test_gradients_are_those_of_finite_differences():
    slopes = jax.grad(lambda variables: (ours(variables, X) ** 2).sum())(VARIABLES).params["decay"]
    for name, place in (("down", (1, 0)), ("up", (1, 0, 2)), ("bias", (1, 1))):
        total = []
        for step in (1e-5, -1e-5):
            moved = {key: np.asarray(each, np.float64).copy() for key, each in VARIABLES.params["decay"].items()}
            moved[name][place] += step
            given = VARIABLES._replace(params={"decay": moved})
            total.append((recurrence(given, X.astype(np.float64)) ** 2).sum())
        # the float32 gradient of a sum of some hundred squares
        np.testing.assert_allclose(slopes[name][place], (total[0] - total[1]) / 2e-5, rtol=1e-4)


@jax.jit
def given_gates(*data):
    """Output and gradients of what the engine makes of logs of gates, and of the recurrence."""
    weights = np.random.default_rng(2).normal(size=VALUE.shape)

    def engine(query, key, value, log_gate):
        layout = jattn.Layout(extra={"decay": {"log_gate": log_gate}})
        return jattn.attend(query, key, value, ATTENTION, variables=VARIABLES, layout=layout).out

    def tokens(query, key, value, log_gate):
        def step(state, token):
            query, key, value, log_gate = token
            state = jnp.exp(log_gate)[..., None] * state + key[..., None] * value[:, None]
            return state, jnp.einsum("hd,hde->he", query, state) * WIDTH**-0.5

        return jax.lax.scan(step, jnp.zeros((HEADS, WIDTH, VALUES), query.dtype), (query, key, value, log_gate))[1]

    def both(form):
        def loss(*data):
            out = form(*data)
            return (out * weights).sum(), out

        return jax.value_and_grad(loss, (0, 1, 2, 3), has_aux=True)(*data)

    return both(engine), both(tokens)


@pytest.mark.parametrize("close", [-62.5, -6250.0, -np.inf])
def test_a_gate_that_closes_costs_later_tokens_no_digit(close):
    gates = np.where(np.arange(TOKENS)[:, None, None] % 7 == 3, close, -0.01) * np.ones((1, HEADS, WIDTH))
    data = QUERY, KEY, VALUE, jnp.asarray(gates, jnp.float32)
    (_, found), slopes = given_gates(*data)[0]
    with jax.enable_x64(True):
        (_, want), exact = given_gates(*(np.asarray(x, float) for x in data))[1]
    # float32 sums of some twenty products of order 1
    np.testing.assert_allclose(found, want, atol=3e-6)
    for slope, each in zip(slopes, exact, strict=True):
        np.testing.assert_allclose(slope, each, atol=1e-5)


def test_gates_go_into_a_plain_call_as_data():
    extra = ATTENTION.project(ATTENTION.own(VARIABLES), jnp.asarray(X))
    want, found, state = ours(VARIABLES, X), [], None
    for first, last in ((0, 9), (9, TOKENS)):
        # with a batch axis
        data = (x[None, first:last] for x in (QUERY, KEY, VALUE))
        layout = jattn.Layout(extra=jax.tree.map(lambda x: x[None, first:last], extra))  # noqa: B023
        more = jattn.linear_attention(*data, Identity(), Gated(), layout=layout, state=state)
        state = more.state
        found.append(more.out[0])
    np.testing.assert_allclose(np.concatenate(found), want, atol=1e-6)
    with pytest.raises(ValueError, match="Gated reads what attention.project.own, x. makes .* got none; pass Layout"):
        jattn.linear_attention(QUERY, KEY, VALUE, Identity(), Gated())
    with pytest.raises(ValueError, match="Gated reads what attention.project.own, x. makes .* got none; pass Layout"):
        jattn.attend(QUERY, KEY, VALUE, ATTENTION, variables=VARIABLES)


def test_gates_of_a_high_temperature_keep_everything():
    kept = jattn.LinearAttention(feature=Identity())
    slow = jattn.LinearAttention(feature=Identity(), decay=Gated(rank=2, temperature=1e9))
    extra = slow.project(slow.own(VARIABLES), jnp.asarray(X))
    found = jattn.attend(QUERY, KEY, VALUE, slow, variables=VARIABLES, layout=jattn.Layout(extra=extra)).out
    np.testing.assert_allclose(found, jattn.attend(QUERY, KEY, VALUE, kept).out, atol=1e-5)


@part
class Doubled(Feature):
    """Twice as many features as the width."""

    def map(self, own, side, role, place):
        return jnp.concatenate([side.vector, -side.vector], -1), None


def test_features_of_another_number_are_refused():
    attention = jattn.LinearAttention(feature=Doubled(), decay=Gated(rank=2))
    layout = jattn.Layout(extra=attention.project(attention.own(VARIABLES), jnp.asarray(X)))
    with pytest.raises(ValueError, match="or one for each of its 6 features, got 3; take a feature as wide as keys"):
        jattn.attend(QUERY, KEY, VALUE, attention, variables=VARIABLES, layout=layout)


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="rank must be at least 1, got 0"):
        Gated(rank=0)
    for temperature in (0.0, np.inf):
        with pytest.raises(ValueError, match=f"temperature must be above 0 and finite, got {temperature}"):
            Gated(temperature=temperature)
