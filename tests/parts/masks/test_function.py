"""Plain functions as masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jattn.mechanisms import Layout
from jattn.mechanisms.attention import Attention, attend
from jattn.parts.masks.causal import Causal
from jattn.parts.masks.function import Function
from tests.support import assert_close, float64, make, small_tiles  # noqa: F401


@pytest.fixture(autouse=True)
def tiles_that_divide_nothing(monkeypatch, float64):  # noqa: F811
    small_tiles(monkeypatch)


def test_it_sees_batch_head_query_and_key_and_reads_traced_arrays():
    q, k, v = (jnp.stack([x, 2 * x, -x]) for x in make(Attention())[0][:3])
    n = np.arange(53)
    allowed = np.zeros((3, 4, 53, 53), bool)
    for b, h in np.ndindex(3, 4):
        allowed[b, h] = (n[None] <= n[:, None]) & ((n[None] + h) % (b + 2) == 0) | (n[None] == n[:, None])

    def ours(numbers):
        def mask(batch, head, query, key):
            return (key <= query) & ((key + numbers[head]) % (batch + 2) == 0) | (key == query)

        return attend(q, k, v, Attention(mask=mask)).out

    assert_close(attend(q, k, v, layout=Layout(mask=jnp.asarray(allowed))).out, jax.jit(ours)(jnp.arange(4)), 1e-12)


def test_it_joins_masks_that_know_their_reach():
    q, k, v = make(Attention())[0][:3]
    even = Function(lambda batch, head, query, key: key % 2 == 0)
    allowed = np.tri(53, dtype=bool) & (np.arange(53) % 2 == 0)
    want = attend(q, k, v, layout=Layout(mask=jnp.asarray(allowed)[None])).out
    assert_close(want, attend(q, k, v, Attention(mask=Causal() & even)).out, 1e-12)
    assert_close(want, attend(q, k, v, Attention(mask=~(~Causal() | ~even))).out, 1e-12)


@pytest.mark.parametrize("function", [lambda b, h, q, k: 1.0 * (k <= q), lambda b, h, q, k: jnp.stack([k <= q] * 2)])
def test_what_is_no_answer_is_refused_by_name(function):
    with pytest.raises(TypeError, match="A mask function says True or False of one pair, got .* from .*lambda"):
        attend(*make(Attention())[0][:3], Attention(mask=function))
