"""Relaxed attention against its closed form, and at both ends."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms.attention import Attention, attend
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers.relaxed import Relaxed
from jattn.parts.normalizers.sink import Sink
from jattn.parts.normalizers.sparsemax import Sparsemax
from jattn.parts.normalizers.top_k import TopK
from tests.support import assert_close, float64, make, small_tiles  # noqa: F401

PLAIN = Attention(mask=Causal())


@pytest.fixture(autouse=True)
def tiles_that_divide_nothing(monkeypatch, float64):  # noqa: F811
    small_tiles(monkeypatch)


def numbers():
    return make(Attention(), heads=(2, 2, 2))[0][:3]


def by_hand(q, k, v, amount):
    """The output of plain attention mixed with the running mean of the values, and the entropy of the mixed weights."""
    logits = jnp.einsum("thd,shd->hts", q, k) / np.sqrt(8)
    past = np.tri(53, dtype=bool)
    weights = jax.nn.softmax(jnp.where(past[None], logits, -jnp.inf))
    mixed = jnp.where(past[None], (1 - amount) * weights + amount / np.arange(1, 54)[None, :, None], 0)
    out = (1 - amount) * jnp.einsum("hts,she->the", weights, v)
    out += amount * jnp.cumsum(v, 0) / np.arange(1, 54)[:, None, None]
    return out, -jnp.where(mixed > 0, mixed * jnp.log(jnp.where(mixed > 0, mixed, 1)), 0).sum(-1).T


@pytest.mark.parametrize("amount", [0.0, 0.1, 1.0])
def test_it_is_plain_attention_mixed_with_the_mean_of_the_seen_values(amount):
    attention = dataclasses.replace(PLAIN, normalizer=Relaxed(amount=amount))

    def loss(function):
        def total(q, k, v):
            out, entropy = function(q, k, v)
            return (jnp.sin(out).sum() + (entropy**2).sum()), (out, entropy)

        return jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))(*numbers())

    def ours(q, k, v):
        found = attend(q, k, v, attention)
        return found.out, found.stats.entropy

    assert_close(loss(lambda q, k, v: by_hand(q, k, v, amount)), loss(ours), 1e-12)


@pytest.mark.slow
def test_it_relaxes_what_another_has_chosen():
    found = attend(*numbers(), Attention(normalizer=Relaxed(TopK(3), 0.5)))
    chosen = attend(*numbers(), Attention(normalizer=TopK(3)))
    assert_close(chosen.out / 2 + numbers()[2].mean(0, keepdims=True) / 2, found.out, 1e-12)


@pytest.mark.parametrize("inner", [Sparsemax(), Sink()])
def test_what_shares_no_row_sum_is_refused(inner):
    with pytest.raises(ValueError, match="exponential normalizer without a null slot, got"):
        Relaxed(inner)


@pytest.mark.parametrize("amount", [-0.1, 1.5])
def test_an_amount_outside_its_range_is_refused(amount):
    with pytest.raises(ValueError, match="Relaxed.amount must lie in"):
        Relaxed(amount=amount)
