"""Temperatures set the entropy of their rows: its closed form, its limits and its slope."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.mechanisms.attention import attend as attended
from jattn.part import Dims, Variables
from jattn.parts.masks.causal import Causal
from jattn.parts.scores.temperature import Temperature, raw_of, temperature
from tests.support import compiled_attend as attend
from tests.support import float64  # noqa: F401


def qkv(tokens=7):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=(tokens, 2, 4))) for _ in range(3)]


def with_table(table):
    return Variables({"score": {"0": {"raw": jnp.asarray(table)}}}, {})


def test_at_one_nothing_changes():
    assert abs(temperature(raw_of(1.0)) - 1) < 1e-6 and abs(temperature(raw_of(0.01)) - 0.01) < 1e-6
    attention = Attention(Temperature(9), mask=Causal())
    fresh = attention.init(jax.random.key(0), Dims.of(*qkv()))
    found = attend(*qkv(), attention, variables=fresh).out
    np.testing.assert_allclose(found, attend(*qkv(), Attention(mask=Causal())).out, rtol=1e-5, atol=1e-6)


def test_entropy_is_its_closed_form_and_grows_with_the_temperature(float64):  # noqa: F811
    q, k, v = qkv()
    attention = Attention(Temperature(7), mask=Causal())

    def entropy(t):
        raw = jnp.log(jnp.expm1(t - 1e-3))
        return attend(q, k, v, attention, variables=with_table(raw)).stats.entropy

    t = jnp.asarray(np.random.default_rng(1).uniform(0.3, 3, (2, 7)))
    logits = np.einsum("thd,shd->hts", q, k) / 2 / np.asarray(t)[..., None]
    seen = np.tril(np.ones((7, 7), bool))
    mass = np.where(seen, np.exp(logits), 0)
    share = mass / mass.sum(-1, keepdims=True)
    np.testing.assert_allclose(entropy(t).T, np.log(mass.sum(-1)) - (share * logits).sum(-1), atol=1e-12)
    # a row that sees one key has no entropy to raise
    slope = jax.grad(lambda t: entropy(t).sum())(t)
    assert (slope[:, 1:] > 0).all() and np.abs(slope[:, 0]).max() < 1e-12
    np.testing.assert_allclose(entropy(jnp.full((2, 7), 1e6)).T, np.log(np.arange(1, 8)) * np.ones((2, 1)), atol=1e-5)
    assert entropy(jnp.full((2, 7), 2e-3)).max() < 1e-2


def test_each_position_reads_its_own(float64):  # noqa: F811
    q, k, v = qkv(5)
    table = np.random.default_rng(2).normal(size=(2, 9))
    attention = Attention(Temperature(9), mask=Causal())
    found = attend(q, k, v, attention, variables=with_table(table), layout=Layout(positions=jnp.arange(4, 9)))
    want = attend(q, k, v, Attention(Temperature(5), mask=Causal()), variables=with_table(table[:, 4:]))
    np.testing.assert_allclose(found.out, want.out, atol=1e-12)
    # traced, as here, those that the table does not hold cannot be refused: no number, in no statistic either
    for first, held in ((5, np.arange(5) < 4), (-1, np.arange(5) > 0)):
        here = jnp.arange(first, first + 5)
        beyond = attend(q, k, v, attention, variables=with_table(table), layout=Layout(positions=here))
        for found in (beyond.out.sum(-1), beyond.stats.entropy, beyond.stats.log_normalizer):
            np.testing.assert_array_equal(np.isfinite(found), np.broadcast_to(held[:, None], (5, 2)))


def test_known_positions_that_the_table_does_not_hold_are_refused():
    query, attention = qkv(5), Attention(Temperature(9), mask=Causal())
    variables = with_table(np.zeros((2, 9), np.float32))
    for first in (5, -1):
        layout = Layout(positions=np.arange(first, first + 5))
        with pytest.raises(ValueError, match=f"9 positions from 0, got positions from {first} to {first + 4}; make"):
            attended(*query, attention, variables=variables, layout=layout)
    # padding may count on
    here = Layout(positions=np.arange(5, 10), valid=np.arange(5) < 4)
    assert np.isfinite(attended(*query, attention, variables=variables, layout=here).out).all()


def test_a_text_longer_than_the_table_is_refused():
    with pytest.raises(ValueError, match="a table of 4 positions, got a text of 7 tokens; make it with Temperature"):
        attend(*qkv(), Attention(Temperature(4)), variables=with_table(np.zeros((2, 4), np.float32)))


@pytest.mark.parametrize("options", [{"length": 0}, {"start": 0.0}, {"start": float("inf")}], ids=str)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match="Temperature.(length must be at least 1|start must be finite and above)"):
        Temperature(**options)
