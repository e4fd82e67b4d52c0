"""Softmax with one more in the denominator, written out, and as softmax over one more key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms.attention import Attention
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.window import Window
from jattn.parts.normalizers.off_by_one import OffByOne
from jattn.parts.normalizers.signed_softmax import SignedSoftmax
from jattn.parts.normalizers.squared_relu import SquaredRelu
from tests.support import assert_close, readings
from tests.support import compiled_attend as attend

ATTENTION = Attention(mask=Causal(), normalizer=OffByOne())


def drawn():
    return tuple(jax.random.normal(jax.random.key(n), (7, 2, 4)) for n in range(3))


def test_the_denominator_has_one_more():
    q, k, v = (np.asarray(x, np.float64) for x in drawn())
    raised = np.exp(np.einsum("thd,shd->hts", q, k) / 2) * np.tril(np.ones((7, 7)))
    weights = raised / (1 + raised.sum(-1, keepdims=True))
    found = attend(*drawn(), ATTENTION)
    np.testing.assert_allclose(found.out, np.einsum("hts,shd->thd", weights, v), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.stats.log_normalizer, np.log1p(raised.sum(-1)).T, rtol=1e-5)


def test_it_is_softmax_over_one_more_key_of_zeros_in_values_statistics_and_gradients():
    def one(q, k, v):
        return attend(q, k, v, ATTENTION)

    def added(q, k, v):
        # the key of zeros stands first, so that each row sees one position later
        k, v = (jnp.concatenate([jnp.zeros_like(x[:1]), x]) for x in (k, v))
        return attend(q, k, v, Attention(mask=Window(left=8, right=1)))

    def loss(made, function):
        got = readings(function(*made))
        got.pop("visible")
        return sum((jnp.cos(x) ** 2).sum() for x in got.values()), got

    with jax.enable_x64(True):
        made = [x.astype(float) for x in drawn()]
        want, got = (jax.value_and_grad(loss, has_aux=True)(made, function) for function in (added, one))
        # sums of eight products of size 1, differently ordered: some hundred units in the last place
        assert_close(want, got, 1e-13)


def test_low_logits_attend_to_nothing_where_softmax_attends_to_the_mean():
    q = jnp.full((3, 1, 4), 10.0)
    found = attend(q, -q, jnp.ones_like(q), Attention(normalizer=OffByOne()))
    np.testing.assert_array_equal(found.out, 0)
    np.testing.assert_array_equal(found.stats.log_normalizer, 0)


def test_one_more_in_the_denominator_of_signed_weights():
    q, k, v = drawn()
    logits = np.einsum("thd,shd->hts", q, k) / 2
    raised = np.exp(np.abs(logits))
    weights = np.sign(logits) * raised / (1 + raised.sum(-1, keepdims=True))
    found = attend(q, k, v, Attention(normalizer=OffByOne(inner=SignedSoftmax())))
    np.testing.assert_allclose(found.out, np.einsum("hts,shd->thd", weights, v), rtol=1e-5, atol=1e-6)


def test_only_exponential_weights_have_a_denominator():
    with pytest.raises(ValueError, match="OffByOne.inner must be an exponential normalizer, got SquaredRelu"):
        OffByOne(inner=SquaredRelu())
