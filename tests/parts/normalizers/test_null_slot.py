"""The null slot as one more key, and as the mixture it makes of every row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.part import Dims, Variables
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.window import Window
from jattn.parts.normalizers.null_slot import NullSlot
from jattn.parts.normalizers.off_by_one import OffByOne
from jattn.parts.normalizers.sparsemax import Sparsemax
from tests.support import assert_close, readings
from tests.support import compiled_attend as attend

ATTENTION = Attention(mask=Causal(), normalizer=NullSlot())


def drawn():
    q, k, v = (jax.random.normal(jax.random.key(n), (7, 2, 4)) for n in range(3))
    slot = {"logit": jnp.array([0.3, -1.0]), "value": jax.random.normal(jax.random.key(3), (2, 4))}
    return q, k, v, slot


def with_slot(q, k, v, slot, layout=None):
    return attend(q, k, v, ATTENTION, variables=Variables({"normalizer": slot}, {}), layout=layout)


def test_every_row_is_a_mixture_of_its_softmax_and_the_value():
    # what one prefix token does to every row: (1 - a) out + a value, the ratios between keys unchanged
    q, k, v, slot = drawn()
    plain, found = attend(q, k, v, Attention(mask=Causal())), with_slot(*drawn())
    raised, null = np.exp(plain.stats.log_normalizer), np.exp(slot["logit"])[None]
    share = null / (null + raised)
    mixed = (1 - share)[..., None] * plain.out + share[..., None] * slot["value"][None]
    np.testing.assert_allclose(found.out, mixed, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.stats.log_normalizer, np.log(raised + null), rtol=1e-5)


def test_it_is_softmax_over_one_more_key_in_values_statistics_and_gradients():
    def added(q, k, v, slot):
        # a fifth feature that is 1 in each query and the slot's logit in its key alone
        q = jnp.concatenate([q, jnp.ones_like(q[..., :1])], -1)
        k = jnp.concatenate([k, jnp.zeros_like(k[..., :1])], -1)
        first = jnp.concatenate([jnp.zeros_like(k[0, :, :4]), 2 * slot["logit"][:, None]], -1)
        k, v = jnp.concatenate([first[None], k]), jnp.concatenate([slot["value"][None], v])
        # it stands first, so that each row sees one position later
        return attend(q, k, v, Attention(mask=Window(left=8, right=1), scale=0.5))

    def loss(made, function):
        got = readings(function(*made))
        got.pop("visible")
        return sum((jnp.cos(x) ** 2).sum() for x in got.values()), got

    with jax.enable_x64(True):
        made = jax.tree.map(lambda x: x.astype(float), drawn())
        both = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
        want, got = (both(made, function) for function in (added, with_slot))
        # sums of eight products of size 1, differently ordered: some hundred units in the last place
        assert_close(want, got, 1e-13)


def test_at_its_start_it_is_off_by_one():
    q, k, v, _ = drawn()
    variables = ATTENTION.init(jax.random.key(0), Dims.of(q, k, v))
    found = attend(q, k, v, ATTENTION, variables=variables)
    want = attend(q, k, v, Attention(mask=Causal(), normalizer=OffByOne()))
    np.testing.assert_array_equal(found.out, want.out)


def test_a_row_that_sees_no_key_does_not_take_the_value():
    q, k, v, slot = drawn()
    layout = Layout(mask=jnp.asarray(np.arange(7) != 2)[None, :, None])

    def total(slot):
        return with_slot(q, k, v, slot, layout).out[2].sum()

    value, grads = jax.value_and_grad(total)(slot)
    assert value == 0 and not any(np.asarray(grad).any() for grad in jax.tree.leaves(grads))


def test_only_exponential_weights_share_with_a_null_slot():
    with pytest.raises(ValueError, match="exponential normalizer, got Sparsemax"):
        NullSlot(inner=Sparsemax())
