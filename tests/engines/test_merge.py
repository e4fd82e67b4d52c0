"""Merging results over disjoint keys: gradients of the statistics, empty rows, one more key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.engines import dense
from jattn.engines.merge import add_mass, merge
from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention
from jattn.parts.normalizers.sparsemax import Sparsemax
from tests.support import TOKENS, assert_close, attended, float64, make, readings  # noqa: F401

pytestmark = pytest.mark.usefixtures("float64")


def both(seen):
    """The readings and gradients of a merge of keys up to 20 and from 20, and of all keys at once."""
    made, buffers = make(Attention())

    def part(made, cut):
        mask = None if seen is None else seen[None, :, cut]
        less = made._replace(key=made.key[cut], value=made.value[cut], memory=made.memory[cut])
        return attended(dense, Attention(), less, buffers, Layout(mask=mask))

    def loss(made, joined):
        whole = merge(part(made, np.s_[:20]), part(made, np.s_[20:])) if joined else part(made, np.s_[:])
        got = readings(whole)
        weights = jax.random.normal(jax.random.key(5), (4, TOKENS, 4))
        read = [got[name] for name in ("entropy", "log_normalizer", "max_logit")]
        return (got["out"] ** 2).sum() + sum((x * w).sum() for x, w in zip(read, weights, strict=False)), got

    return [jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)(made, joined) for joined in (True, False)]


def test_merge_is_the_whole_gradients_of_statistics_too():
    joined, whole = both(None)
    assert_close(whole, joined, 1e-12)


def test_rows_that_see_one_side_or_none():
    seen = np.ones((TOKENS, TOKENS), bool)
    seen[3, :20], seen[4, 20:], seen[5] = False, False, False
    joined, whole = both(jnp.asarray(seen))
    assert_close(whole, joined, 1e-12)
    assert not joined[0][1]["out"][5].any() and joined[0][1]["entropy"][5].max() == 0


def test_one_more_key_is_one_more_key():
    made, buffers = make(Attention(), heads=(4, 4, 4))
    less = made._replace(key=made.key[:-1], value=made.value[:-1], memory=made.memory[:-1])
    level = jnp.einsum("thd,hd->th", made.query, made.key[-1]) * 8**-0.5
    more = add_mass(attended(dense, Attention(), less, buffers), made.value[-1][None], level)
    want = readings(attended(dense, Attention(), made, buffers))
    got = readings(more)
    np.testing.assert_array_equal(got.pop("visible") + 1, want.pop("visible"))
    assert_close(want, got, 1e-12)


def test_thresholds_do_not_merge():
    made, buffers = make(Attention())
    found = attended(dense, Attention(), made, buffers)
    with pytest.raises(ValueError, match="Sparsemax finds its threshold over all keys; gather"):
        merge(found, found, Sparsemax())


def test_what_does_not_merge_is_refused():
    made, buffers = make(Attention())
    found = attended(dense, Attention(), made, buffers)
    with pytest.raises(TypeError, match="Results of calls are merged, got .*; pass what jattn.attend returns"):
        merge.__wrapped__(found, found.out)
    with pytest.raises(ValueError, match="for the same queries, got outputs of shapes"):
        merge(found, found._replace(out=found.out[:-1]))
