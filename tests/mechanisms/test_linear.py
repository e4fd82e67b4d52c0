"""Linear attention as a call: the paper's sums, data of the call, decoding, refusals."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jattn
from jattn.mechanisms import Layout
from jattn.mechanisms.linear import LinearAttention, linear_attention
from jattn.numerics import RAISED
from jattn.part import Dims, Place, Side, part
from jattn.parts.decays import Decay, Undecayed
from jattn.parts.decays.gated import Gated
from jattn.parts.decays.retention import Retention
from jattn.parts.features.elu import Elu
from jattn.parts.features.favor import Favor
from jattn.parts.features.generalized import Generalized
from jattn.parts.features.hedgehog import Hedgehog
from jattn.parts.features.log_normal import LogNormal
from jattn.parts.features.projections import Projection
from jattn.parts.positions.rotary import Rotary
from tests.support import compiled_attend as attend
from tests.support import largest_intermediate

BATCH, TOKENS = (2,), 19


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def qkv(tokens=TOKENS):
    sizes = ((4, 6), (2, 6), (2, 5))
    return tuple(draw(*BATCH, tokens, *each, seed=n) for n, each in enumerate(sizes))


def sums(query, key, value, order="causal"):
    """The paper's sums, row by row, in float64."""
    feature = lambda x: np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))  # noqa: E731
    out = np.zeros((*query.shape[:-1], value.shape[-1]))
    for b, i, h in np.ndindex(*query.shape[:3]):
        last = i + 1 if order == "causal" else key.shape[1]
        weights = feature(key[b, :last, h // 2].astype(float)) @ feature(query[b, i, h].astype(float))
        out[b, i, h] = weights @ value[b, :last, h // 2] / weights.sum()
    return out


@pytest.mark.parametrize("order", ["causal", "full"])
def test_it_is_the_papers_sums(order):
    found = linear_attention(*qkv(), order=order)
    # float32: sums of a hundred products of order 1
    np.testing.assert_allclose(found.out, sums(*qkv(), order), atol=2e-5)
    want = np.full(TOKENS, TOKENS) if order == "full" else np.arange(1, TOKENS + 1)
    assert (np.asarray(found.stats.visible) == want[:, None]).all()
    assert found.stats.entropy is found.stats.log_normalizer is found.stats.max_logit is None


def test_the_toy_of_the_reference():
    ones = jnp.ones((3, 1, 4))
    out = linear_attention(ones, ones, jnp.array([1.0, 0, 0])[:, None, None]).out
    np.testing.assert_allclose(out[:, 0, 0], [1, 1 / 2, 1 / 3], rtol=1e-6)


def test_segments_are_separate_calls():
    segments = np.repeat([4, 2, 4], [5, 9, 5])
    found = linear_attention(*qkv(), decay=Retention(), layout=Layout(segments=segments))
    for first, last in ((0, 5), (5, 14), (14, 19)):
        alone = linear_attention(*(x[:, first:last] for x in qkv()), decay=Retention())
        np.testing.assert_allclose(found.out[:, first:last], alone.out, atol=1e-6)
        np.testing.assert_array_equal(found.stats.visible[:, first:last], alone.stats.visible)


def test_padding_with_garbage_changes_no_bit():
    layout = Layout(valid=jnp.asarray(np.arange(TOKENS) % 5 != 2))
    clean = [np.where(layout.valid[:, None, None], x, 0) for x in qkv()]
    junk = [np.where(layout.valid[:, None, None], x, np.nan) for x in qkv()]
    found, other = (linear_attention(*each, layout=layout) for each in (clean, junk))
    np.testing.assert_array_equal(found.out, other.out)
    assert not found.out[:, 2::5].any() and not found.stats.visible[:, 2::5].any()
    kept = np.flatnonzero(layout.valid)
    np.testing.assert_allclose(found.out[:, kept], linear_attention(*(x[:, kept] for x in qkv())).out, atol=1e-6)


def test_a_call_goes_on_behind_another():
    whole, state, found = linear_attention(*qkv(), Elu(), Retention()), None, []
    for first, last in ((0, 7), (7, 8), (8, 19)):
        more = linear_attention(*(x[:, first:last] for x in qkv()), Elu(), Retention(), state=state)
        state = more.state
        found.append(more.out)
    np.testing.assert_allclose(np.concatenate(found, 1), whole.out, atol=1e-6)
    # sums of 19 float32 products, the largest about 10
    np.testing.assert_allclose(state.keys.sums.total, whole.state.keys.sums.total, atol=1e-5)
    assert (state.length == TOKENS).all() and (state.keys.visible == TOKENS).all()
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, whole.state)


@pytest.mark.parametrize("decay", [Undecayed(), Retention()], ids=["undecayed", "retention"])
def test_nothing_of_pairs_is_kept_for_the_gradient(decay):
    given = (jax.ShapeDtypeStruct((2, 4096, 1, 8), np.float32),) * 3
    gradient = jax.grad(lambda *x: linear_attention(*x, decay=decay).out.sum(), (0, 1, 2))
    # queries; pairs of all chunks would be 128 for each token
    assert largest_intermediate(gradient, *given) == 2 * 4096 * 8


def test_positions_turn_queries_and_keys():
    turning = LinearAttention(position=Rotary())
    start = turning.state(Dims(4, 2, 2, 6, 5), jnp.float32, turning.own(None))
    query, key, value = (jnp.asarray(x[0]) for x in qkv())
    whole = attend(query, key, value, turning)
    parts = [attend(query[:9], key[:9], value[:9], turning, state=start)]
    parts.append(attend(query[9:], key[9:], value[9:], turning, state=parts[0].state))
    np.testing.assert_allclose(np.concatenate([each.out for each in parts]), whole.out, atol=1e-6)
    assert np.abs(whole.out - attend(query, key, value, LinearAttention()).out).max() > 0.01


def test_refusals():
    with pytest.raises(ValueError, match="order must be 'causal' or 'full', got 'both'"):
        LinearAttention(order="both")
    with pytest.raises(ValueError, match="no order to decay in, got Retention"):
        LinearAttention(decay=Retention(), order="full")
    with pytest.raises(TypeError, match="feature must be a Feature, got the class Elu"):
        LinearAttention(Elu)
    with pytest.raises(ValueError, match="no pairs for a mask to act on, got one"):
        attend(*qkv(), LinearAttention(), layout=Layout(mask=jnp.ones((1, 1, 1), bool)))
    with pytest.raises(ValueError, match="decode with order='causal'"):
        LinearAttention(order="full").state(Dims(4, 2, 2, 6, 5), jnp.float32, LinearAttention().own(None))
    with pytest.raises(ValueError, match="carries one sum for all rows, got segments"):
        linear_attention(*qkv(), order="full", layout=Layout(segments=np.zeros(TOKENS, int)))
    state = linear_attention(*qkv()).state
    with pytest.raises(ValueError, match="got order='full'; decode with order='causal'"):
        linear_attention(*qkv(), order="full", state=state)
    query, key, value = qkv()
    with pytest.raises(ValueError, match=r"features .2, 4, 6. of this call, got a state of .2, 5, 6.; go on with"):
        linear_attention(query, key, value[..., :4], state=state)


GATED = LinearAttention(decay=Gated())


@part
class Fixed(Decay):
    """One factor for all heads, with a log that is known when a call is traced or not."""

    log_factor: float = 0.1
    kind: Literal["known", "traced"] = "known"

    def log(self, own, key, place):
        return (np if self.kind == "known" else jnp).full(len(place.head), self.log_factor)


def test_decays_that_grow_are_refused_where_they_are_known_and_finite_where_not():
    for log in (0.1, np.nan):
        with pytest.raises(ValueError, match=f"whose log is at most 0, got logs up to {log} of Fixed; give minus"):
            linear_attention(*qkv(), decay=Fixed(log))
        kept = linear_attention(*qkv(), decay=Fixed(log, "traced"))
        np.testing.assert_array_equal(kept.out, linear_attention(*qkv(), decay=Fixed(0.0)).out)
        gates = np.full((*BATCH, TOKENS, 4, 6), -0.1, np.float32)
        gates[1, 3] = log
        layout = Layout(extra={"decay": {"log_gate": gates}})
        for call in (partial(linear_attention, decay=Gated()), partial(jattn.attend, attention=GATED)):
            with pytest.raises(ValueError, match=f"at most 1, got 'log_gate' from .* to {log}; take jax.nn.log_sig"):
                call(*qkv(), layout=layout)


FLOORLESS = {
    "favor": Favor(Projection(32), floor=0.0),
    "log_normal": LogNormal(),
    "hedgehog": Hedgehog("exponential"),
    "generalized": Generalized("exp"),
}
LARGE = tuple(scale * draw(40, 1, 16, seed=seed) for seed, scale in ((1, 30), (2, 30), (3, 1)))


def least_products(feature, own):
    """How much each row's weights sum to before they are divided by it, in float64."""
    sides = [Side(jnp.asarray(x, float), *[np.arange(len(x))] * 2, None, None, len(x), {}) for x in LARGE[:2]]
    place = Place(np.arange(1), 1, 1)
    (query, _), (key, log) = (
        feature.map(own["feature"], side, role, place) for side, role in zip(sides, ("query", "key"), strict=True)
    )
    level = jax.lax.cummax(log[:, 0])
    weights = query[:, 0] @ key[:, 0].T * np.exp(log[None, :, 0] - level[:, None])
    return np.asarray(jnp.tril(weights).sum(-1))


@pytest.mark.parametrize("name", FLOORLESS)
def test_gradients_are_right_where_products_of_features_nearly_underflow(name):
    feature = FLOORLESS[name]
    attention = LinearAttention(feature)
    variables = attention.init(jax.random.key(0), Dims.of(*LARGE))

    @jax.jit
    def gradients(variables, weights, *data):
        return jax.grad(lambda *x: (attend(*x, attention, variables=variables).out * weights).sum(), (0, 1, 2))(*data)

    with jax.enable_x64(True):
        exact = jax.tree.map(lambda x: jnp.asarray(x, float), variables)
        totals = least_products(feature, attention.own(exact))
    # what rows weigh lies over the whole range of float32, of which all but the last digits are promised
    promised = totals > np.finfo(np.float32).tiny * 2.0**36
    assert not promised.all() or name != "log_normal"
    # the square of this underflows
    assert (totals[promised] < 1e-19 * RAISED**2).any()
    everywhere = draw(*LARGE[2].shape, seed=4)
    for found in gradients(variables, everywhere, *LARGE):
        assert np.isfinite(found).all()
    weights = np.where(promised[:, None, None], everywhere, 0)
    with jax.enable_x64(True):
        want = gradients(exact, *(jnp.asarray(x, float) for x in (weights, *LARGE)))
    for found, each in zip(gradients(variables, weights, *LARGE), want, strict=True):
        # float32: exponents of up to a thousand, each to half a unit in the last place
        np.testing.assert_allclose(found, each, atol=2e-4)
