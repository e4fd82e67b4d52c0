"""Top-k attention against sorted logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention, attend
from jattn.part import Dims
from jattn.parts.masks.causal import Causal
from jattn.parts.normalizers.sink import Sink
from jattn.parts.normalizers.top_k import TopK
from tests.support import assert_close, float64, make, small_tiles  # noqa: F401


@pytest.fixture(autouse=True)
def tiles_that_divide_nothing(monkeypatch, float64):  # noqa: F811
    small_tiles(monkeypatch)


def numbers():
    return make(Attention(), heads=(2, 2, 2))[0][:3]


def by_hand(q, k, v, keys):
    logits = jnp.where(np.tri(53, dtype=bool)[None], jnp.einsum("thd,shd->hts", q, k) / np.sqrt(8), -jnp.inf)
    last = jnp.sort(logits)[..., -keys, None]
    return jnp.einsum("hts,she->the", jax.nn.softmax(jnp.where(logits >= last, logits, -jnp.inf)), v)


@pytest.mark.parametrize("keys", [1, 7, 64])
def test_it_is_softmax_over_the_largest_with_their_gradients(keys):
    attention = Attention(mask=Causal(), normalizer=TopK(keys))

    def loss(function):
        def total(q, k, v):
            out = function(q, k, v)
            return jnp.sin(out).sum(), out

        return jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))(*numbers())

    want = loss(lambda q, k, v: by_hand(q, k, v, min(keys, 53)))
    assert_close(want, loss(lambda q, k, v: attend(q, k, v, attention).out), 1e-12)


def test_what_ties_with_the_last_rank_stays():
    bias = jnp.asarray([3.0, 1, 2, 2, 2, 0])[None, None]
    found = attend(jnp.zeros((1, 1, 4)), jnp.zeros((6, 1, 4)), jnp.eye(6)[:, None], Attention(normalizer=TopK(2)),
                   layout=Layout(bias=bias))  # fmt: skip
    want = np.exp([3, -np.inf, 2, 2, 2, -np.inf])
    np.testing.assert_allclose(found.out[0, 0], want / want.sum(), rtol=1e-12)


def test_a_sink_may_stand_beside_what_it_chooses():
    variables = (attention := Attention(normalizer=Sink(TopK(2)))).init(jax.random.key(0), Dims.of(*numbers()))
    found = attend(*numbers(), attention, variables=variables)
    logits = np.sort(np.einsum("thd,shd->ths", *numbers()[:2]) / np.sqrt(8))[..., -2:]
    np.testing.assert_allclose(found.stats.log_normalizer, np.log1p(np.exp(logits).sum(-1)), rtol=1e-12)


@pytest.mark.parametrize("keys", [0, -1])
def test_a_number_that_counts_nothing_is_refused(keys):
    with pytest.raises(ValueError, match="TopK.keys must be at least 1"):
        TopK(keys)
