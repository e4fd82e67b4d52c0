"""The sink: one more term in the denominator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.part import Variables
from jattn.parts.normalizers.sink import Sink
from jattn.parts.normalizers.sparsemax import Sparsemax
from tests.support import compiled_attend as attend


def found(logit, layout=None):
    q, k, v = (jax.random.normal(jax.random.key(n), (5, 2, 4)) for n in range(3))
    variables = Variables({"normalizer": {"logit": jnp.asarray(logit)}}, {})
    logits = np.einsum("thd,shd->hts", q, k) / 2
    return attend(q, k, v, Attention(normalizer=Sink()), variables=variables, layout=layout), logits, np.asarray(v)


def test_sink_is_one_more_term_of_the_denominator():
    attended, logits, v = found([0.3, -1.0])
    mass = np.exp(logits).sum(-1) + np.exp([[0.3], [-1.0]])
    np.testing.assert_allclose(attended.out, np.einsum("hts,shd->thd", np.exp(logits) / mass[..., None], v), rtol=1e-5)
    np.testing.assert_allclose(attended.stats.log_normalizer, np.log(mass).T, rtol=1e-5)
    weights = np.concatenate([np.exp(logits), np.broadcast_to(np.exp([[[0.3]], [[-1.0]]]), (2, 5, 1))], -1)
    weights /= mass[..., None]
    np.testing.assert_allclose(attended.stats.entropy, -(weights * np.log(weights)).sum(-1).T, rtol=1e-5)


def test_sink_is_not_counted_as_visible_and_an_empty_row_does_not_take_it():
    attended, _, _ = found([5.0, 5.0], Layout(mask=jnp.asarray(np.arange(5) != 2)[None, :, None]))
    assert attended.stats.visible[1].tolist() == [5, 5] and attended.stats.visible[2].tolist() == [0, 0]
    assert not attended.out[2].any() and not attended.stats.entropy[2].any()
    assert (attended.stats.log_normalizer[2] == -np.inf).all() and (attended.stats.max_logit[2] == -np.inf).all()


def test_a_sink_far_below_is_softmax():
    attended, logits, v = found([-100.0, -100.0])
    np.testing.assert_allclose(attended.out, np.einsum("hts,shd->thd", jax.nn.softmax(logits), v), rtol=1e-5)


def test_only_exponential_weights_share_with_a_sink():
    with pytest.raises(ValueError, match="exponential normalizer, got Sparsemax"):
        Sink(inner=Sparsemax())


def test_a_sink_in_a_sink_is_refused():
    with pytest.raises(ValueError, match="no null slot of its own, got Sink"):
        Sink(inner=Sink())
